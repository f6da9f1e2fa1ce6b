//! Scales and codes that suit each other, for a weight by itself: no inputs are looked at.

use super::encode;
use crate::backend::{Backend, upload_new};
use crate::error::Result;
use crate::model::Granularity;
use crate::ops::calibrate::{PhaseNearest, PhaseProject};
use crate::ops::quantize::{PhaseUnpack, WeightShard};

/// Buffers of a weight whose scales are fitted; [`Fitting::words`] says how long `sums` and `unit` are.
pub(crate) struct Fitting<'a, B: Backend> {
    pub backend: &'a B,
    pub shard: WeightShard,
    /// What codes and scales shall stand for.
    pub target: &'a B::Buffer,
    pub codes: &'a B::Buffer,
    pub scales: &'a B::Buffer,
    /// Scratch: sums along the codes.
    pub sums: &'a B::Buffer,
    /// Scratch of the size of the weight.
    pub unit: &'a B::Buffer,
    /// Every stage is to be as good as it can be without those behind it: codes are chosen and scales fitted stage by
    /// stage.
    pub nested: bool,
}

impl<B: Backend> Fitting<'_, B> {
    /// Words of the scratch buffers `sums` and `unit`.
    pub(crate) fn words(shard: WeightShard) -> [usize; 2] {
        let sums = PhaseProject { shard }.sums();
        [sums.max(shard.sums()), shard.reals().max(4 * shard.rows)]
    }

    /// Codes and scales as the papers choose them, on the grid of the target's [`exponent`](super::exponent).
    pub(crate) async fn papers(&self, exponent: i32) -> Result<()> {
        let shard = WeightShard {
            exponent,
            ..self.shard
        };
        // Errors are not measured, and any buffer does for them.
        let buffers = [self.target, self.scales, self.sums, self.codes, self.unit];
        encode(self.backend, shard, buffers).await
    }

    /// Fits scales to codes and chooses the nearest codes, `rounds` times.
    pub(crate) async fn alternate(&self, rounds: usize) -> Result<()> {
        for _ in 0..rounds {
            self.fit().await?;
            self.nearest().await?;
        }
        Ok(())
    }

    /// Codes of the sums nearest to the target.
    pub(crate) async fn nearest(&self) -> Result<()> {
        let op = PhaseNearest {
            shard: self.shard,
            nested: self.nested,
        };
        let buffers = [self.target, self.scales, self.codes];
        self.backend.run(&op, &buffers).await
    }

    /// Sums of `g` along the codes: [n, groups, 2, stages, 2].
    pub(crate) async fn project(&self, g: &B::Buffer) -> Result<Vec<f64>> {
        let op = PhaseProject { shard: self.shard };
        self.backend.run(&op, &[g, self.codes, self.sums]).await?;
        let words = self.backend.download(self.sums, 0, op.sums()).await?;
        Ok(words
            .into_iter()
            .map(|w| f64::from(f32::from_bits(w)))
            .collect())
    }

    /// The weight of the present codes whose scales are 1 for the `planes` (in the order of scales) and 0 for all others.
    pub(crate) async fn unit(&self, planes: impl Fn(usize) -> bool, to: &B::Buffer) -> Result<()> {
        let shard = WeightShard {
            granularity: Granularity::Tensor,
            ..self.shard
        };
        let one = |plane| if planes(plane) { 1f32 } else { 0.0 };
        let units: Vec<f32> = (0..shard.scales()).map(one).collect();
        let units = upload_new(self.backend, "units", bytemuck::cast_slice(&units))?;
        let op = PhaseUnpack { shard };
        self.backend.run(&op, &[self.codes, &units, to]).await
    }

    /// Sums over the rows of each scale block: [blocks, values of a row].
    pub(crate) fn by_scale_block(&self, rows: Vec<f64>) -> Vec<f64> {
        let width = rows.len() / self.shard.rows;
        let together = self.shard.block_rows();
        if together == 1 {
            return rows;
        }
        let mut all = Vec::with_capacity(width * self.shard.scale_blocks());
        for block in rows.chunks(width * together) {
            let (first, others) = block.split_at(width);
            let mut sums = first.to_vec();
            for row in others.chunks_exact(width) {
                for (sum, v) in sums.iter_mut().zip(row) {
                    *sum += v;
                }
            }
            all.extend(sums);
        }
        all
    }

    /// Takes the scales of all scale blocks: [blocks, values of a row].
    pub(crate) fn upload_scales(&self, scales: &[f32]) -> Result<()> {
        let words = bytemuck::cast_slice(scales);
        self.backend.upload(self.scales, 0, words)
    }

    /// The scales of all scale blocks.
    pub(crate) async fn download_scales(&self) -> Result<Vec<f32>> {
        let len = self.shard.scales();
        let words = self.backend.download(self.scales, 0, len).await?;
        Ok(words.into_iter().map(f32::from_bits).collect())
    }

    /// Least-squares scales of the present codes, each axis of U and of W by itself.
    pub(crate) async fn fit(&self) -> Result<()> {
        let (stages, least) = (self.shard.stages, self.shard.form.least_scale());
        let b = self.by_scale_block(self.project(self.target).await?);
        let mut a = Vec::with_capacity(stages);
        for stage in 0..stages {
            self.unit(|plane| plane / 2 % stages == stage, self.unit)
                .await?;
            a.push(self.by_scale_block(self.project(self.unit).await?));
        }
        let mut fitted = vec![0.0; b.len()];
        // Each run is U or W of a group of a scale block: its stages, each with two axes.
        for first in (0..b.len()).step_by(2 * stages) {
            for axis in 0..2 {
                let index = |t: usize| first + 2 * t + axis;
                let sums = (0..stages).flat_map(|t| a.iter().map(move |a| (t, a)));
                let sums: Vec<f64> = sums.map(|(t, a)| a[index(t)] / 2.0).collect();
                let b: Vec<f64> = (0..stages).map(|t| b[index(t)] / 2.0).collect();
                for (t, s) in least_squares(&sums, &b, self.nested, least)
                    .into_iter()
                    .enumerate()
                {
                    fitted[index(t)] = s;
                }
            }
        }
        self.upload_scales(&fitted)
    }
}

