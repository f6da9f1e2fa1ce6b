//! Printing: results to standard output, everything else to standard error, and never a panic when a pipe
//! closes.

pub(super) use crate::error::one_line;
use crate::error::{Error, Result};
pub(super) use crate::units::{bytes, memory, scaled};
use serde::Serialize;
use std::io::{ErrorKind, IsTerminal, Write};
use std::path::Path;

const STDOUT: &str = "standard output";

/// Writes `text` to standard output at once.
pub(super) fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| Error::io(STDOUT, error))
}

/// Writes `value` and a line end to standard output.
pub(super) fn json(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Error::io(STDOUT, std::io::Error::other(error)))?;
    print(&(text + "\n"))
}

/// Writes one line to standard error; there is nobody to tell when that fails.
pub(super) fn note(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Whether `error` only says that the reader of standard output has gone.
pub(super) fn reader_left(error: &Error) -> bool {
    matches!(error, Error::Io { path, source }
        if path == Path::new(STDOUT) && source.kind() == ErrorKind::BrokenPipe)
}

/// Whether standard output is read by a person.
pub(super) fn on_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Writes a file whole or not at all: beside its place first, then renamed. One that is there is replaced only if
/// `replace`.
pub(super) fn save(file: &Path, bytes: &[u8], replace: bool) -> std::io::Result<()> {
    if !replace && file.symlink_metadata().is_ok() {
        return Err(ErrorKind::AlreadyExists.into());
    }
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let beside = file.with_file_name(name);
    let write = || {
        let mut new = std::fs::File::create_new(&beside)?;
        new.write_all(bytes)?;
        new.sync_all()?;
        match replace {
            true => std::fs::rename(&beside, file),
            // a link fails where the file has appeared meanwhile, which a rename would replace
            false => std::fs::hard_link(&beside, file).or_else(|error| match file.exists() {
                true => Err(error),
                false => std::fs::rename(&beside, file),
            }),
        }
    };
    let written = write();
    let _ = std::fs::remove_file(&beside); // is gone already where it was renamed
    written
}

/// A bar on standard error for `steps` steps; invisible unless a person is watching and `wanted`.
pub(super) fn progress(wanted: bool, steps: usize) -> indicatif::ProgressBar {
    if !wanted {
        return indicatif::ProgressBar::hidden();
    }
    let style = indicatif::ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} {msg}");
    let bar = indicatif::ProgressBar::new(steps as u64); // indicatif hides it where there is no terminal
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// A bar that also says how much time is left, for steps of about equal length.
pub(super) fn timed() -> indicatif::ProgressStyle {
    let style = "{bar:30} {pos}/{len} {elapsed} (left {eta}) {msg}";
    let style = indicatif::ProgressStyle::with_template(style);
    style.unwrap_or_else(|_| indicatif::ProgressStyle::default_bar())
}

/// Rows in columns two blanks apart, the first column left-aligned, the others right-aligned.
pub(super) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|h| h.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (i, (cell, &width)) in cells.zip(&widths).enumerate() {
            let padded = if i == 0 {
                format!("{cell:<width$}")
            } else {
                format!("  {cell:>width$}")
            };
            text.push_str(&padded);
        }
        text.trim_end().to_owned() + "\n"
    };
    let mut text = line(&mut header.iter().copied());
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_line_up() {
        let rows = [
            vec!["a".to_owned(), "10".to_owned()],
            vec!["bcd".to_owned(), "2".to_owned()],
        ];
        assert_eq!(table(&["x", "n"], &rows), "x     n\na    10\nbcd   2\n");
    }

    #[test]
    fn errors_take_one_line() {
        assert_eq!(one_line("a\n  b\r\nc"), "a b c");
    }
}
