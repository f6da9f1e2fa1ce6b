//! A text file that is one document, in pieces that are tokenized one by one.

use super::encoder::Cut;
use super::record::{Body, Record};
use std::io::{BufRead, Read};

/// Pieces have at least this many bytes, the last one aside.
const SIZE: usize = 1 << 18;
/// Lines longer than this may be looked at in parts, in bytes.
const LONG_LINE: u64 = 1 << 24;

/// The pieces of one text. Lines that are not UTF-8 are left out, and told.
pub(super) struct Pieces {
    source: Box<dyn BufRead>,
    cut: Cut,
    size: usize,
    /// Whether the source has been read to its end.
    over: bool,
    /// What was read beyond the last piece.
    rest: Vec<u8>,
    /// The beginning of a line whose last character has not been read to its end.
    begun: Vec<u8>,
    /// The line that is read next, from 1.
    line: u64,
    /// Lines left out since the last piece.
    bad: Vec<(u64, String)>,
    /// Whether the next piece is the first.
    begins: bool,
}

impl Pieces {
    /// The pieces of `source`, whose text may be cut where `cut` says.
    pub(super) fn new(source: Box<dyn BufRead>, cut: Cut) -> Self {
        Self {
            source,
            cut,
            size: SIZE,
            over: false,
            rest: Vec::new(),
            begun: Vec::new(),
            line: 1,
            bad: Vec::new(),
            begins: true,
        }
    }

    /// The next piece, of [`SIZE`] bytes and as many more as it takes to a place to cut; `None` at the end.
    pub(super) fn next(&mut self) -> std::io::Result<Option<Record>> {
        let mut bytes = std::mem::take(&mut self.rest);
        let (mut searched, mut wanted) = (self.size, 2 * self.size);
        loop {
            self.fill(&mut bytes, wanted)?;
            if self.over {
                break;
            }
            if let Some(at) = self.cut.place(&bytes, searched) {
                self.rest = bytes.split_off(at);
                break;
            }
            searched = bytes.len() - self.cut.lookahead().min(bytes.len());
            wanted = bytes.len() + bytes.len() / 2;
        }
        let bad = std::mem::take(&mut self.bad);
        if bytes.is_empty() && bad.is_empty() {
            return Ok(None);
        }
        Ok(Some(Record {
            number: 1,
            body: Body::Lines(bytes),
            begins: std::mem::take(&mut self.begins),
            ends: self.rest.is_empty(),
            bad,
        }))
    }

    /// Reads until there are `wanted` bytes.
    fn fill(&mut self, bytes: &mut Vec<u8>, wanted: usize) -> std::io::Result<()> {
        while bytes.len() < wanted && !self.over {
            let mut lines = std::mem::take(&mut self.begun);
            let read = (&mut *self.source).take(self.size as u64);
            self.over = { read }.read_to_end(&mut lines)? == 0;
            let rest = (&mut *self.source).take(LONG_LINE);
            { rest }.read_until(b'\n', &mut lines)?;
            if !self.over
                && let Err(e) = std::str::from_utf8(&lines)
                && e.error_len().is_none()
            {
                // The whole line waits: whether it is text is known when its last character is.
                let begin = lines.iter().rposition(|&b| b == b'\n').map_or(0, |i| i + 1);
                self.begun = lines.split_off(begin);
            }
            self.keep(&lines, bytes);
        }
        Ok(())
    }

    /// Appends what of `lines` is text to `bytes`.
    fn keep(&mut self, lines: &[u8], bytes: &mut Vec<u8>) {
        for line in lines.split_inclusive(|&b| b == b'\n') {
            match std::str::from_utf8(line) {
                Ok(_) => bytes.extend(line),
                Err(e) => {
                    let why = format!("not UTF-8 at byte {} of the line", e.valid_up_to());
                    self.bad.push((self.line, why));
                }
            }
            self.line += u64::from(line.ends_with(b"\n"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::io::Cursor;

    /// Cut as for a byte-level tokenizer with an added token.
    fn words() -> Cut {
        Cut::of(&json!({
            "model": {"type": "BPE"}, "added_tokens": [{"content": "<x>"}],
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
        }))
    }

    /// The pieces of a text, and the lines that are none.
    fn all(text: &[u8], size: usize, cut: &Cut) -> (Vec<String>, Vec<(u64, String)>) {
        let mut source = Pieces::new(Box::new(Cursor::new(text.to_vec())), cut.clone());
        source.size = size;
        let (mut pieces, mut bad, mut ended) = (Vec::new(), Vec::new(), false);
        while let Some(record) = source.next().unwrap() {
            assert!(!ended);
            assert_eq!(record.begins, pieces.is_empty());
            ended = record.ends;
            bad.extend(record.bad);
            let Body::Lines(bytes) = record.body else {
                panic!("lines are wanted");
            };
            pieces.push(String::from_utf8(bytes).unwrap());
        }
        assert!(ended || text.is_empty());
        (pieces, bad)
    }

    fn pieces(text: &str, size: usize, cut: &Cut) -> Vec<String> {
        let (pieces, bad) = all(text.as_bytes(), size, cut);
        assert_eq!((pieces.concat().as_str(), bad), (text, Vec::new()));
        pieces
    }

    #[test]
    fn texts_come_in_pieces_that_join_again() {
        let text = "one two three  four\nfive\n\nsix seven eight nine ten";
        let cut = pieces(text, 5, &words());
        assert_eq!(cut[..2], ["one two", " three  four\n"], "{cut:?}");
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
        assert!(pieces("", 5, &words()).is_empty());
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
    fn lines_that_are_no_text_are_left_out_and_told() {
        let why = |byte| format!("not UTF-8 at byte {byte} of the line");
        let text = b"a b c\nab\xff\nd e f\n\xc3\nlast";
        for size in 1..40 {
            let (pieces, bad) = all(text, size, &words());
            assert_eq!(pieces.concat(), "a b c\nd e f\nlast");
            assert_eq!(bad, [(2, why(2)), (4, why(0))]);
        }
        // A file of nothing else, and a character that never ends.
        assert_eq!(
            all(b"\xff", 5, &words()),
            (vec![String::new()], vec![(1, why(0))])
        );
        assert_eq!(all(b"ab\xc3", 9, &words()).1, [(1, why(2))]);
    }
}
