//! Bytes that should be text: byte order marks, other encodings, and what is no text at all.

use super::json::show;
use crate::error::{Error, Result};

/// The byte order mark of UTF-8. It says how a file is written and is no part of its text.
pub(super) const UTF8_MARK: &[u8] = &[0xEF, 0xBB, 0xBF];

/// The text in `bytes`, without a byte order mark; `file` names it in messages.
///
/// # Errors
/// [`Error::File`] for anything but UTF-8, with the line and the byte.
pub fn decode(file: &str, bytes: Vec<u8>) -> Result<String> {
    refuse_utf16(file, &bytes)?;
    let mut text = String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        let line = 1 + e.as_bytes()[..at].iter().filter(|&&b| b == b'\n').count();
        Error::file(
            show(file),
            format!("byte {at} (line {line}) is not UTF-8"),
            "convert it to UTF-8",
        )
    })?;
    if text.starts_with('\u{feff}') {
        text.drain(..UTF8_MARK.len());
    }
    Ok(text)
}

/// Refuses what begins with the byte order mark of UTF-16 or UTF-32.
///
/// # Errors
/// [`Error::File`].
pub(super) fn refuse_utf16(file: &str, bytes: &[u8]) -> Result<()> {
    let marked = bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]);
    if !marked && !bytes.starts_with(&[0, 0, 0xFE]) {
        return Ok(());
    }
    Err(Error::file(
        show(file),
        "is text in UTF-16 or UTF-32",
        "save it as UTF-8",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_order_marks_are_no_text() {
        let text = |bytes: &[u8]| decode("f", bytes.to_vec());
        assert_eq!(text(b"\xef\xbb\xbfa").unwrap(), "a");
        assert_eq!(text(b"").unwrap(), "");
        for (bytes, name) in [
            (&b"\xff\xfea\0"[..], "UTF-16"),
            (b"\xfe\xff\0a", "UTF-16"),
            (b"\0\0\xfe\xff\0\0\0a", "UTF-32"),
            (b"ab\n\xff", "byte 3 (line 2)"),
        ] {
            let error = text(bytes).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
            assert_eq!(error.exit_code(), 2);
        }
    }
}
