//! Where messages come from: a person at a terminal, or a pipe with one message a line.

use crate::error::{Error, Result};
use etcetera::BaseStrategy;
use rustyline::error::ReadlineError;
use rustyline::{Behavior, Config, DefaultEditor};
use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};

/// Longest line of a pipe: far beyond every context.
const LONGEST: u64 = 64 << 20;
/// Lines that are remembered from one conversation to the next.
const REMEMBERED: usize = 1000;
/// What begins and ends a block of lines.
const BLOCK: &str = "\"\"\"";

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A message or a command; never only white space.
    Text(String),
    /// There is nothing more.
    End,
}

/// Where messages come from.
pub(super) enum Input {
    /// Somebody who types, and the file that remembers it.
    Person(Box<DefaultEditor>, Option<PathBuf>),
    /// Standard input is no terminal.
    Pipe,
}

impl Input {
    /// Standard input; what was typed in earlier conversations is in `history`, or in the usual place.
    pub(super) fn open(history: Option<&Path>) -> Result<Self> {
        if !std::io::stdin().is_terminal() {
            return Ok(Self::Pipe);
        }
        let config = Config::builder().max_history_size(REMEMBERED);
        let config = config.and_then(|config| config.history_ignore_dups(true));
        // Prompts go to the terminal, also where answers go to a file.
        let config = config.map_err(failed)?.behavior(Behavior::PreferTerm);
        let config = config.auto_add_history(false).build();
        let mut editor = DefaultEditor::with_config(config).map_err(failed)?;
        let history = match history {
            Some(off) if off == Path::new("off") => None,
            Some(file) => Some(file.to_owned()),
            None => usual_history(),
        };
        if let Some(file) = &history {
            let _ = editor.load_history(file); // there is none the first time
        }
        super::interrupt::watch();
        Ok(Self::Person(Box::new(editor), history))
    }

    /// Whether somebody types.
    pub(super) fn is_person(&self) -> bool {
        matches!(self, Self::Person(..))
    }

    /// The next message or command.
    ///
    /// # Errors
    /// Failures to read, and [`Error::File`] for a line that is no text.
    pub(super) fn read(&mut self) -> Result<Line> {
        loop {
            let line = match self {
                Self::Pipe => piped(std::io::stdin().lock())?,
                Self::Person(editor, history) => {
                    let line = typed(&mut |prompt| editor.readline(prompt))?;
                    if let Line::Text(text) = &line {
                        remember(editor, history.as_deref(), text);
                    }
                    line
                }
            };
            match line {
                Line::Text(text) if text.trim().is_empty() => {}
                line => return Ok(line),
            }
        }
    }
}

/// `chat_history` in the user's folder for what programs remember.
fn usual_history() -> Option<PathBuf> {
    let base = etcetera::choose_base_strategy().ok()?;
    let folder = base.state_dir().unwrap_or_else(|| base.data_dir());
    Some(folder.join("fairy2i-gpu").join("chat_history"))
}

/// Adds a line to what is remembered. A history that cannot be written is no reason to stop talking.
fn remember(editor: &mut DefaultEditor, history: Option<&Path>, text: &str) {
    let _ = editor.add_history_entry(text);
    if let Some(file) = history {
        let _ = file.parent().map(std::fs::create_dir_all);
        let _ = editor.save_history(file);
    }
}

/// One line of a pipe, without its end.
fn piped(from: impl BufRead) -> Result<Line> {
    const NAME: &str = "standard input";
    let mut bytes = Vec::new();
    let mut limited = from.take(LONGEST + 1);
    let read = limited.read_until(b'\n', &mut bytes);
    read.map_err(|e| Error::io(NAME, e))?;
    if bytes.is_empty() {
        return Ok(Line::End);
    }
    if bytes.len() as u64 > LONGEST {
        let what = format!("has a line of more than {} MB", LONGEST >> 20);
        return Err(Error::file(NAME, what, "no context holds that; shorten it"));
    }
    let text = crate::files::text::decode(NAME, bytes)?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(Line::Text(
        text.strip_suffix('\r').unwrap_or(text).to_owned(),
    ))
}

