//! Where weights come from, as the model sees it: named tensors of bytes. `files` implements it.

use crate::error::Result;
use std::borrow::Cow;

/// Element types of stored tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// 32-bit float.
    F32,
    /// IEEE half.
    F16,
    /// Upper half of an f32.
    BF16,
    /// Packed codes.
    U32,
}

impl Dtype {
    /// Bytes of one element.
    pub const fn bytes(self) -> usize {
        match self {
            Self::F32 | Self::U32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }
}

/// A stored tensor: little-endian, row-major.
#[derive(Debug, Clone)]
pub struct Tensor<'a> {
    /// Element type.
    pub dtype: Dtype,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// Contents; borrowed where the file is memory-mapped.
    pub bytes: Cow<'a, [u8]>,
}

impl Tensor<'_> {
    /// Elements `range` (flat index) as f32; [`Dtype::U32`] is not converted and gives an empty vector.
    pub fn to_f32(&self, range: std::ops::Range<usize>) -> Vec<f32> {
        let size = self.dtype.bytes();
        let bytes = &self.bytes[range.start * size..range.end * size];
        match self.dtype {
            Dtype::F32 => bytes
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect(),
            Dtype::F16 => bytes
                .chunks_exact(2)
                .map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32())
                .collect(),
            Dtype::BF16 => bytes
                .chunks_exact(2)
                .map(|b| half::bf16::from_le_bytes([b[0], b[1]]).to_f32())
                .collect(),
            Dtype::U32 => Vec::new(),
        }
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// A set of named tensors that was validated against its configuration when it was opened.
///
/// A linear layer `prefix` is stored either dense, as `{prefix}.weight` `[out, in]`, or packed, as
/// `{prefix}.codes` and `{prefix}.scales` (see [`super::Packed`]).
pub trait Weights {
    /// The tensor `name`, or `None` if there is none.
    fn tensor(&self, name: &str) -> Result<Option<Tensor<'_>>>;

    /// How linear layers are stored: [`super::Method::Full`] for a full-precision checkpoint, otherwise
    /// the method (and granularity) a packed folder was quantized with.
    fn recipe(&self) -> super::Recipe;

    /// Whether weights that are NaN or infinite are accepted.
    fn allow_nonfinite(&self) -> bool {
        false
    }
}
