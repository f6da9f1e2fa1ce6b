//! Codes from weights, and weights from codes.

use super::*;
use crate::ops::cpu::each_pair;
use crate::ops::quantize::square;
use crate::ops::quantize::widely_linear;

/// Codes, and how far the quantized weights are from R.
///
/// Binary: bit 1 (+scale) where R > threshold. Ternary: round(R / (scale + 1e-5)) to nearest even, clamped
/// to +-1, is +-1 exactly where |R| > threshold: at a quotient of one half the even neighbour is 0, and the
/// next larger f32 gives a quotient that rounds above one half, so the division decides nothing.
///
/// Bindings: `r` the piece, f32; `stats` `[2]` f32; `codes` [rows, words]; `errors` [rows, 2] 64-bit integers
/// as (low, high): sums of |R - Rq|^2 and |R|^2, each term [`fixed::square`] with the exponent one higher.
#[derive(Debug, Clone)]
pub struct BaselinePack(pub Rows);

/// The dense weight of codes.
///
/// Bindings: `codes` [rows, words]; `scale` `[1]` f32; `r` the piece, f32.
#[derive(Debug, Clone)]
pub struct BaselineUnpack(pub Rows);

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
    type Params = RowsParams;

    fn params(&self) -> RowsParams {
        self.0.params()
    }

    fn grid(&self) -> Grid {
        one_group_per_row(&self.0)
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
                let x = widely_linear::flush(x);
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
                    let x = widely_linear::flush(x);
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
        bench::baseline_pack()
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |(i, (name, p)): (usize, (&str, Rows))| {
            let (p, r) = weights(p, i as u32);
            let top = 2f32.powi(p.exponent);
            // a threshold that some weights equal: ties
            let stats = [0.3 * top, if i % 2 == 0 { r[0].abs() } else { 0.0 }];
            let data = vec![
                Data::f32(&r),
                Data::f32(&stats),
                Data::Out(p.rows * p.words()),
                Data::Out(4 * p.rows),
            ];
            Case::new(name, Self(p), data)
        };
        shapes().into_iter().enumerate().map(case).collect()
    }
}

impl Op for BaselineUnpack {
    const NAME: &'static str = "baseline_unpack";
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, quantize / "baseline_unpack")];
    const BINDINGS: &'static [Binding] = &[
        read("codes", Elem::U32),
        read("scale", Elem::F32),
        write("r", Elem::F32),
    ];
    const AGREE: Agree = Agree::Bits;
    type Params = RowsParams;

    fn params(&self) -> RowsParams {
        self.0.params()
    }

    fn grid(&self) -> Grid {
        one_group_per_row(&self.0)
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
        bench::baseline_unpack()
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |(i, (name, p)): (usize, (&str, Rows))| {
            let data = vec![
                Data::u32(&noise_u32(i as u32, p.rows * p.words())),
                Data::f32(&[0.02 * i as f32]),
                Data::Out(p.reals()),
            ];
            Case::new(name, Self(p), data)
        };
        shapes().into_iter().enumerate().map(case).collect()
    }
}
