//! The scale of a weight from the sums of its rows.

use super::baseline_cases;
use super::baseline_shard::{BaselineShard, TERNARY_EPSILON};
use crate::fixed;
use crate::ops::*;

params! {
    /// Uniform block of [`BaselineMean`].
    pub struct BaselineMeanParams {
        rows: u32,
        count: u32,
        exponent: i32,
        ternary: u32,
    }
}

/// The scale, mean |R|, and the threshold: mean R (binary) or half of scale + 1e-5 (ternary).
///
/// Bindings: `sums` [total rows, 2] of (low, high); `stats` `[2]` f32 = (scale, threshold).
#[derive(Debug, Clone)]
pub struct BaselineMean(pub BaselineShard);

impl Op for BaselineMean {
    const NAME: &'static str = "baseline_mean";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        quantize / "baseline_mean",
        "wide",
        "fixed"
    )];
    const BINDINGS: &'static [Binding] = &[read("sums", Elem::U32), write("stats", Elem::F32)];
    const AGREE: Agree = Agree::Bits;
    type Params = BaselineMeanParams;

    fn shape(&self) -> String {
        self.0.shape()
    }

    fn params(&self) -> BaselineMeanParams {
        BaselineMeanParams {
            rows: self.0.total_rows as u32,
            count: (self.0.total_rows * self.0.columns) as u32,
            exponent: self.0.exponent,
            ternary: u32::from(self.0.ternary),
        }
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: 1,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        vec![4 * self.0.total_rows, 2]
    }

    fn cost(&self) -> Cost {
        Cost {
            bytes: 16.0 * self.0.total_rows as f64,
            ops: 6.0 * self.0.total_rows as f64,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (sums, stats): (&[u32], &mut [f32]) = (b.read(0), b.write(1));
        let p = &self.0;
        let (mut positive, mut negative) = (0u64, 0u64);
        for words in sums[..4 * p.total_rows].chunks(4) {
            positive += u64::from(words[0]) | u64::from(words[1]) << 32;
            negative += u64::from(words[2]) | u64::from(words[3]) << 32;
        }
        let count = (p.total_rows * p.columns) as u32;
        let scale = fixed::mean(positive + negative, count, p.exponent, 0.0);
        let mean = fixed::mean(positive.abs_diff(negative), count, p.exponent, 0.0);
        let signed = if positive < negative { -mean } else { mean };
        stats[0] = scale;
        stats[1] = if p.ternary {
            0.5 * (scale + TERNARY_EPSILON)
        } else {
            signed
        };
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        baseline_cases::bench_baseline(&[Made::Zeros, Made::Zeros], Self)
    }

    fn cases() -> Vec<Case<Self>> {
        baseline_cases::baseline_mean(Self)
    }
}