/// Sweeps of Gauss and Seidel over the stages of one axis.
const SWEEPS: usize = 6;

/// Least sum of squares that is divided by.
const LEAST_SUM: f64 = 1e-12;

/// Least-squares scales of one axis: `a` [stages, stages] the sums `c_t c_u`, `b` [stages] the sums `c_t z`. Those of
/// `nested` stages are fitted to what the stages before them leave. No scale is below `least`.
fn least_squares(a: &[f64], b: &[f64], nested: bool, least: f32) -> Vec<f32> {
    let stages = b.len();
    let own = |t: usize| a[t * stages + t].max(LEAST_SUM);
    let mut s: Vec<f64> = (0..stages).map(|t| b[t] / own(t)).collect();
    let sweeps = match (stages, nested) {
        (1, _) => 0,
        (_, true) => 1,
        (_, false) => SWEEPS,
    };
    for _ in 0..sweeps {
        for t in 0..stages {
            let others = (0..stages).filter(|&u| u != t && (u < t || !nested));
            let known: f64 = others.map(|u| a[t * stages + u] * s[u]).sum();
            s[t] = (b[t] - known) / own(t);
        }
    }
    let scale = |s: f64| (s.abs() as f32).max(least);
    s.into_iter().map(scale).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_of_orthogonal_stages_are_means() {
        assert_eq!(
            least_squares(&[4.0, 0.0, 0.0, 2.0], &[2.0, -1.0], false, 1e-6),
            [0.5, 0.5]
        );
        assert_eq!(least_squares(&[0.0], &[0.0], false, 1e-6), [1e-6]);
    }

    #[test]
    fn nested_scales_do_not_know_later_stages() {
        let (a, b) = ([4.0, 1.0, 1.0, 2.0], [2.0, 1.5]);
        assert_eq!(least_squares(&a, &b, true, 1e-6), [0.5, 0.5]);
        let joint = least_squares(&a, &b, false, 1e-6);
        assert!(joint[0] < 0.4 && joint[1] > 0.5, "{joint:?}");
    }
}
