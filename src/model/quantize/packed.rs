//! Quantized layers in host memory.

use super::{Form, Granularity, Method};
use crate::codebook::words_for;
use std::borrow::Cow;

/// A quantized linear layer in host memory: the content of `{prefix}.codes` and `{prefix}.scales`.
///
/// With n = ceil(out / 2), m = ceil(in / 2), T stages:
/// - phase `codes` `[n, M, T, words_for(m)]`: row, matrix (U then W, or W alone: [`Form`]), stage, packed symbols
///   ([`crate::codebook`]); `scales` `[blocks, groups, M, T, 2]` f32: scale block (the tensor, or the row), group of columns,
///   matrix, stage, (s_re, s_im). `groups` is 1 except for [`Granularity::Group`]: ceil(m / g). With
///   [`Granularity::Tile`], a scale block is a row of tiles.
/// - binary `codes` `[out, ceil(in / 32)]`: bit `j % 32` of word `j / 32` is set where the weight is +s;
///   `scales` `[1]` = s.
/// - ternary `codes` `[out, ceil(in / 16)]`: two bits at `2 (j % 16)`: 0, 1 (+g) or 3 (-g); `scales` `[1]` = g.
#[derive(Debug, Clone, PartialEq)]
pub struct Packed {
    /// How it was quantized; `skip_head` is irrelevant here.
    pub method: Method,
    /// Which matrices it has.
    pub form: Form,
    /// Which weights share scales.
    pub granularity: Granularity,
    /// Real outputs.
    pub out_features: usize,
    /// Real inputs.
    pub in_features: usize,
    /// Packed codes.
    pub codes: Vec<u32>,
    /// Scales.
    pub scales: Vec<f32>,
    /// `|Rq - R| / |R|` when it was just quantized.
    pub relative_error: Option<f64>,
}

/// A [`Packed`] layer whose codes are borrowed where they lie: in a mapped file, if they are aligned there. Kernels know no
/// tiles, so that each row of a tile has a copy of its scales.
#[derive(Debug, Clone)]
pub struct PackedView<'a> {
    /// [`Packed::method`].
    pub method: Method,
    /// [`Packed::form`].
    pub form: Form,
    /// [`Packed::granularity`].
    pub granularity: Granularity,
    /// [`Packed::out_features`].
    pub out_features: usize,
    /// [`Packed::in_features`].
    pub in_features: usize,
    /// [`Packed::codes`].
    pub codes: Cow<'a, [u32]>,
    /// [`Packed::scales`].
    pub scales: Vec<f32>,
}

impl PackedView<'_> {
    /// With its own codes and scales.
    pub fn into_packed(self) -> Packed {
        Packed {
            method: self.method,
            form: self.form,
            granularity: self.granularity,
            out_features: self.out_features,
            in_features: self.in_features,
            codes: self.codes.into_owned(),
            scales: self.scales,
            relative_error: None,
        }
    }

    /// Residual stages (1 for the real baselines).
    pub fn stages(&self) -> usize {
        match self.method {
            Method::Phase { stages } => stages,
            _ => 1,
        }
    }

    /// Scale blocks: one per complex row, or one.
    pub fn scale_blocks(&self) -> usize {
        match self.granularity {
            Granularity::Tensor => 1,
            _ => self.out_features.div_ceil(2),
        }
    }
}

impl From<Packed> for PackedView<'static> {
    fn from(packed: Packed) -> Self {
        Self {
            method: packed.method,
            form: packed.form,
            granularity: packed.granularity.of_rows(),
            out_features: packed.out_features,
            in_features: packed.in_features,
            codes: packed.codes.into(),
            scales: of_rows(packed.scales, packed.granularity, packed.out_features),
        }
    }
}

/// The scales of a layer, with a copy of a tile's scales for each of its rows.
pub(crate) fn of_rows(scales: Vec<f32>, granularity: Granularity, out_features: usize) -> Vec<f32> {
    let (n, rows) = (out_features.div_ceil(2), granularity.block_rows());
    if rows == 1 {
        return scales;
    }
    let block = scales.len() / n.div_ceil(rows).max(1);
    let row = |i: usize| &scales[i / rows * block..][..block];
    (0..n).flat_map(row).copied().collect()
}

impl Packed {
    /// Residual stages (1 for the real baselines).
    pub fn stages(&self) -> usize {
        match self.method {
            Method::Phase { stages } => stages,
            _ => 1,
        }
    }

    /// Shapes of `codes` and `scales`.
    pub fn shapes(
        method: Method,
        form: Form,
        granularity: Granularity,
        out_features: usize,
        in_features: usize,
    ) -> (Vec<usize>, Vec<usize>) {
        let (n, m) = (out_features.div_ceil(2), in_features.div_ceil(2));
        match method {
            Method::Phase { stages } => {
                let (blocks, groups) = match granularity {
                    Granularity::Tensor => (1, 1),
                    Granularity::Row => (n, 1),
                    Granularity::Group(g) => (n, m.div_ceil(g)),
                    Granularity::Tile { rows, columns } => (n.div_ceil(rows), m.div_ceil(columns)),
                };
                (
                    vec![n, form.matrices(), stages, words_for(m)],
                    vec![blocks, groups, form.matrices(), stages, 2],
                )
            }
            Method::Binary => (vec![out_features, in_features.div_ceil(32)], vec![1]),
            Method::Ternary => (vec![out_features, in_features.div_ceil(16)], vec![1]),
            // These are methods of no single layer.
            Method::Full | Method::Mixed(_) => (vec![0], vec![0]),
        }
    }

    /// The weight whose first stages are those of `first` and whose others are these: rows of the same size with the same
    /// granularity.
    #[must_use]
    pub fn behind(self, first: &Self) -> Self {
        let (a, b) = (first.stages(), self.stages());
        let words = words_for(self.in_features.div_ceil(2));
        Self {
            method: Method::Phase { stages: a + b },
            codes: interleaved((&first.codes, a * words), (&self.codes, b * words)),
            scales: interleaved((&first.scales, 2 * a), (&self.scales, 2 * b)),
            ..self
        }
    }

    /// Stored bits per real number of the dense weight, scales and padding included.
    pub fn bits_per_weight(&self) -> f64 {
        let bits = 32 * (self.codes.len() + self.scales.len());
        bits as f64 / (self.out_features * self.form.columns(self.in_features)) as f64
    }
}

/// The runs of both lists alternately.
fn interleaved<T: Copy>((a, run): (&[T], usize), (b, other): (&[T], usize)) -> Vec<T> {
    let runs = a.chunks(run).zip(b.chunks(other));
    runs.flat_map(|(a, b)| a.iter().chain(b)).copied().collect()
}
