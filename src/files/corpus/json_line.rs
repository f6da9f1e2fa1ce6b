//! The text in a line of JSON.

use crate::files::json::show;
use crate::files::text::UTF8_MARK;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use std::fmt;

/// The string `field` of a JSON object. Python writes NaN and infinity into JSON; they do not lose the line where they
/// are in other fields.
pub(super) fn json_text(bytes: &[u8], field: &str) -> Result<String, String> {
    let bytes = bytes.strip_prefix(UTF8_MARK).unwrap_or(bytes);
    strict_text(bytes, field).or_else(|why| match without_nonfinite(bytes) {
        Some(bytes) => strict_text(&bytes, field),
        None => Err(why),
    })
}

/// `bytes` with a list instead of every NaN, Infinity and -Infinity that is a value, all of the same length; `None`
/// without any.
fn without_nonfinite(bytes: &[u8]) -> Option<Vec<u8>> {
    const WORDS: [&[u8]; 3] = [b"NaN", b"Infinity", b"-Infinity"];
    let mut changed = None;
    let (mut at, mut in_string) = (0, false);
    while at < bytes.len() {
        let word = WORDS.iter().find(|w| bytes[at..].starts_with(w));
        match (bytes[at], word) {
            (b'\\', _) if in_string => at += 1,
            (b'"', _) => in_string = !in_string,
            (_, Some(word)) if !in_string => {
                let copy: &mut Vec<u8> = changed.get_or_insert_with(|| bytes.to_vec());
                copy[at..at + word.len()].fill(b' ');
                copy[at..at + 2].copy_from_slice(b"[]");
                at += word.len() - 1;
            }
            _ => {}
        }
        at += 1;
    }
    changed
}

fn strict_text(bytes: &[u8], field: &str) -> Result<String, String> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let text = Field(field).deserialize(&mut reader);
    let text = text.and_then(|text| reader.end().map(|()| text));
    // The line is ours to tell, and it is all of the text.
    text.map_err(|e| show(&e.to_string().replace(" line 1 column", " column")))?
        .ok_or_else(|| format!("there is no field `{}`", show(field)))
}

struct Field<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Field<'_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Field<'_> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<String>()? {
            if key != self.0 {
                map.next_value::<IgnoredAny>()?;
            } else if found.replace(map.next_value::<String>()?).is_some() {
                return Err(A::Error::custom("the field is there twice"));
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use crate::files::corpus::records::Body;

    #[test]
    fn one_field_is_taken_from_json() {
        let text = |json: &str| Body::Json(json.as_bytes().to_vec()).text("text");
        assert_eq!(
            text(r#"{"id":[1,{}],"text":"a\n\u00e9"} "#),
            Ok("a\né".into())
        );
        assert_eq!(text(r#"{"a":1}"#), Err("there is no field `text`".into()));
        for bad in [
            r#"{"text":1}"#,
            r#"{"text":"a","text":"b"}"#,
            r#"{"text":"a"}x"#,
            "[]",
            "{",
        ] {
            assert!(text(bad).is_err(), "{bad}");
        }
        assert!(
            Body::Text(vec![b'a', 0xFF])
                .text("")
                .unwrap_err()
                .contains("byte 1")
        );
    }

    #[test]
    fn numbers_that_are_none_do_not_lose_a_line() {
        let text = |json: &str| Body::Json(json.as_bytes().to_vec()).text("text");
        for number in ["NaN", "Infinity", "-Infinity"] {
            for line in [
                format!(r#"{{"a":{number},"text":"NaN \" Infinity"}}"#),
                format!(
                    r#"{{"text": "NaN \" Infinity", "a": [1, {{"b\\": {number} }}, {number}]}}"#
                ),
            ] {
                assert_eq!(text(&line), Ok("NaN \" Infinity".into()), "{line}");
            }
            assert!(text(&format!(r#"{{"text": {number}}}"#)).is_err());
            assert!(text(&format!(r#"{{"text": "a", "b": {number}x}}"#)).is_err());
        }
        assert_eq!(text("\u{feff}{\"text\":\"a\"}"), Ok("a".into()));
    }
}
