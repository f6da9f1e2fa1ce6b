//! A text file that is one document, in pieces that are tokenized one by one.

use super::archive;
use super::encoder::Cut;
use super::records::{Body, Record, not_utf8, position};
use crate::error::Result;
use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

/// Pieces have at least this many bytes, the last one aside.
const SIZE: usize = 1 << 18;

/// The pieces of one file.
pub(super) struct Pieces {
    path: PathBuf,
    source: Box<dyn BufRead>,
    cut: Cut,
    /// What was read beyond the last piece.
    rest: Vec<u8>,
    /// The line that the next piece begins in, from 1.
    line: u64,
    /// Whether the next piece is the first.
    begins: bool,
}

impl Pieces {
    /// Opens the file; its text may be cut where `cut` says.
    pub fn open(path: &Path, cut: &Cut) -> Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            source: archive::open_text(path)?,
            cut: cut.clone(),
            rest: Vec::new(),
            line: 1,
            begins: true,
        })
    }

    /// The next piece; `None` at the end. A file that is not UTF-8 has one piece, which says where: half a document is
    /// none.
    pub fn next(&mut self) -> std::io::Result<Option<Record>> {
        let Some((bytes, ends)) = piece(&mut *self.source, &mut self.rest, SIZE, &self.cut)? else {
            return Ok(None);
        };
        let begins = std::mem::take(&mut self.begins);
        // Earlier pieces are tokens already when a later one is looked at, so all are looked at before.
        if begins
            && !ends
            && let Some((number, byte)) = fault(&mut *archive::open_bytes(&self.path)?)?
        {
            self.rest.clear();
            self.source = Box::new(std::io::empty());
            return Ok(Some(Record {
                number,
                body: Body::Bad(not_utf8(byte)),
                begins,
                ends: true,
            }));
        }
        let number = self.line;
        self.line += position(&bytes).0;
        Ok(Some(Record {
            number,
            body: Body::Lines(bytes),
            begins,
            ends,
        }))
    }
}

/// The next piece of a text, of `size` bytes and as many more as it takes to a place where `cut` allows to cut. What was
/// read beyond it waits in `rest`. With each piece comes whether it is the last.
fn piece(
    source: &mut dyn BufRead,
    rest: &mut Vec<u8>,
    size: usize,
    cut: &Cut,
) -> std::io::Result<Option<(Vec<u8>, bool)>> {
    let mut bytes = std::mem::take(rest);
    let mut searched = size;
    let mut wanted = 2 * size;
    loop {
        let more = wanted.saturating_sub(bytes.len());
        (&mut *source).take(more as u64).read_to_end(&mut bytes)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        if bytes.len() < wanted {
            return Ok(Some((bytes, true)));
        }
        if let Some(at) = cut.place(&bytes, searched) {
            *rest = bytes.split_off(at);
            return Ok(Some((bytes, false)));
        }
        searched = bytes.len() - cut.lookahead().min(bytes.len());
        wanted = bytes.len() + bytes.len() / 2;
    }
}

/// The line, from 1, and the byte of it where a text stops being UTF-8.
fn fault(source: &mut dyn BufRead) -> std::io::Result<Option<(u64, usize)>> {
    let (mut line, mut column) = (1, 0);
    let mut bytes = Vec::new();
    loop {
        let read = (&mut *source).take(SIZE as u64).read_to_end(&mut bytes)?;
        let (good, wrong) = match std::str::from_utf8(&bytes) {
            Ok(_) => (bytes.len(), false),
            // A character may go on in what is read next.
            Err(e) => (e.valid_up_to(), e.error_len().is_some() || read == 0),
        };
        let (lines, behind) = position(&bytes[..good]);
        column = if lines > 0 { behind } else { column + behind };
        line += lines;
        if wrong {
            return Ok(Some((line, column)));
        }
        if read == 0 {
            return Ok(None);
        }
        bytes.drain(..good);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Cut as for a byte-level tokenizer with an added token.
    fn words() -> Cut {
        Cut::of(&json!({
            "model": {"type": "BPE"}, "added_tokens": [{"content": "<x>"}],
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
        }))
    }

    fn pieces(text: &str, size: usize, cut: &Cut) -> Vec<String> {
        let mut source = text.as_bytes();
        let (mut rest, mut pieces) = (Vec::new(), Vec::new());
        while let Some((bytes, ends)) = piece(&mut source, &mut rest, size, cut).unwrap() {
            pieces.push(String::from_utf8(bytes).unwrap());
            assert_eq!(ends, pieces.concat().len() == text.len(), "{text}");
        }
        assert_eq!(pieces.concat(), text);
        pieces
    }

    #[test]
    fn texts_come_in_pieces_that_join_again() {
        let text = "one two three  four\nfive\n\nsix seven eight nine ten";
        assert_eq!(
            pieces(text, 5, &words()),
            [
                "one two",
                " three  four\n",
                "five\n\nsix",
                " seven",
                " eight nine ten"
            ]
        );
        for text in [
            "no place to cut",
            "ääääääääääääääääääää",
            "ab",
            "a  b  c  d  e  f  g  h",
        ] {
            assert_eq!(pieces(text, 5, &Cut::Never), [text]);
        }
        for text in ["ääääääääääääääääääää", "a  b  c  d  e  f  g  h"] {
            assert_eq!(pieces(text, 5, &words()), [text], "there is no place");
        }
    }

    #[test]
    fn no_piece_begins_or_ends_with_an_added_token() {
        let text = "aaaaa <x> b<x> c d\n<x>e f g<x>\nh i j k l m n";
        for size in 1..text.len() {
            for piece in pieces(text, size, &words()) {
                assert!(!piece.trim_start().starts_with("<x>"), "{piece}");
                assert!(!piece.trim_end().ends_with("<x>"), "{piece}");
            }
        }
    }

    #[test]
    fn faults_are_found_in_their_line() {
        let find = |bytes: &[u8]| fault(&mut &*bytes).unwrap();
        assert_eq!(find("a\nü\n".as_bytes()), None);
        assert_eq!(find(b"a\nbc\xffd\n"), Some((2, 2)));
        assert_eq!(find(b"\xc3"), Some((1, 0)));
        let mut long = vec![b'a'; 3 * SIZE - 1];
        long.extend("ü\nx".as_bytes());
        assert_eq!(find(&long), None, "a character across two reads");
        long.push(0xC3);
        assert_eq!(find(&long), Some((2, 1)));
    }
}
