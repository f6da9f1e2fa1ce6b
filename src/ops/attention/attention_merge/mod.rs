//! The second half of split attention: ranges of positions put together.

use super::{AttentionSplit, Heads};
use crate::ops::*;

mod cases;

/// Combines the ranges of [`AttentionSplit`] or [`super::AttentionStep`].
///
/// Bindings: `partials` [tokens, heads, splits, 2 + head_dim] f32; `out` [tokens, heads head_dim] f32, behind `heads.offset`
/// tokens of other dispatches. The first range of every token and head must not be empty. A token whose other ranges are all
/// empty gets the bits that it gets where nothing is split.
#[derive(Debug, Clone)]
pub struct AttentionMerge {
    /// Shape of the dispatch.
    pub heads: Heads,
    /// Ranges of each token and head.
    pub splits: usize,
}

params! {
    /// Uniform block of [`AttentionMerge`].
    pub struct AttentionMergeParams {
        groups: u32,
        pairs: u32,
        splits: u32,
        heads: u32,
        out_pitch: u32,
        out_gap: u32,
        offset: u32,
    }
}

impl AttentionMerge {
    /// Values of `out` that belong to other dispatches.
    fn offset(&self) -> usize {
        self.heads.offset * self.heads.q_row()
    }
}

impl Op for AttentionMerge {
    const NAME: &'static str = "attention_merge";
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, attention / "attention_merge")];
    const BINDINGS: &'static [Binding] = &[read("partials", Elem::F32), write("out", Elem::F32)];
    // Differences of scores are exact to half a ULP of the larger, 2e-6 at 64, which exp passes on; there are few sums.
    const AGREE: Agree = Agree::Nmse(1e-11);
    type Params = AttentionMergeParams;

    fn shape(&self) -> String {
        let Heads {
            tokens,
            heads,
            head_dim,
            offset,
            ..
        } = self.heads;
        let splits = self.splits;
        let complex = self.heads.complex_suffix();
        format!(
            "tokens={tokens},heads={heads},head_dim={head_dim},offset={offset},splits={splits}{complex}"
        )
    }

    fn params(&self) -> AttentionMergeParams {
        let [out_pitch, out_gap] = self.heads.out_params(2);
        AttentionMergeParams {
            groups: (self.heads.tokens * self.heads.heads) as u32,
            pairs: (self.heads.head_dim / 2) as u32,
            splits: self.splits as u32,
            heads: self.heads.heads as u32,
            out_pitch,
            out_gap,
            offset: (self.offset() / 2) as u32,
        }
    }

    fn grid(&self) -> Grid {
        let pairs = self.heads.tokens * self.heads.q_row() / 2;
        Grid {
            groups: pairs.div_ceil(64) as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        let h = &self.heads;
        let out = h.rows() * h.q_row();
        vec![AttentionSplit::partial_words(h, self.splits), out]
    }

    fn cost(&self) -> Cost {
        let partials = AttentionSplit::partial_words(&self.heads, self.splits);
        let out = self.heads.rows() * self.heads.q_row();
        Cost {
            bytes: 4.0 * (partials + out) as f64,
            ops: 2.0 * partials as f64,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (partials, out): (&[f32], &mut [f32]) = (b.read(0), b.write(1));
        let h = &self.heads;
        let d = h.head_dim;
        let groups = partials.chunks_exact(self.splits * (2 + d));
        for (i, partials) in groups.take(h.tokens * h.heads).enumerate() {
            let row = (h.offset + i / h.heads, i % h.heads);
            let known = || partials.chunks_exact(2 + d).filter(|part| part[1] > 0.0);
            let top = known().map(|part| part[0]);
            let top = top.fold(f32::NEG_INFINITY, f32::max);
            let weight = |part: &[f32]| (f64::from(part[0]) - f64::from(top)).exp();
            let total: f64 = known().map(|part| weight(part) * f64::from(part[1])).sum();
            for j in 0..d {
                let values = known().map(|part| weight(part) * f64::from(part[2 + j]));
                out[h.out_index(row, j)] = (values.sum::<f64>() / total) as f32;
            }
        }
    }

    fn host(&self, b: &mut Bindings<'_>) {
        let (partials, out): (&[f32], &mut [f32]) = (b.read(0), b.write(1));
        let d = self.heads.head_dim;
        let groups = partials.chunks_exact(self.splits * (2 + d));
        for (partials, halves) in groups.zip(self.heads.out_halves(out)) {
            let known = || partials.chunks_exact(2 + d).filter(|part| part[1] > 0.0);
            let top = known().fold(f32::NEG_INFINITY, |top, part| top.max(part[0]));
            let mut sums = vec![0.0; d];
            let mut total = 0.0;
            for part in known() {
                let weight = (part[0] - top).exp();
                total += weight * part[1];
                for (sum, value) in sums.iter_mut().zip(&part[2..]) {
                    *sum += weight * value;
                }
            }
            for (out, sum) in halves.into_iter().flatten().zip(sums) {
                *out = sum / total;
            }
        }
    }

    fn cases() -> Vec<Case<Self>> {
        cases::cases()
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        cases::bench_cases()
    }
}
