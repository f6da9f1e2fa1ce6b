//! Sums of the magnitudes of a row.

use super::baseline_cases;
use super::baseline_shard::{BaselineShard, BaselineShardParams};
use super::phase_host::power_of_two;
use crate::fixed;
use crate::ops::cpu::each_chunk;
use crate::ops::*;

/// Exact sums of the magnitudes of a row's positive and of its negative weights.
///
/// Bindings: `r` the shard, f32; `sums` [total rows, 2] of [`fixed::magnitude`] sums as (low, high), of
/// which the shard's rows are written.
#[derive(Debug, Clone)]
pub struct BaselineSum(pub BaselineShard);

impl Op for BaselineSum {
    const NAME: &'static str = "baseline_sum";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        quantize / "baseline_sum",
        "wide",
        "fixed"
    )];
    const BINDINGS: &'static [Binding] = &[read("r", Elem::F32), write("sums", Elem::U32)];
    const AGREE: Agree = Agree::Bits;
    type Params = BaselineShardParams;

    fn shape(&self) -> String {
        self.0.shape()
    }

    fn params(&self) -> BaselineShardParams {
        self.0.params()
    }

    fn grid(&self) -> Grid {
        self.0.grid()
    }

    fn lengths(&self) -> Vec<usize> {
        vec![self.0.reals(), 4 * self.0.total_rows]
    }

    fn cost(&self) -> Cost {
        Cost {
            bytes: 4.0 * self.0.reals() as f64,
            ops: 6.0 * self.0.reals() as f64,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (r, sums): (&[f32], &mut [u32]) = (b.read(0), b.write(1));
        let p = &self.0;
        for row in 0..p.rows {
            let (mut positive, mut negative) = (0u64, 0u64);
            for &x in &r[row * p.columns..][..p.columns] {
                if x.is_sign_positive() {
                    positive += fixed::magnitude(x, p.exponent);
                } else {
                    negative += fixed::magnitude(x, p.exponent);
                }
            }
            let words = [positive, negative].map(|s| [s as u32, (s >> 32) as u32]);
            sums[4 * (p.first_row + row)..][..4].copy_from_slice(words.as_flattened());
        }
    }

    fn host(&self, b: &mut Bindings<'_>) {
        let (r, sums): (&[f32], &mut [u32]) = (b.read(0), b.write(1));
        let p = &self.0;
        let unit = power_of_two(fixed::MAGNITUDE_BITS - p.exponent);
        let sums = &mut sums[4 * p.first_row..][..4 * p.rows];
        each_chunk(sums, 4, |row, out| {
            let (mut all, mut signed) = (0i64, 0i64);
            for &x in &r[row * p.columns..][..p.columns] {
                let value = (f64::from(x) * unit) as i64; // truncated, below 2^36
                all += value.abs();
                signed += value;
            }
            let words = [all + signed, all - signed]
                .map(|twice| twice / 2)
                .map(|s| [s as u32, (s >> 32) as u32]);
            out.copy_from_slice(words.as_flattened());
        });
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        baseline_cases::bench_baseline(&[Made::Floats, Made::Zeros], Self)
    }

    fn cases() -> Vec<Case<Self>> {
        baseline_cases::baseline_sum(Self)
    }
}
