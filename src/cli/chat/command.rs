//! Lines that are no messages.

use crate::error::{Error, Result};
use std::path::PathBuf;

/// What can be typed beside messages.
pub(super) const HELP: &str = "\
/system TEXT   what the model is told before the first message; without TEXT nothing
/reset         forget the conversation
/save FILE     write the messages as JSON; a file that is there stays as it is
/load FILE     go on from messages that were saved
/stats         tokens and times of the last answer
/regenerate    another answer to the last message
/exit          end (or Ctrl-D)
Ctrl-C stops an answer. A line that ends with \\ goes on in the next one; \"\"\" begins and ends a block of lines.";

/// A line that begins with `/`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Help,
    System(Option<String>),
    Reset,
    Save(PathBuf),
    Load(PathBuf),
    Stats,
    Regenerate,
    Exit,
}

impl Command {
    /// The command that a line is; `None` for a message.
    ///
    /// # Errors
    /// [`Error::Usage`] for a command that there is not, or one without its file.
    pub(super) fn parse(line: &str) -> Result<Option<Self>> {
        let Some(command) = line.strip_prefix('/').filter(|rest| !rest.starts_with('/')) else {
            return Ok(None);
        };
        let (name, argument) = command
            .split_once(char::is_whitespace)
            .unwrap_or((command, ""));
        let argument = argument.trim();
        let file = || match argument {
            "" => Err(Error::usage(
                format!("/{name} without a file"),
                "name the file behind it",
            )),
            file => Ok(PathBuf::from(file)),
        };
        Ok(Some(match name {
            "help" | "?" => Self::Help,
            "system" => Self::System((!argument.is_empty()).then(|| argument.to_owned())),
            "reset" => Self::Reset,
            "save" => Self::Save(file()?),
            "load" => Self::Load(file()?),
            "stats" => Self::Stats,
            "regenerate" => Self::Regenerate,
            "exit" | "quit" | "bye" => Self::Exit,
            _ => {
                let what = format!("there is no command /{}", super::out::one_line(name));
                return Err(Error::usage(
                    what,
                    "/help tells which there are; // begins a message with /",
                ));
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_told_from_messages() {
        let parsed = |line: &str| Command::parse(line).expect("understood");
        assert_eq!(parsed("Hello /help"), None);
        assert_eq!(parsed("//help"), None);
        assert_eq!(parsed("/help"), Some(Command::Help));
        assert_eq!(
            parsed("/system  Be brief. "),
            Some(Command::System(Some("Be brief.".into())))
        );
        assert_eq!(parsed("/system"), Some(Command::System(None)));
        assert_eq!(
            parsed("/save a b.json"),
            Some(Command::Save("a b.json".into()))
        );
        for wrong in ["/nothing", "/", "/save", "/load  "] {
            let error = Command::parse(wrong).expect_err("no command");
            assert_eq!(error.exit_code(), 2, "{wrong}");
        }
    }
}
