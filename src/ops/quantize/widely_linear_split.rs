//! A real matrix to its widely-linear form.

use super::cases;
use super::widely_linear::{complex, indices, shared, split};
use crate::ops::*;

/// R to its complex planes U and W; odd dimensions are padded with zeros.
///
/// Bindings: `r` [out, in] f32; `planes` [n, 2 (U, W), m, 2 (re, im)] f32.
#[derive(Debug, Clone)]
pub struct WidelyLinearSplit {
    /// Rows of R.
    pub out_features: usize,
    /// Columns of R.
    pub in_features: usize,
}

impl WidelyLinearSplit {
    fn new(out_features: usize, in_features: usize) -> Self {
        Self {
            out_features,
            in_features,
        }
    }
}

impl Op for WidelyLinearSplit {
    const NAME: &'static str = "widely_linear_split";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        quantize / "widely_linear_split",
        "widely_linear"
    )];
    const BINDINGS: &'static [Binding] = &[read("r", Elem::F32), write("planes", Elem::F32)];
    shared!();

    fn lengths(&self) -> Vec<usize> {
        vec![
            self.out_features * self.in_features,
            4 * complex(self.out_features, self.in_features),
        ]
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (r, planes): (&[f32], &mut [f32]) = (b.read(0), b.write(1));
        let (n, m) = (self.out_features.div_ceil(2), self.in_features.div_ceil(2));
        for row in 0..n {
            for c in 0..m {
                let blocks = indices(self.out_features, self.in_features, row, c);
                let z = split(blocks.map(|index| index.map_or(0.0, |i| r[i])));
                let u = (row * 2 * m + c) * 2;
                planes[u..u + 2].copy_from_slice(&z[..2]);
                planes[u + 2 * m..u + 2 * m + 2].copy_from_slice(&z[2..]);
            }
        }
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        cases::bench_widely_linear(Self::new)
    }

    fn cases() -> Vec<Case<Self>> {
        cases::widely_linear(0.1, Self::new)
    }
}
