//! Documents of text files, one after the other: .txt, .jsonl and .parquet, the first two also as .gz and .zst.
//!
//! Memory grows with the longest line, and with a .txt file that is one document only as far as the tokenizer needs the
//! text in one piece. What is wrong with one line is told with the line and does not stop the reading; what is wrong
//! with a whole file (a truncated archive) is an error.

use super::archive;
use super::encoder::Cut;
use super::manifest::TextUnit;
use super::pieces::Pieces;
pub use super::record::{Body, Record};
#[cfg(feature = "parquet")]
use super::rows::Rows;
use crate::error::{Error, Result};
use crate::files::json::show;
use crate::files::text::UTF8_MARK;
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
            _ => {
                let source = archive::open_text(path)?;
                Kind::Pieces(Box::new(Pieces::new(source, reading.cut.clone())))
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
                bad: Vec::new(),
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

#[cfg(test)]
mod tests {
    use super::*;

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
