//! The one error type: what went wrong, where, and what to do about it, in one line.

use std::path::PathBuf;

/// Result of everything that can fail here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What systems, drivers and libraries say in several lines, in one.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Every way this crate refuses; [`Error::exit_code`] maps each to the program's exit code.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be opened, read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file was read and is not what it must be.
    #[error("{file}: {what}; {hint}")]
    File {
        /// Its name, as the user gave it or as it stands in its folder.
        file: String,
        /// What is wrong with it.
        what: String,
        /// What to do about it.
        hint: String,
    },
    /// A field of a model's `config.json` has a value we cannot work with.
    #[error("{file}: field `{field}`: {what}")]
    Config {
        /// Name of the configuration.
        file: String,
        /// The field, with those around it: `rope_scaling.type`.
        field: String,
        /// What is wrong with its value, and which values are understood.
        what: String,
    },
    /// Tensors that are missing, unexpected, of another shape or type: all of them, at once.
    #[error("{file}: {} tensor(s) do not fit the configuration: {}", problems.len(), problems.join("; "))]
    Tensors {
        /// Name of the file or folder that holds them.
        file: String,
        /// One sentence for each tensor.
        problems: Vec<String>,
    },
    /// A weight is NaN or infinite.
    #[error(
        "tensor `{tensor}`: element {index} is {value}; repair the checkpoint, or allow numbers that are not finite"
    )]
    NonFinite {
        /// Name of the tensor.
        tensor: String,
        /// Flat index of its first such element.
        index: usize,
        /// NaN or an infinity.
        value: f32,
    },
    /// Prompt and requested tokens do not fit the context.
    #[error(
        "the prompt has {prompt} tokens and {new} more were asked for, but the context holds {context}; shorten the prompt or ask for fewer new tokens"
    )]
    Context {
        /// Tokens of the prompt.
        prompt: usize,
        /// Tokens that were asked for beyond it.
        new: usize,
        /// Tokens that there is room for.
        context: usize,
    },
    /// The caller asked for something that makes no sense.
    #[error("{what}; {hint}")]
    Usage {
        /// What makes no sense.
        what: String,
        /// What to ask for instead.
        hint: String,
    },
    /// What is to be written is there already, and stays as it is.
    #[error("{path} {what}; choose another place")]
    Occupied {
        /// The path.
        path: String,
        /// What is there.
        what: String,
        /// Whether the caller may ask for it to be replaced: the same command wrote it, and nothing was added since.
        replaceable: bool,
    },
    /// The device is missing, lost, out of memory, or refused.
    #[error("{what}; {hint}")]
    Device {
        /// What the device, its driver or the search for one said.
        what: String,
        /// What to do about it.
        hint: String,
    },
    /// GPU and CPU disagree about the result of an operation (`--check`).
    #[error("check failed: {0}")]
    Disagree(Box<Disagreement>),
    /// A benchmark is slower than a stored one (`bench --guard`).
    #[error("slower than the stored result: {0}")]
    Slow(String),
    /// An operation was given buffers that do not fit it: a mistake in this crate.
    #[error("op `{op}`: {what}; please report this as a bug")]
    Shape {
        /// Name of the operation.
        op: &'static str,
        /// Which buffer does not fit, and how long it should be.
        what: String,
    },
}

/// Whether an I/O error says that the path is wrong, which is the caller's input, and not that a disk or a pipe failed.
fn names_wrong_path(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::*;
    /// ELOOP: links that lead to each other. Its kind is not stable yet.
    #[cfg(target_os = "linux")]
    const LOOP: i32 = 40;
    #[cfg(all(unix, not(target_os = "linux")))]
    const LOOP: i32 = 62;
    /// ERROR_CANT_RESOLVE_FILENAME.
    #[cfg(not(unix))]
    const LOOP: i32 = 1921;
    matches!(
        error.kind(),
        NotFound
            | PermissionDenied
            | AlreadyExists
            | NotADirectory
            | IsADirectory
            | DirectoryNotEmpty
            | InvalidFilename
            | InvalidInput
            | ReadOnlyFilesystem
    ) || error.raw_os_error() == Some(LOOP)
}

/// Where a device and the reference differ.
#[derive(Debug, thiserror::Error)]
#[error(
    "{place}: op `{op}`, binding `{binding}`, element {element}: device {device}, reference {reference} ({bound})"
)]
pub struct Disagreement {
    /// Layer and projection.
    pub place: String,
    /// The op.
    pub op: &'static str,
    /// Its output.
    pub binding: &'static str,
    /// Flat index of the first or worst element.
    pub element: usize,
    /// What the device computed.
    pub device: String,
    /// What the reference computed.
    pub reference: String,
    /// How far apart, and how far they may be.
    pub bound: String,
}

impl Error {
    /// 2 for bad input, 3 for the device, 1 otherwise.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Io { source, .. } if names_wrong_path(source) => 2,
            Self::Io { .. } => 1,
            Self::File { .. }
            | Self::Config { .. }
            | Self::Tensors { .. }
            | Self::NonFinite { .. }
            | Self::Context { .. }
            | Self::Occupied { .. }
            | Self::Usage { .. } => 2,
            Self::Device { .. } => 3,
            Self::Disagree(_) | Self::Slow(_) | Self::Shape { .. } => 1,
        }
    }

    /// A malformed file.
    pub fn file(file: impl Into<String>, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::File {
            file: file.into(),
            what: what.into(),
            hint: hint.into(),
        }
    }

    /// A request that makes no sense.
    pub fn usage(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage {
            what: what.into(),
            hint: hint.into(),
        }
    }

    /// A failure of the device.
    pub fn device(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Device {
            what: what.into(),
            hint: hint.into(),
        }
    }

    /// An I/O failure on `path`.
    pub fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io {
            path: path.into(),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Error as Io, ErrorKind};

    #[test]
    fn wrong_paths_are_bad_input_and_failing_disks_are_not() {
        let code = |error: Io| Error::io("p", error).exit_code();
        for kind in [
            ErrorKind::NotFound,
            ErrorKind::PermissionDenied,
            ErrorKind::NotADirectory,
            ErrorKind::IsADirectory,
            ErrorKind::InvalidFilename,
        ] {
            assert_eq!(code(kind.into()), 2, "{kind:?}");
        }
        for kind in [
            ErrorKind::StorageFull,
            ErrorKind::BrokenPipe,
            ErrorKind::Other,
        ] {
            assert_eq!(code(kind.into()), 1, "{kind:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn what_the_system_says_of_paths_is_bad_input() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("file"), "x").expect("writes");
        for (name, target) in [("a", "b"), ("b", "a"), ("dangling", "nowhere")] {
            std::os::unix::fs::symlink(target, at(name)).expect("links");
        }
        let long = "x".repeat(300);
        for name in ["file/x", "a", "dangling", "absent", &long, "nul\0"] {
            let error = std::fs::File::open(at(name)).expect_err("refused");
            assert_eq!(Error::io(name, error).exit_code(), 2, "{name}");
            let error = std::fs::create_dir(at(name).join("y")).expect_err("refused");
            assert_eq!(Error::io(name, error).exit_code(), 2, "{name}/y");
        }
        for error in [
            std::fs::read(folder.path()).expect_err("a folder"),
            std::fs::create_dir(at("file")).expect_err("it is there"),
            std::fs::create_dir(at("dangling")).expect_err("it is there"),
            std::fs::read_dir(at("file")).expect_err("a file"),
            std::fs::remove_dir(folder.path()).expect_err("it is not empty"),
        ] {
            assert_eq!(Error::io("p", error).exit_code(), 2);
        }
    }
}
