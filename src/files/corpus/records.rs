//! Documents of text files, one after the other: .txt, .jsonl and .parquet, the first two also as .gz and .zst.
//!
//! Nothing here grows with the size of a file. What is wrong with one line is told with the line and does not stop
//! the reading; what is wrong with a whole file (a truncated archive) is an error.

use super::archive;
use super::manifest::TextUnit;
use super::rows::Rows;
use crate::error::{Error, Result};
use crate::files::json::show;
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
}

/// A part of a file that may be a document.
#[derive(Debug)]
pub struct Record {
    /// Line or row, from 1; for pieces of a text file, their number.
    pub number: u64,
    /// What is there.
    pub body: Body,
    /// Whether a document begins here; only text files come in pieces.
    pub begins: bool,
    /// Whether it ends here.
    pub ends: bool,
}

/// Bytes of a record, not looked at yet: that is work for another thread.
#[derive(Debug)]
pub enum Body {
    /// A line of JSON.
    Json(Vec<u8>),
    /// Plain text.
    Text(Vec<u8>),
    /// Nothing that can be used, and why.
    Bad(String),
}

impl Body {
    /// Bytes it holds.
    pub fn len(&self) -> usize {
        match self {
            Self::Json(bytes) | Self::Text(bytes) => bytes.len(),
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
            Self::Text(bytes) => String::from_utf8(bytes)
                .map_err(|e| format!("not UTF-8 at byte {}", e.utf8_error().valid_up_to())),
            Self::Bad(why) => Err(why),
        }
    }
}

/// Pieces of a text file are this long, up to the end of the line, in bytes.
const PIECE: usize = 1 << 18;

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
    Pieces(Box<dyn BufRead>, Vec<u8>),
    Rows(Box<Rows>),
}

impl Records {
    /// Opens `path`; the format follows from its name.
    ///
    /// # Errors
    /// [`Error::Usage`] for a name of no known format, [`Error::Io`], or [`Error::File`] for what is not what its
    /// name says.
    pub fn open(path: &Path, reading: &Reading) -> Result<Self> {
        let name = path.to_string_lossy();
        let lower = name.to_lowercase();
        let plain = lower.strip_suffix(".gz").or(lower.strip_suffix(".zst"));
        let kind = match plain.unwrap_or(&lower) {
            n if n.ends_with(".jsonl") => Kind::Json(archive::open(path)?),
            n if n.ends_with(".txt") && reading.unit == TextUnit::Line => {
                Kind::Lines(archive::open(path)?)
            }
            n if n.ends_with(".txt") => Kind::Pieces(archive::open(path)?, Vec::new()),
            n if n.ends_with(".parquet") && plain.is_none() => {
                Kind::Rows(Box::new(Rows::open(path, &reading.field)?))
            }
            _ => {
                return Err(Error::usage(
                    format!("{} is of no format that is read here", show(&name)),
                    "pass .txt, .jsonl (both also as .gz or .zst) or .parquet files",
                ));
            }
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
            Kind::Rows(rows) => rows.skip(n)?,
        }
        self.taken = n;
        Ok(())
    }

    /// The next record; `None` at the end of the file. Empty lines are passed over.
    #[allow(clippy::should_implement_trait)] // an iterator could not fail
    pub fn next(&mut self) -> Result<Option<Record>> {
        loop {
            let (body, ends) = match &mut self.kind {
                Kind::Rows(rows) => (rows.next()?, true),
                Kind::Pieces(source, rest) => {
                    let piece = piece(source.as_mut(), rest, PIECE);
                    match piece.map_err(|e| archive::bad(&self.file, e))? {
                        None => (None, true),
                        Some((piece, ends)) => (Some(Body::Text(piece)), ends),
                    }
                }
                Kind::Json(lines) => (
                    line(lines.as_mut(), self.longest, &self.file)?.map(json),
                    true,
                ),
                Kind::Lines(lines) => (line(lines.as_mut(), self.longest, &self.file)?, true),
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
                begins: self.taken == 1 || !matches!(self.kind, Kind::Pieces(..)),
                ends,
            }));
        }
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

/// The next `size` bytes or so of a text, cut before a space alone, or else after a line end, or else between
/// characters. What was read beyond the cut waits in `rest`. With each piece comes whether it is the last.
fn piece(
    source: &mut dyn BufRead,
    rest: &mut Vec<u8>,
    size: usize,
) -> std::io::Result<Option<(Vec<u8>, bool)>> {
    let mut bytes = std::mem::take(rest);
    let wanted = (2 * size).saturating_sub(bytes.len());
    (&mut *source).take(wanted as u64).read_to_end(&mut bytes)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    if bytes.len() > size {
        *rest = bytes.split_off(cut(&bytes, size));
    }
    let ends = rest.is_empty() && source.fill_buf()?.is_empty();
    Ok(Some((bytes, ends)))
}

/// Where to cut, not before `from`.
fn cut(bytes: &[u8], from: usize) -> usize {
    let alone = |w: &[u8]| w[0].is_ascii_graphic() && w[1] == b' ' && w[2].is_ascii_graphic();
    let tail = &bytes[from..];
    let space = tail.windows(3).position(alone).map(|at| at + 1);
    let line = || tail.iter().position(|&b| b == b'\n').map(|at| at + 1);
    let character = || tail.iter().position(|&b| b & 0xC0 != 0x80);
    let at = space.or_else(line).or_else(character);
    from + at.unwrap_or(tail.len())
}

/// The string `field` of a JSON object.
fn json_text(bytes: &[u8], field: &str) -> Result<String, String> {
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
    fn texts_come_in_pieces_that_join_again() {
        for text in [
            "line one\nline two\nthree",
            "no line end at all here",
            "ääääääääääääää",
            "ab",
        ] {
            let mut source = text.as_bytes();
            let (mut rest, mut pieces) = (Vec::new(), Vec::new());
            while let Some((bytes, ends)) = piece(&mut source, &mut rest, 5).unwrap() {
                pieces.push(String::from_utf8(bytes).unwrap());
                assert_eq!(ends, pieces.concat().len() == text.len());
            }
            assert_eq!(pieces.concat(), text);
            assert!(pieces.iter().all(|p| p.len() <= 10), "{pieces:?}");
        }
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
