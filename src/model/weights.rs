//! Where weights come from, as the model sees it: named tensors of bytes. `files` implements it.

use super::config::LinearShape;
use super::quantize::{Method, Packed, PackedView, Recipe, of_rows};
use crate::error::{Error, Result};
use crate::ops::MatrixDtype;
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

    /// How elements of this type lie in buffers.
    pub(crate) const fn in_buffers(self) -> MatrixDtype {
        match self {
            Self::F32 | Self::U32 => MatrixDtype::F32,
            Self::F16 => MatrixDtype::F16,
            Self::BF16 => MatrixDtype::Bf16,
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

    /// The element type of the tensor `name`, for those who need nothing else of it.
    fn dtype(&self, name: &str) -> Result<Option<Dtype>> {
        Ok(self.tensor(name)?.map(|tensor| tensor.dtype))
    }

    /// Gives back the memory that holds what was read of mapped files; it is read again where it is asked for again. Whoever
    /// copies tensors to somewhere else calls it between them, so that a model does not lie in memory twice.
    fn release(&self) {}

    /// How linear layers are stored: [`super::Method::Full`] for a full-precision checkpoint, otherwise
    /// the method (and granularity) a packed folder was quantized with.
    fn recipe(&self) -> super::Recipe;

    /// Whether weights that are NaN or infinite are accepted; they count as 0.
    fn allow_nonfinite(&self) -> bool {
        false
    }
}

/// The packed linear layer `shape.prefix` as `recipe` stores it, read from `{prefix}.codes` and `{prefix}.scales`.
///
/// # Errors
/// [`Error::Tensors`] when they are missing, of another shape or type, or hold what no quantizer writes.
pub fn packed(weights: &dyn Weights, recipe: Recipe, shape: &LinearShape) -> Result<Packed> {
    packed_view(weights, recipe, shape).map(PackedView::into_packed)
}

/// [`packed`] without a copy of the codes where `weights` can lend them.
///
/// # Errors
/// As [`packed`].
pub fn packed_view<'w>(
    weights: &'w dyn Weights,
    recipe: Recipe,
    shape: &LinearShape,
) -> Result<PackedView<'w>> {
    let (rows, columns) = (shape.out_features, shape.in_features);
    let prefix = &shape.prefix;
    let method = recipe.method.of(prefix);
    let (codes, scales) = Packed::shapes(method, shape.form, recipe.granularity, rows, columns);
    let codes = words(weights, &format!("{prefix}.codes"), Dtype::U32, &codes)?;
    let scales = words(weights, &format!("{prefix}.scales"), Dtype::F32, &scales)?;
    let scales: Vec<f32> = scales.iter().map(|s| f32::from_bits(*s)).collect();
    if let Some((index, value)) = bad_scale(scales.iter().copied()) {
        let problem = format!("`{prefix}.scales` element {index} is {value}, not a scale");
        return Err(unfit(problem));
    }
    if let Some(word) = bad_ternary(method, &codes) {
        let problem = format!("`{prefix}.codes` word {word} holds a code that is not 0, 1 or 3");
        return Err(unfit(problem));
    }
    Ok(PackedView {
        method,
        form: shape.form,
        granularity: recipe.granularity.of_rows(),
        out_features: rows,
        in_features: columns,
        codes,
        scales: of_rows(scales, recipe.granularity, rows),
    })
}

/// The first scale that is not finite, or negative. Our phase quantizer has a positive least scale, but other programs
/// write 0 where no weight of a scale block has such a code, and products take it as it is.
pub fn bad_scale(scales: impl IntoIterator<Item = f32>) -> Option<(usize, f32)> {
    let good = |s: f32| s.is_finite() && s.is_sign_positive();
    scales.into_iter().enumerate().find(|&(_, s)| !good(s))
}

/// The first word with a ternary code 2, which means nothing.
fn bad_ternary(method: Method, codes: &[u32]) -> Option<usize> {
    if method != Method::Ternary {
        return None; // codes of the other methods may be large and are all valid: they stay unread
    }
    let bad = |w: &u32| w & !(w << 1) & 0xAAAA_AAAA != 0;
    codes.iter().position(bad)
}

/// The 32-bit little-endian words of a tensor that must have this type and shape; borrowed where its bytes lie as
/// the host's words do.
fn words<'w>(
    weights: &'w dyn Weights,
    name: &str,
    dtype: Dtype,
    shape: &[usize],
) -> Result<Cow<'w, [u32]>> {
    let tensor = weights.tensor(name)?;
    let tensor = tensor.ok_or_else(|| unfit(format!("`{name}` {shape:?} is missing")))?;
    if tensor.dtype != dtype || tensor.shape != shape {
        return Err(unfit(format!(
            "`{name}` is {:?} {:?}, expected {dtype:?} {shape:?}",
            tensor.dtype, tensor.shape
        )));
    }
    if let Cow::Borrowed(bytes) = tensor.bytes
        && cfg!(target_endian = "little")
        && let Ok(words) = bytemuck::try_cast_slice(bytes)
    {
        return Ok(Cow::Borrowed(words));
    }
    let words = tensor.bytes.chunks_exact(4);
    Ok(words
        .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect())
}

fn unfit(problem: String) -> Error {
    Error::Tensors {
        file: "packed weights".to_owned(),
        problems: vec![problem],
    }
}

/// Weights whose NaN and infinity are accepted where the second field says so.
pub struct Allowing<W>(pub W, pub bool);

impl<W: std::ops::Deref<Target: Weights>> Weights for Allowing<W> {
    fn tensor(&self, name: &str) -> Result<Option<Tensor<'_>>> {
        self.0.tensor(name)
    }

    fn dtype(&self, name: &str) -> Result<Option<Dtype>> {
        self.0.dtype(name)
    }

    fn recipe(&self) -> Recipe {
        self.0.recipe()
    }

    fn release(&self) {
        self.0.release();
    }

    fn allow_nonfinite(&self) -> bool {
        self.1 || self.0.allow_nonfinite()
    }
}

/// The tensor `name`, which must be there.
///
/// # Errors
/// [`Error::Tensors`] when there is none.
pub fn required<'a>(weights: &'a dyn Weights, name: &str) -> Result<Tensor<'a>> {
    weights.tensor(name)?.ok_or_else(|| Error::Tensors {
        file: "model".to_owned(),
        problems: vec![format!("`{name}` is missing")],
    })
}

/// The dense tensor `name` as f32.
///
/// # Errors
/// As [`required`].
pub fn values(weights: &dyn Weights, name: &str) -> Result<Vec<f32>> {
    let tensor = required(weights, name)?;
    Ok(tensor.to_f32(0..tensor.elements()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ternary_code_two_is_found() {
        assert_eq!(
            bad_ternary(Method::Ternary, &[0, 0b1101_0000, 0b10]),
            Some(2)
        );
        assert_eq!(
            bad_ternary(Method::Ternary, &[0xFFFF_FFFF, 0x5555_5555]),
            None
        );
        assert_eq!(bad_ternary(Method::Binary, &[0b10]), None);
    }

    #[test]
    fn scales_are_finite_and_not_negative() {
        assert_eq!(bad_scale([1.0, 0.0, f32::from_bits(1)]), None);
        assert_eq!(bad_scale([1.0, -1.0]), Some((1, -1.0)));
        assert_eq!(bad_scale([-0.0]), Some((0, -0.0)));
        assert!(bad_scale([f32::NAN]).is_some());
        assert!(bad_scale([1e-6, f32::INFINITY]).is_some());
    }
}
