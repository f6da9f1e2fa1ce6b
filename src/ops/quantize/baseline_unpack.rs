//! Weights from codes.

use super::baseline_cases;
use super::baseline_shard::{BaselineShard, BaselineShardParams};
use crate::ops::*;

/// The dense weight of codes.
///
/// Bindings: `codes` [rows, words]; `scale` `[1]` f32; `r` the shard, f32.
#[derive(Debug, Clone)]
pub struct BaselineUnpack(pub BaselineShard);

impl Op for BaselineUnpack {
    const NAME: &'static str = "baseline_unpack";
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, quantize / "baseline_unpack")];
    const BINDINGS: &'static [Binding] = &[
        read("codes", Elem::U32),
        read("scale", Elem::F32),
        write("r", Elem::F32),
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
        vec![p.rows * p.words(), 1, p.reals()]
    }

    fn cost(&self) -> Cost {
        Cost {
            bytes: 4.0 * (self.0.reals() + self.0.rows * self.0.words()) as f64,
            ops: 3.0 * self.0.reals() as f64,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (codes, scale): (&[u32], &[f32]) = (b.read(0), b.read(1));
        let r: &mut [f32] = b.write(2);
        let p = &self.0;
        for (i, out) in r[..p.reals()].iter_mut().enumerate() {
            let (row, c) = (i / p.columns, i % p.columns);
            let word = codes[row * p.words() + c / p.per_word()];
            let code = word >> (c % p.per_word() * 32 / p.per_word());
            *out = match (p.ternary, code & if p.ternary { 3 } else { 1 }) {
                (_, 1) => scale[0],
                (false, _) | (true, 3) => -scale[0],
                _ => 0.0,
            };
        }
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        baseline_cases::bench_baseline(&[Made::Zeros, Made::Floats, Made::Zeros], Self)
    }

    fn cases() -> Vec<Case<Self>> {
        baseline_cases::baseline_unpack(Self)
    }
}
