//! Where the prompt comes from.

use crate::error::{Error, Result};
use crate::files::text::decode;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

/// Longest prompt that is read: far beyond every context.
const LONGEST: u64 = 64 << 20;

/// The prompt in one of its forms.
#[derive(Debug, clap::Args)]
pub(super) struct PromptArgs {
    /// Text to continue; `-` reads standard input, and so does no prompt at all when something is piped in
    #[arg(value_name = "PROMPT")]
    text: Option<String>,
    /// The same as an option
    #[arg(short, long = "prompt", value_name = "PROMPT", conflicts_with = "text")]
    prompt: Option<String>,
    /// Read the prompt from a file (`-`: from standard input)
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["text", "prompt"])]
    file: Option<PathBuf>,
}

impl PromptArgs {
    /// The prompt's text. Of files and pipes, one line end at the very end is dropped: editors and `echo` add it.
    pub(super) fn read(&self) -> Result<String> {
        if let Some(path) = self.file.as_ref().filter(|p| *p != Path::new("-")) {
            let file = std::fs::File::open(path).map_err(|e| Error::io(path, e))?;
            return read(path, file);
        }
        let stdin = std::io::stdin();
        match self.text.as_ref().or(self.prompt.as_ref()) {
            Some(text) if text != "-" => Ok(text.clone()),
            None if self.file.is_none() && stdin.is_terminal() => Ok(String::new()),
            _ => read(Path::new("standard input"), stdin.lock()),
        }
    }
}

fn read(path: &Path, from: impl Read) -> Result<String> {
    let name = path.display().to_string();
    let mut bytes = Vec::new();
    from.take(LONGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Error::io(path, e))?;
    if bytes.len() as u64 > LONGEST {
        let what = format!("is longer than {} MB", LONGEST >> 20);
        return Err(Error::file(name, what, "no context holds that; shorten it"));
    }
    let mut text = decode(&name, bytes)?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_end_is_dropped() {
        let text = |bytes: &[u8]| read(Path::new("p"), bytes).expect("readable");
        assert_eq!(text(b"a\n"), "a");
        assert_eq!(text(b"a\r\n"), "a");
        assert_eq!(text(b"a\n\n"), "a\n");
        assert_eq!(text(b""), "");
        assert_eq!(text(b"\xef\xbb\xbfa\n"), "a");
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        let error = read(Path::new("p"), &b"ab\xff"[..]).expect_err("not text");
        assert!(error.to_string().contains("byte 2"), "{error}");
    }
}
