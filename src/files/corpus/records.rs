//! Documents of text files, one after the other: .txt, .jsonl and .parquet, the first two also as .gz and .zst.
//!
//! Memory grows with the longest line, and with a .txt file that is one document only as far as the tokenizer needs the
//! text in one piece. What is wrong with one line is told with the line and does not stop the reading; what is wrong
//! with a whole file (a truncated archive) is an error.

use super::archive;
use super::encoder::Cut;
use super::manifest::TextUnit;
use super::pieces::Pieces;
#[cfg(feature = "parquet")]
use super::rows::Rows;
use crate::error::{Error, Result};
use crate::files::json::show;
use crate::files::text::UTF8_MARK;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use std::fmt;
use std::io::{BufRead, Read};
use std::path::Path;

/// How records are found.
#[derive(Debug, Clone)]
pub struct Reading {
    /// The field of JSON lines, the column of Parquet files.
    pub field: String,
    /// What a document is in a .txt file.
    pub unit: TextUnit,
    /// Longest line, in bytes; longer ones are bad.
    pub longest: usize,
    /// Where a .txt file that is one document may be cut.
    pub cut: Cut,
    /// Whether a file of another name is taken for a .txt file.
    pub any_name: bool,
}

/// A part of a file that may be a document.
#[derive(Debug)]
pub struct Record {
    /// Line or row, from 1; of several lines, the first.
    pub number: u64,
    /// What is there.
    pub body: Body,
    /// Whether a document begins here; only text files come in pieces.
    pub begins: bool,
    /// Whether it ends here.
    pub ends: bool,
}

impl Record {
    /// [`Body::text`].
    ///
    /// # Errors
    /// What is wrong, and in which line or row.
    pub fn text(self, field: &str) -> Result<String, (u64, String)> {
        let first = self.number;
        match self.body {
            Body::Lines(bytes) => String::from_utf8(bytes).map_err(|e| {
                let good = e.utf8_error().valid_up_to();
                let (line, byte) = position(&e.as_bytes()[..good]);
                (first + line, not_utf8(byte))
            }),
            body => body.text(field).map_err(|why| (first, why)),
        }
    }
}

/// The line, from 0, that comes after `text`, and how many bytes of it are there.
pub(super) fn position(text: &[u8]) -> (u64, usize) {
    let lines = text.iter().filter(|&&b| b == b'\n').count() as u64;
    let start = text
        .iter()
        .rposition(|&b| b == b'\n')
        .map_or(0, |at| at + 1);
    (lines, text.len() - start)
}

/// Says that a line is not UTF-8 behind its first `byte` bytes.
pub(super) fn not_utf8(byte: usize) -> String {
    format!("not UTF-8 at byte {byte} of the line")
}

/// Bytes of a record, not looked at yet: that is work for another thread.
#[derive(Debug)]
pub enum Body {
    /// A line of JSON.
    Json(Vec<u8>),
    /// Plain text.
    Text(Vec<u8>),
    /// Plain text of several lines of a file.
    Lines(Vec<u8>),
    /// Nothing that can be used, and why.
    Bad(String),
}

