//! Turning one dense linear layer into codes and scales, on any backend.

use crate::backend::Backend;
use crate::error::Result;
use crate::quarter::words_for;

/// How linear layers are represented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// Dense, as stored.
    Full,
    /// Fairy2i: widely-linear, codebook {1, i, -1, -i}, so many residual stages (1 to 4).
    Phase { stages: usize },
    /// Real binary baseline (`bitnet`).
    Binary,
    /// Real ternary baseline (`bitnet_1_58`).
    Ternary,
}

/// Which weights share a pair of scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Granularity {
    /// The whole tensor (the papers').
    Tensor,
    /// One complex output row.
    Row,
    /// So many neighbouring complex columns of a row: a positive multiple of 16.
    Group(usize),
}

/// What to do with the linear layers of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipe {
    /// Representation.
    pub method: Method,
    /// Scales; binary and ternary have one per tensor.
    pub granularity: Granularity,
    /// Leave the output head dense.
    pub skip_head: bool,
}

/// A quantized linear layer in host memory: the content of `{prefix}.codes` and `{prefix}.scales`.
///
/// With n = ceil(out / 2), m = ceil(in / 2), T stages:
/// - phase `codes` `[n, 2, T, words_for(m)]`: row, U or W, stage, packed symbols ([`crate::quarter`]);
///   `scales` `[cells, groups, 2, T, 2]` f32: cell (1 per tensor, or the row), group of columns,
///   U or W, stage, (s_re, s_im). `groups` is 1 except for [`Granularity::Group`]: ceil(m / g).
/// - binary `codes` `[out, ceil(in / 32)]`: bit `j % 32` of word `j / 32` is set where the weight is +s;
///   `scales` `[1]` = s.
/// - ternary `codes` `[out, ceil(in / 16)]`: two bits at `2 (j % 16)`: 0, 1 (+g) or 3 (-g); `scales` `[1]` = g.
#[derive(Debug, Clone, PartialEq)]
pub struct Packed {
    /// How it was quantized; `skip_head` is irrelevant here.
    pub method: Method,
    /// Which weights share scales.
    pub granularity: Granularity,
    /// Rows of the dense weight.
    pub out_features: usize,
    /// Columns of the dense weight.
    pub in_features: usize,
    /// Packed codes.
    pub codes: Vec<u32>,
    /// Scales.
    pub scales: Vec<f32>,
    /// `|Rq - R| / |R|` when it was just quantized.
    pub relative_error: Option<f64>,
}

impl Packed {
    /// Shapes of `codes` and `scales`.
    pub fn shapes(
        method: Method,
        granularity: Granularity,
        out_features: usize,
        in_features: usize,
    ) -> (Vec<usize>, Vec<usize>) {
        let (n, m) = (out_features.div_ceil(2), in_features.div_ceil(2));
        match method {
            Method::Phase { stages } => {
                let (cells, groups) = match granularity {
                    Granularity::Tensor => (1, 1),
                    Granularity::Row => (n, 1),
                    Granularity::Group(g) => (n, m.div_ceil(g)),
                };
                (
                    vec![n, 2, stages, words_for(m)],
                    vec![cells, groups, 2, stages, 2],
                )
            }
            Method::Binary => (vec![out_features, in_features.div_ceil(32)], vec![1]),
            Method::Ternary => (vec![out_features, in_features.div_ceil(16)], vec![1]),
            Method::Full => (vec![0], vec![0]),
        }
    }

    /// Stored bits per real weight, scales and padding included.
    pub fn bits_per_weight(&self) -> f64 {
        let bits = 32 * (self.codes.len() + self.scales.len());
        bits as f64 / (self.out_features * self.in_features) as f64
    }
}

/// Quantizes the `[out_features, in_features]` weight `r` (row-major f32, finite) on `backend`.
/// Large weights are processed in pieces that fit its bindings. GPU and CPU give the same bits.
pub async fn quantize<B: Backend>(
    _backend: &B,
    _name: &str,
    _r: &[f32],
    _out_features: usize,
    _in_features: usize,
    _method: Method,
    _granularity: Granularity,
) -> Result<Packed> {
    todo!()
}
