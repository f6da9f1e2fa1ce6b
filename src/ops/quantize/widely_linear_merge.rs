//! The widely-linear form to its real matrix.

use super::cases;
use super::widely_linear::{complex, indices, merge, shared};
use crate::ops::*;

/// Complex planes U and W to R; the padding of odd dimensions is dropped.
///
/// Bindings: `planes` [n, 2 (U, W), m, 2 (re, im)] f32; `r` [out, in] f32.
#[derive(Debug, Clone)]
pub struct WidelyLinearMerge {
    /// Rows of R.
    pub out_features: usize,
    /// Columns of R.
    pub in_features: usize,
}

impl WidelyLinearMerge {
    fn new(out_features: usize, in_features: usize) -> Self {
        Self {
            out_features,
            in_features,
        }
    }
}

impl Op for WidelyLinearMerge {
    const NAME: &'static str = "widely_linear_merge";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        quantize / "widely_linear_merge",
        "widely_linear"
    )];
    const BINDINGS: &'static [Binding] = &[read("planes", Elem::F32), write("r", Elem::F32)];
    shared!();

    fn lengths(&self) -> Vec<usize> {
        vec![
            4 * complex(self.out_features, self.in_features),
            self.out_features * self.in_features,
        ]
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (planes, r): (&[f32], &mut [f32]) = (b.read(0), b.write(1));
        let (n, m) = (self.out_features.div_ceil(2), self.in_features.div_ceil(2));
        for row in 0..n {
            for c in 0..m {
                let u = (row * 2 * m + c) * 2;
                let w = u + 2 * m;
                let blocks = merge([planes[u], planes[u + 1], planes[w], planes[w + 1]]);
                let indices = indices(self.out_features, self.in_features, row, c);
                for (index, value) in indices.into_iter().zip(blocks) {
                    if let Some(i) = index {
                        r[i] = value;
                    }
                }
            }
        }
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        cases::bench_widely_linear(Self::new)
    }

    fn cases() -> Vec<Case<Self>> {
        cases::widely_linear(2.0, Self::new)
    }
}
