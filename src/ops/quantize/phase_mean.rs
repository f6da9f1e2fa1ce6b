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
        block_rows: u32,
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

    /// Scales of this stage in a block of rows.
    fn width(&self) -> usize {
        2 * self.shard.form.matrices() * self.shard.groups()
    }

    /// Scales of this stage.
    fn scales(&self) -> usize {
        self.shard.scale_blocks() * self.width()
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
        PhaseMeanParams {
            rows: self.shard.total_rows as u32,
            block_rows: self.shard.block_rows() as u32,
            scales: self.width() as u32,
            stages: self.shard.stages as u32,
            stage: self.stage as u32,
            exponent: self.shard.exponent,
            least: self.least.to_bits(),
        }
    }

    fn grid(&self) -> Grid {
        match self.shard.block_rows() {
            1 => Grid::element_wise(self.scales()),
            _ => Grid {
                groups: self.scales() as u32,
                batch: 1,
            },
        }
    }

    fn lengths(&self) -> Vec<usize> {
        vec![self.shard.sums(), self.shard.scales()]
    }

    fn cost(&self) -> Cost {
        let (sums, scales) = (self.shard.total_rows * self.width(), self.scales());
        Cost {
            bytes: (12 * sums + 4 * scales) as f64,
            ops: (3 * sums + 400 * scales) as f64,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (sums, scales): (&[u32], &mut [f32]) = (b.read(0), b.write(1));
        let (rows, width) = (self.shard.block_rows(), self.width());
        for scale in 0..self.scales() {
            let (block, column) = (scale / width, scale % width);
            let (mut sum, mut number) = (0u64, 0u32);
            for row in block * rows..self.shard.total_rows.min((block + 1) * rows) {
                let entry = &sums[(row * width + column) * 3..][..3];
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
