//! Folders and files that commands write: what the program says about replacing them.

use super::out;
use crate::error::{Error, Result};
use crate::files::staging::{Destination, Replaced};
use crate::files::{Inputs, gguf};
use std::path::Path;

/// Says what was replaced.
pub(super) fn tell(replaced: Option<Replaced>) {
    if let Some(replaced) = replaced {
        out::note(&format!("note: {replaced}"));
    }
}

/// Refuses at once, before a device is opened, an `output` that `command` could not write while it reads `input`.
pub(super) fn check(command: &str, input: &Path, output: &Path, force: bool) -> Result<()> {
    let inputs = Inputs::new().with(input);
    let destination = Destination {
        replace: force,
        inputs: &inputs,
        ..Destination::new(output, command)
    };
    with_force(command, "folder", destination.check())
}

/// The same for the GGUF file `output`.
pub(super) fn check_gguf(command: &str, input: &Path, output: &Path, force: bool) -> Result<()> {
    let checked = gguf::check_place(output, &Inputs::new().with(input), force);
    with_force(command, "file", checked)
}

/// Adds to the refusal of a folder or file (`kind`) in use what `--force` does about it in `command`.
pub(super) fn with_force<T>(command: &str, kind: &str, result: Result<T>) -> Result<T> {
    result.map_err(|error| match error {
        Error::Occupied {
            path,
            what,
            replaceable: true,
        } => Error::usage(
            format!("{path} {what}"),
            format!("choose another {kind}, or pass --force to replace it"),
        ),
        Error::Occupied { path, what, .. } => Error::usage(
            format!("{path} {what}"),
            format!("choose another {kind}: --force replaces only what `{command}` wrote itself"),
        ),
        error => error,
    })
}
