//! Binary and ternary baselines (the baselines of arXiv 2512.02901).
//!
//! The same exact sums as the phase quantizer, so scales and codes are bit-exact too. Subnormal weights
//! count as 0; R must be finite.

use super::power_of_two;
use crate::fixed;
use crate::ops::cpu::each_chunk;
use crate::ops::quantize::widely_linear;
use crate::ops::*;
use bytemuck::Zeroable;

mod pack;

pub use pack::{BaselinePack, BaselineUnpack};

/// Added to the ternary scale before weights are divided by it.
pub const TERNARY_EPSILON: f32 = 1e-5;

/// Rows of a real weight as one run sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rows {
    /// Ternary (else binary).
    pub ternary: bool,
    /// Rows of the tensor.
    pub total_rows: usize,
    /// First row of the piece.
    pub first_row: usize,
    /// Rows of the piece.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// All magnitudes are below 2^exponent ([`fixed::exponent_of`]).
    pub exponent: i32,
}

impl Rows {
    /// A whole `[rows, columns]` weight.
    pub fn whole(ternary: bool, rows: usize, columns: usize, exponent: i32) -> Self {
        Self {
            ternary,
            total_rows: rows,
            first_row: 0,
            rows,
            columns,
            exponent,
        }
    }

    /// Weights in one word of codes.
    pub fn per_word(&self) -> usize {
        if self.ternary { 16 } else { 32 }
    }

    /// Words of codes in one row.
    pub fn words(&self) -> usize {
        self.columns.div_ceil(self.per_word())
    }

    /// Weights of the piece.
    pub fn reals(&self) -> usize {
        self.rows * self.columns
    }

    fn params(&self) -> RowsParams {
        RowsParams {
            first_row: self.first_row as u32,
            rows: self.rows as u32,
            columns: self.columns as u32,
            exponent: self.exponent,
            ternary: u32::from(self.ternary),
        }
    }

    /// Code and value of a weight, given (scale, threshold).
    fn code(&self, x: f32, [scale, threshold]: [f32; 2]) -> (u32, f32) {
        match (self.ternary, x > threshold) {
            (false, true) => (1, scale),
            (false, false) => (0, -scale),
            (true, _) if x.abs() <= threshold => (0, 0.0),
            (true, _) if x > 0.0 => (1, scale),
            (true, _) => (3, -scale),
        }
    }
}

/// Uniform block of the ops on [`Rows`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct RowsParams {
    first_row: u32,
    rows: u32,
    columns: u32,
    exponent: i32,
    ternary: u32,
}

/// Uniform block of [`BaselineMean`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct BaselineMeanParams {
    rows: u32,
    count: u32,
    exponent: i32,
    ternary: u32,
}

/// Exact sums of the magnitudes of a row's positive and of its negative weights.
///
/// Bindings: `r` the piece, f32; `sums` [total rows, 2] of [`fixed::magnitude`] sums as (low, high), of
/// which the piece's rows are written.
#[derive(Debug, Clone)]
pub struct BaselineSum(pub Rows);

/// The scale, mean |R|, and the threshold: mean R (binary) or half of scale + 1e-5 (ternary).
///
/// Bindings: `sums` [total rows, 2] of (low, high); `stats` `[2]` f32 = (scale, threshold).
#[derive(Debug, Clone)]
pub struct BaselineMean(pub Rows);

fn one_group_per_row(rows: &Rows) -> Grid {
    Grid {
        groups: rows.rows as u32,
        batch: 1,
    }
}

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
    type Params = RowsParams;

    fn params(&self) -> RowsParams {
        self.0.params()
    }

    fn grid(&self) -> Grid {
        one_group_per_row(&self.0)
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
        bench::baseline_sum()
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |(i, (name, p)): (usize, (&str, Rows))| {
            let (p, r) = weights(p, i as u32);
            let out = Data::Out(4 * p.total_rows);
            Case::new(name, Self(p), vec![Data::f32(&r), out])
        };
        shapes().into_iter().enumerate().map(case).collect()
    }
}

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
        bench::baseline_mean()
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |(i, (name, p)): (usize, (&str, Rows))| {
            let p = Rows {
                exponent: i as i32 * 9 - 40,
                ..p
            };
            let mut sums = noise_u32(i as u32, 4 * p.total_rows);
            for high in sums.chunks_mut(2) {
                high[1] >>= 18;
            }
            if i == 0 {
                sums.fill(0);
            }
            Case::new(name, Self(p), vec![Data::u32(&sums), Data::Out(2)])
        };
        shapes().into_iter().enumerate().map(case).collect()
    }
}

fn shapes() -> Vec<(&'static str, Rows)> {
    let middle = Rows {
        total_rows: 20,
        first_row: 7,
        ..Rows::whole(true, 9, 50, 0)
    };
    vec![
        ("binary, one weight", Rows::whole(false, 1, 1, 0)),
        ("binary", Rows::whole(false, 24, 64, 0)),
        ("binary, odd", Rows::whole(false, 7, 2077, 0)),
        ("ternary, one weight", Rows::whole(true, 1, 1, 0)),
        ("ternary", Rows::whole(true, 300, 48, 0)),
        ("ternary, odd", Rows::whole(true, 5, 1999, 0)),
        ("ternary, a piece", middle),
    ]
}

/// Weights of a case's rows, and the rows with their exponent.
fn weights(rows: Rows, seed: u32) -> (Rows, Vec<f32>) {
    let amplitude = [0.05, 1.0, 2e-6, 3e20][seed as usize % 4];
    let r = widely_linear::spiced(seed, rows.reals(), amplitude);
    let exponent = fixed::exponent_of(r.iter().copied());
    (Rows { exponent, ..rows }, r)
}
