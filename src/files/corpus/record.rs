//! A record of a file of text: a line, a row, a piece.

use super::json_line::json_text;

/// A part of a file that may be a document.
#[derive(Debug)]
pub struct Record {
    /// Line or row, from 1; of lines that come together, 1.
    pub number: u64,
    /// What is there.
    pub body: Body,
    /// Whether a document begins here; only text files come in pieces.
    pub begins: bool,
    /// Whether it ends here.
    pub ends: bool,
    /// Lines that were left out before it, and why.
    pub bad: Vec<(u64, String)>,
}

/// Bytes of a record, not looked at yet: that is work for another thread.
#[derive(Debug)]
pub enum Body {
    /// A line of JSON.
    Json(Vec<u8>),
    /// Plain text.
    Text(Vec<u8>),
    /// Lines of a text file that come together: all of it, or a piece.
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
