//! The one error type: what went wrong, where, and what to do about it, in one line.

use std::path::PathBuf;

/// Result of everything that can fail here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

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
        "tensor `{tensor}`: element {index} is {value}; repair the checkpoint or pass --allow-nonfinite"
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
        "the prompt has {prompt} tokens and {new} more were asked for, but the context holds {context}; shorten the prompt or lower -n"
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
    /// An operation was given buffers that do not fit it: a mistake in this crate.
    #[error("op `{op}`: {what}; please report this as a bug")]
    Shape {
        /// Name of the operation.
        op: &'static str,
        /// Which buffer does not fit, and how long it should be.
        what: String,
    },
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
            Self::Io { source, .. } => match source.kind() {
                std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied => 2,
                _ => 1,
            },
            Self::File { .. }
            | Self::Config { .. }
            | Self::Tensors { .. }
            | Self::NonFinite { .. }
            | Self::Context { .. }
            | Self::Usage { .. } => 2,
            Self::Device { .. } => 3,
            Self::Disagree(_) | Self::Shape { .. } => 1,
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