/// What somebody types until it is a message: several lines where one ends with a backslash, or a block of them. `ask`
/// reads a line behind a prompt.
fn typed(ask: &mut dyn FnMut(&str) -> rustyline::Result<String>) -> Result<Line> {
    let mut lines: Vec<String> = Vec::new();
    let (mut block, mut interrupted) = (false, false);
    loop {
        let prompt = if lines.is_empty() && !block {
            "> "
        } else {
            ". "
        };
        match ask(prompt) {
            Ok(line) => {
                interrupted = false;
                let opens = !block && lines.is_empty() && line.trim_start().starts_with(BLOCK);
                let inside = if opens {
                    line.trim_start().trim_start_matches(BLOCK)
                } else {
                    &line
                };
                block |= opens;
                if block {
                    let (inside, closes) = match inside.trim_end().strip_suffix(BLOCK) {
                        Some(last) => (last, true),
                        None => (inside, false),
                    };
                    if !((opens || closes) && inside.is_empty()) {
                        lines.push(inside.to_owned());
                    }
                    if closes {
                        return Ok(Line::Text(lines.join("\n")));
                    }
                } else if let Some(more) = line.strip_suffix('\\') {
                    lines.push(more.to_owned());
                } else {
                    lines.push(line);
                    return Ok(Line::Text(lines.join("\n")));
                }
            }
            Err(ReadlineError::Interrupted) if interrupted => return Ok(Line::End),
            Err(ReadlineError::Interrupted) => {
                interrupted = true;
                block = false;
                lines.clear();
            }
            Err(ReadlineError::Eof) => return Ok(Line::End),
            Err(error) => return Err(failed(error)),
        }
    }
}

fn failed(error: ReadlineError) -> Error {
    let error = match error {
        ReadlineError::Io(error) => error,
        other => std::io::Error::other(other.to_string()),
    };
    Error::io("the terminal", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read when these lines are typed; `^C` interrupts.
    fn typing(lines: &[&str]) -> Line {
        let mut lines = lines.iter();
        let mut ask = |_: &str| match lines.next() {
            Some(&"^C") => Err(ReadlineError::Interrupted),
            Some(line) => Ok((*line).to_owned()),
            None => Err(ReadlineError::Eof),
        };
        typed(&mut ask).expect("the terminal works")
    }

    #[test]
    fn several_lines_are_one_message() {
        let text = |text: &str| Line::Text(text.to_owned());
        assert_eq!(typing(&["Hello"]), text("Hello"));
        assert_eq!(typing(&["a\\", "b\\", "c", "d"]), text("a\nb\nc"));
        assert_eq!(typing(&["pasted\nlines"]), text("pasted\nlines"));
        assert_eq!(
            typing(&["\"\"\"", "a", "", "b\\", "\"\"\""]),
            text("a\n\nb\\")
        );
        assert_eq!(typing(&["\"\"\"a", "b\"\"\""]), text("a\nb"));
        assert_eq!(typing(&["\"\"\"a\"\"\""]), text("a"));
        assert_eq!(typing(&["a\\", "^C", "b"]), text("b"));
        assert_eq!(typing(&["^C", "^C", "b"]), Line::End);
        assert_eq!(typing(&["^C", "a\\", "^C", "b"]), text("b"));
        assert_eq!(typing(&[]), Line::End);
    }

    #[test]
    fn a_pipe_has_a_message_a_line() {
        let mut pipe = &b"a \\\r\n\nb"[..];
        assert_eq!(piped(&mut pipe).expect("text"), Line::Text("a \\".into()));
        assert_eq!(piped(&mut pipe).expect("text"), Line::Text(String::new()));
        assert_eq!(piped(&mut pipe).expect("text"), Line::Text("b".into()));
        assert_eq!(piped(&mut pipe).expect("text"), Line::End);
        piped(&b"\xff\n"[..]).expect_err("not text");
    }
}