impl Body {
    /// Bytes it holds.
    pub fn len(&self) -> usize {
        match self {
            Self::Json(bytes) | Self::Text(bytes) | Self::Lines(bytes) => bytes.len(),
            Self::Bad(_) => 0,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The text of the record; JSON must be an object with the string `field`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn text(self, field: &str) -> Result<String, String> {
        match self {
            Self::Json(bytes) => json_text(&bytes, field),
            Self::Text(bytes) | Self::Lines(bytes) => String::from_utf8(bytes)
                .map_err(|e| format!("not UTF-8 at byte {}", e.utf8_error().valid_up_to())),
            Self::Bad(why) => Err(why),
        }
    }
}

/// The records of one file.
pub struct Records {
    file: String,
    kind: Kind,
    longest: usize,
    /// Lines, pieces or rows taken so far.
    taken: u64,
}

enum Kind {
    Json(Box<dyn BufRead>),
    Lines(Box<dyn BufRead>),
    Pieces(Box<Pieces>),
    #[cfg(feature = "parquet")]
    Rows(Box<Rows>),
}

impl Records {
    /// Opens `path`; the format follows from its name. A byte order mark before the text is passed over.
    ///
    /// # Errors
    /// [`Error::Usage`] for a name of no known format, [`Error::Io`], or [`Error::File`] for what is not what its
    /// name says.
    pub fn open(path: &Path, reading: &Reading) -> Result<Self> {
        let name = path.to_string_lossy();
        let lower = name.to_lowercase();
        let plain = lower.strip_suffix(".gz").or(lower.strip_suffix(".zst"));
        let kind = match plain.unwrap_or(&lower) {
            n if n.ends_with(".jsonl") => Kind::Json(archive::open_text(path)?),
            n if n.ends_with(".parquet") && plain.is_none() => rows(path, reading)?,
            n if !n.ends_with(".txt") && !reading.any_name => {
                return Err(Error::usage(
                    format!("{} is of no format that is read here", show(&name)),
                    "pass .txt, .jsonl (both also as .gz or .zst) or .parquet files",
                ));
            }
            _ if reading.unit == TextUnit::Line => Kind::Lines(archive::open_text(path)?),
            _ => Kind::Pieces(Box::new(Pieces::open(path, &reading.cut)?)),
        };
        Ok(Self {
            file: show(&name),
            kind,
            longest: reading.longest,
            taken: 0,
        })
    }

    /// How far the reading is: pass this to [`Records::skip`] to go on here.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Leaves out what was read already, the first `n` lines, pieces or rows.
    pub fn skip(&mut self, n: u64) -> Result<()> {
        match &mut self.kind {
            Kind::Json(lines) | Kind::Lines(lines) => {
                for _ in 0..n {
                    lines
                        .skip_until(b'\n')
                        .map_err(|e| archive::bad(&self.file, e))?;
                }
            }
            Kind::Pieces(..) => {
                for _ in 0..n {
                    self.next()?;
                }
            }
            #[cfg(feature = "parquet")]
            Kind::Rows(rows) => rows.skip(n)?,
        }
        self.taken = n;
        Ok(())
    }

    /// The next record; `None` at the end of the file. Empty lines are passed over.
    #[allow(clippy::should_implement_trait)] // an iterator could not fail
    pub fn next(&mut self) -> Result<Option<Record>> {
        loop {
            if let Kind::Pieces(pieces) = &mut self.kind {
                let piece = pieces.next().map_err(|e| archive::bad(&self.file, e))?;
                self.taken += 1;
                return Ok(piece);
            }
            let body = match &mut self.kind {
                #[cfg(feature = "parquet")]
                Kind::Rows(rows) => rows.next()?,
                Kind::Json(lines) => line(lines.as_mut(), self.longest, &self.file)?.map(json),
                Kind::Lines(lines) => {
                    line(lines.as_mut(), self.longest, &self.file)?.map(without_mark)
                }
                Kind::Pieces(_) => None,
            };
            let Some(body) = body else { return Ok(None) };
            self.taken += 1;
            if matches!(&body, Body::Text(bytes) if bytes.is_empty())
                || matches!(&body, Body::Json(bytes) if bytes.trim_ascii().is_empty())
            {
                continue;
            }
            return Ok(Some(Record {
                number: self.taken,
                body,
                begins: true,
                ends: true,
            }));
        }
    }
}

#[cfg(feature = "parquet")]
fn rows(path: &Path, reading: &Reading) -> Result<Kind> {
    Ok(Kind::Rows(Box::new(Rows::open(path, &reading.field)?)))
}

#[cfg(not(feature = "parquet"))]
fn rows(path: &Path, _reading: &Reading) -> Result<Kind> {
    Err(Error::usage(
        format!(
            "{} needs the feature `parquet`, which this program was built without",
            show(&path.to_string_lossy())
        ),
        "build with it, or convert the file to .jsonl",
    ))
}

/// A line without a byte order mark: files that were joined have one in the middle.
fn without_mark(body: Body) -> Body {
    match body {
        Body::Text(mut bytes) if bytes.starts_with(UTF8_MARK) => {
            bytes.drain(..UTF8_MARK.len());
            Body::Text(bytes)
        }
        other => other,
    }
}

fn json(body: Body) -> Body {
    match body {
        Body::Text(bytes) => Body::Json(bytes),
        other => other,
    }
}

/// The next line, without its end.
fn line(source: &mut dyn BufRead, longest: usize, file: &str) -> Result<Option<Body>> {
    let bad = |e| archive::bad(file, e);
    let mut bytes = Vec::new();
    let most = longest as u64 + 1;
    let read = (&mut *source)
        .take(most)
        .read_until(b'\n', &mut bytes)
        .map_err(bad)?;
    if read == 0 {
        return Ok(None);
    }
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    } else if bytes.len() > longest {
        source.skip_until(b'\n').map_err(bad)?;
        return Ok(Some(Body::Bad(format!("longer than {longest} bytes"))));
    }
    Ok(Some(Body::Text(bytes)))
}

/// The string `field` of a JSON object. Python writes NaN and infinity into JSON; they do not lose the line where they
/// are in other fields.
fn json_text(bytes: &[u8], field: &str) -> Result<String, String> {
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
    use super::*;

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

    #[test]
    fn long_lines_are_passed_over() {
        let mut source = "short\r\nmuch too long\n\nend".as_bytes();
        let mut next = || line(&mut source, 6, "f").unwrap();
        assert!(matches!(next(), Some(Body::Text(b)) if b == b"short"));
        assert!(matches!(next(), Some(Body::Bad(_))));
        assert!(matches!(next(), Some(Body::Text(b)) if b.is_empty()));
        assert!(matches!(next(), Some(Body::Text(b)) if b == b"end"));
        assert!(next().is_none());
    }
}
