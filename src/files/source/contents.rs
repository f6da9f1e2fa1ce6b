//! The contents of a file of a model: in memory or mapped, or read piece by piece where they lie.

use super::Bytes;
use std::borrow::Cow;
use std::io::Result;
use std::ops::Range;
use std::sync::Arc;

/// Bytes that are read when somebody asks for them, where nothing can be mapped: a file that a web page was given.
pub trait ReadAt: Send + Sync {
    /// How many there are.
    fn size(&self) -> usize;

    /// Those in a range, which is within the size.
    ///
    /// # Errors
    /// What the system says.
    fn read_at(&self, range: Range<usize>) -> Result<Vec<u8>>;
}

/// The contents of a file; cheap to clone.
#[derive(Clone)]
pub enum Contents {
    /// All of them, as a slice.
    Here(Bytes),
    /// To be read.
    There(Arc<dyn ReadAt>),
}

impl<B: Into<Bytes>> From<B> for Contents {
    fn from(bytes: B) -> Self {
        Self::Here(bytes.into())
    }
}

impl Contents {
    /// How many bytes there are.
    pub fn size(&self) -> usize {
        match self {
            Self::Here(bytes) => bytes.len(),
            Self::There(file) => file.size(),
        }
    }

    /// The bytes of a range, which is within the size.
    ///
    /// # Errors
    /// What the system says.
    pub fn read(&self, range: Range<usize>) -> Result<Cow<'_, [u8]>> {
        match self {
            Self::Here(bytes) => Ok(Cow::Borrowed(&bytes[range])),
            Self::There(file) => file.read_at(range).map(Cow::Owned),
        }
    }

    /// Gives back the memory of what was read, where it is a copy of a mapped file.
    pub fn release(&self) {
        if let Self::Here(bytes) = self {
            bytes.release();
        }
    }

    /// All bytes.
    ///
    /// # Errors
    /// What the system says.
    pub fn whole(&self) -> Result<Bytes> {
        match self {
            Self::Here(bytes) => Ok(bytes.clone()),
            Self::There(file) => file.read_at(0..file.size()).map(Bytes::from),
        }
    }
}
