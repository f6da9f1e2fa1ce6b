//! Gradient of the norms of queries and keys in their weights.

use crate::ops::norm::RmsNormHeads;
use crate::ops::*;

mod cases;

/// Gradient of [`RmsNormHeads`] in its weights, added up over tokens and the vectors that share a weight.
///
/// Bindings: `x` as [`RmsNormHeadsBackward`](super::RmsNormHeadsBackward) left it; `d_q_weight` and `d_k_weight`, which are
/// added to.
#[derive(Debug, Clone)]
pub struct RmsNormHeadsWeightBackward(pub RmsNormHeads);

params! {
    /// Uniform block of [`RmsNormHeadsWeightBackward`].
    pub struct RmsNormHeadsWeightBackwardParams {
        tokens: u32,
        offset: u32,
        row: u32,
        q_groups: u32,
        k_groups: u32,
        q_width: u32,
        k_width: u32,
    }
}

impl Op for RmsNormHeadsWeightBackward {
    const NAME: &'static str = "rms_norm_heads_weight_backward";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        train / "rms_norm_heads_weight_backward"
    )];
    const BINDINGS: &'static [Binding] = &[
        read("x", Elem::F32),
        write("d_q_weight", Elem::F32),
        write("d_k_weight", Elem::F32),
    ];
    // chains of vectors / 64 roundings
    const AGREE: Agree = Agree::Nmse(1e-12);
    type Params = RmsNormHeadsWeightBackwardParams;

    fn shape(&self) -> String {
        self.0.shape()
    }

    fn params(&self) -> RmsNormHeadsWeightBackwardParams {
        let [q_groups, k_groups] = self.0.groups.map(|groups| groups as u32);
        let [q_width, k_width] = self.0.widths.map(|width| width as u32);
        RmsNormHeadsWeightBackwardParams {
            tokens: self.0.tokens as u32,
            offset: self.0.offset as u32,
            row: self.0.row as u32,
            q_groups,
            k_groups,
            q_width,
            k_width,
        }
    }

    fn grid(&self) -> Grid {
        let [q, k] = self.0.widths.map(|width| width.div_ceil(16));
        Grid {
            groups: (q + k) as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        vec![self.0.words(), self.0.widths[0], self.0.widths[1]]
    }

    fn cost(&self) -> Cost {
        let n = self.0.values() as f64;
        Cost {
            bytes: 4.0 * n,
            ops: n,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let x: &[f32] = b.read(0);
        let norm = &self.0;
        let mut first = 0;
        for (kind, (&groups, &width)) in norm.groups.iter().zip(&norm.widths).enumerate() {
            let weights: &mut [f32] = b.write(1 + kind);
            for (j, d) in weights[..width].iter_mut().enumerate() {
                let rows = x.chunks_exact(norm.row).skip(norm.offset);
                let shares = rows.take(norm.tokens).flat_map(|row| {
                    let vectors = row[first..].chunks_exact(width).take(groups);
                    vectors.map(|vector| f64::from(vector[j]))
                });
                *d = (f64::from(*d) + shares.sum::<f64>()) as f32;
            }
            first += groups * width;
        }
    }

    fn cases() -> Vec<Case<Self>> {
        cases::cases()
    }
}
