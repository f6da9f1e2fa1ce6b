//! Scales from sums.

use super::{WeightShard, cases};
use crate::fixed;
use crate::ops::*;

/// `scale = max(sum / count, least)`, one division of exact sums, rounded once ([`fixed::mean`]).
///
/// Bindings: `sums` [total rows, groups, matrices, 2] of (low, high, count); `scales` [scale blocks, groups, matrices, stages, 2]
/// f32, of which those of `stage` are written.
#[derive(Debug, Clone)]
pub struct PhaseMean {
    /// The shapes: of all rows, whichever of them the shard has.
    pub shard: WeightShard,
    /// The stage whose scales these are.
    pub stage: usize,
    /// The least scale; positive.
    pub least: f32,
}

params! {
    /// Uniform block of [`PhaseMean`].
    pub struct PhaseMeanParams {
        rows: u32,
        scales: u32,
        stages: u32,
        stage: u32,
        exponent: i32,
        least: u32,
    }
}

impl PhaseMean {
    fn new(shard: WeightShard, stage: usize, least: f32) -> Self {
        Self {
            shard,
            stage,
            least,
        }
    }

    /// Rows that share one scale, and scales of this stage.
    fn shares(&self) -> (usize, usize) {
        let rows = self.shard.total_rows;
        let per_row = 2 * self.shard.form.matrices() * self.shard.groups();
        if self.shard.by_row() {
            (1, rows * per_row)
        } else {
            (rows, per_row)
        }
    }
}

impl Op for PhaseMean {
    const NAME: &'static str = "phase_mean";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        quantize / "phase_mean",
        "wide",
        "fixed"
    )];
    const BINDINGS: &'static [Binding] = &[read("sums", Elem::U32), write("scales", Elem::F32)];
    const AGREE: Agree = Agree::Bits;
    type Params = PhaseMeanParams;

    fn shape(&self) -> String {
        let (exponent, stage, least) = (self.shard.exponent, self.stage, self.least);
        self.shard.shape() + &format!(",exponent={exponent},stage={stage},least={least:e}")
    }

    fn params(&self) -> PhaseMeanParams {
        let (rows, scales) = self.shares();
        PhaseMeanParams {
            rows: rows as u32,
            scales: scales as u32,
            stages: self.shard.stages as u32,
            stage: self.stage as u32,
            exponent: self.shard.exponent,
            least: self.least.to_bits(),
        }
    }

    fn grid(&self) -> Grid {
        let (rows, scales) = self.shares();
        let groups = if rows > 1 {
            scales
        } else {
            scales.div_ceil(256)
        };
        Grid {
            groups: groups as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        vec![self.shard.sums(), self.shard.scales()]
    }

    fn cost(&self) -> Cost {
        let (rows, scales) = self.shares();
        Cost {
            bytes: (scales * (12 * rows + 4)) as f64,
            ops: (scales * (3 * rows + 400)) as f64,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (sums, scales): (&[u32], &mut [f32]) = (b.read(0), b.write(1));
        let (rows, count) = self.shares();
        for scale in 0..count {
            let (mut sum, mut number) = (0u64, 0u32);
            for row in 0..rows {
                let entry = &sums[(row * count + scale) * 3..][..3];
                sum += u64::from(entry[0]) | u64::from(entry[1]) << 32;
                number += entry[2];
            }
            let (owner, axis) = (scale / 2, scale % 2);
            scales[(owner * self.shard.stages + self.stage) * 2 + axis] =
                fixed::mean(sum, number, self.shard.exponent, self.least);
        }
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        cases::bench_phase_mean(Self::new)
    }

    fn cases() -> Vec<Case<Self>> {
        cases::phase_mean(Self::new)
    }
}
