//! Codes from weights.

use super::baseline_shard::{BaselineShard, BaselineShardParams};
use super::phase_host::{power_of_two, square};
use super::{baseline_cases, flush};
use crate::fixed;
use crate::ops::cpu::each_pair;
use crate::ops::*;

/// Codes, and how far the quantized weights are from R.
///
/// Binary: bit 1 (+scale) where R > threshold. Ternary: round(R / (scale + 1e-5)) to nearest even, clamped
/// to +-1, is +-1 exactly where |R| > threshold: at a quotient of one half the even neighbour is 0, and the
/// next larger f32 gives a quotient that rounds above one half, so the division decides nothing.
///
/// Bindings: `r` the shard, f32; `stats` `[2]` f32; `codes` [rows, words]; `errors` [rows, 2] 64-bit integers
/// as (low, high): sums of |R - Rq|^2 and |R|^2, each term [`fixed::square`] with the exponent one higher.
#[derive(Debug, Clone)]
pub struct BaselinePack(pub BaselineShard);

impl Op for BaselinePack {
    const NAME: &'static str = "baseline_pack";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        quantize / "baseline_pack",
        "wide",
        "fixed"
    )];
    const BINDINGS: &'static [Binding] = &[
        read("r", Elem::F32),
        read("stats", Elem::F32),
        write("codes", Elem::U32),
        write("errors", Elem::U32),
    ];
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
        let p = &self.0;
        vec![p.reals(), 2, p.rows * p.words(), 4 * p.rows]
    }

    fn cost(&self) -> Cost {
        Cost {
            bytes: 4.0 * (self.0.reals() + self.0.rows * self.0.words()) as f64,
            ops: 40.0 * self.0.reals() as f64,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (r, stats): (&[f32], &[f32]) = (b.read(0), b.read(1));
        let (codes, errors): (&mut [u32], &mut [u32]) = (b.write(2), b.write(3));
        let p = &self.0;
        for row in 0..p.rows {
            let codes = &mut codes[row * p.words()..][..p.words()];
            codes.fill(0);
            let (mut error, mut power) = (0u64, 0u64);
            for (c, &x) in r[row * p.columns..][..p.columns].iter().enumerate() {
                let x = flush(x);
                let (code, value) = p.code(x, [stats[0], stats[1]]);
                let (word, j) = (c / p.per_word(), c % p.per_word());
                codes[word] |= code << (j * 32 / p.per_word());
                error += fixed::square(x - value, p.exponent + 1);
                power += fixed::square(x, p.exponent + 1);
            }
            let words = [error, power].map(|s| [s as u32, (s >> 32) as u32]);
            errors[4 * row..][..4].copy_from_slice(words.as_flattened());
        }
    }

    fn host(&self, b: &mut Bindings<'_>) {
        let (r, stats): (&[f32], &[f32]) = (b.read(0), b.read(1));
        let (codes, errors): (&mut [u32], &mut [u32]) = (b.write(2), b.write(3));
        let p = &self.0;
        let (width, words) = (p.per_word(), p.words());
        let unit = power_of_two(32 - (p.exponent + 1));
        let codes = (&mut codes[..p.rows * words], words);
        each_pair(codes, (&mut errors[..4 * p.rows], 4), |row, codes, out| {
            let (mut error, mut power) = (0, 0);
            let r = &r[row * p.columns..][..p.columns];
            for (word, r) in codes.iter_mut().zip(r.chunks(width)) {
                *word = 0;
                for (j, &x) in r.iter().enumerate() {
                    let x = flush(x);
                    let (code, value) = p.code(x, [stats[0], stats[1]]);
                    *word |= code << (j * (32 / width));
                    error += square(x - value, unit);
                    power += square(x, unit);
                }
            }
            let words = [error, power].map(|s| [s as u32, (s >> 32) as u32]);
            out.copy_from_slice(words.as_flattened());
        });
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        baseline_cases::bench_baseline(
            &[Made::Floats, Made::Floats, Made::Zeros, Made::Zeros],
            Self,
        )
    }

    fn cases() -> Vec<Case<Self>> {
        baseline_cases::baseline_pack(Self)
    }
}
