//! Rounding of activations to integers, per token, before a quantized linear (as in arXiv 2508.05571).

use crate::codebook::{COLUMNS_PER_WORD, words_for};
use crate::ops::*;
use bytemuck::Zeroable;

mod rows;

pub(crate) use rows::round_rows;

/// How activations enter a quantized linear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activations {
    /// Integers in [-32767, 32767], one scale per token.
    Int16,
    /// Integers in [-127, 127], one scale per token.
    Int8,
    /// f32 as they are (what the papers' code computes).
    Float,
}

impl Activations {
    /// The bits of an integer, or `float`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Int16 => "16",
            Self::Int8 => "8",
            Self::Float => "float",
        }
    }

    /// Largest integer, which the absolute maximum of a token is mapped to.
    pub const fn levels(self) -> u32 {
        match self {
            Self::Int16 => 32767,
            Self::Int8 => 127,
            Self::Float => 1,
        }
    }

    /// Byte planes an integer is stored in.
    pub const fn planes(self) -> usize {
        match self {
            Self::Int16 => 2,
            Self::Int8 => 1,
            Self::Float => 0,
        }
    }
}

/// Smallest absolute maximum of a token (the iFairy code's clamp).
pub const LEAST_ABSMAX: f32 = 1e-5;

fn absmax_of(x: &[f32]) -> f32 {
    x.iter().fold(LEAST_ABSMAX, |top, v| top.max(v.abs()))
}

pub(in crate::ops) fn round(x: f32, top: f32, mode: Activations) -> i32 {
    // 24 + 15 bits over 24 bits: a f64 quotient cannot fall on a tie it is not on
    let exact = f64::from(x) * f64::from(mode.levels()) / f64::from(top);
    exact.round_ties_even() as i32
}

/// Rounds rows of activations: `q = round_half_even(x * levels / max(absmax, 1e-5))`, bit-exact.
///
/// A row of `columns` real values is a complex vector: the first half (rounded up) are real parts, the rest
/// imaginary parts, a missing last one is 0. Complex column `c` lies in byte `c` of its plane; planes follow
/// each other as re, im (8 bit) or re high, re low, im high, im low (16 bit: `q = 256 high + low`, high
/// signed, low unsigned), each padded with zeros to whole packed words of weights.
///
/// Bindings: `x` [rows, columns] f32; `q` [rows, 2 * planes, words, 4] u32 of four bytes;
/// `absmax` `[rows]` f32 (after the clamp).
#[derive(Debug, Clone)]
pub struct QuantizeAct {
    /// Tokens.
    pub rows: usize,
    /// Real values per token.
    pub columns: usize,
    /// [`Activations::Int16`] or [`Activations::Int8`].
    pub mode: Activations,
}

impl QuantizeAct {
    /// Workgroups that share a row: one per 256 words of the real and imaginary part.
    fn slices(&self) -> usize {
        let words = words_for(self.columns.div_ceil(2)) * (COLUMNS_PER_WORD / 4);
        (2 * words).div_ceil(256)
    }

    /// Words of one rounded row.
    pub fn row_words(columns: usize, mode: Activations) -> usize {
        2 * mode.planes() * words_for(columns.div_ceil(2)) * (COLUMNS_PER_WORD / 4)
    }
}

/// Uniform block of [`QuantizeAct`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct QuantizeActParams {
    rows: u32,
    columns: u32,
    half: u32,
    plane_words: u32,
    slices: u32,
    levels: u32,
}

impl Op for QuantizeAct {
    const NAME: &'static str = "quantize_act";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        quantize / "quantize_act",
        "wide",
        "round"
    )];
    const BINDINGS: &'static [Binding] = &[
        read("x", Elem::F32),
        write("q", Elem::U32),
        write("absmax", Elem::U32),
    ];
    const AGREE: Agree = Agree::Bits;
    type Params = QuantizeActParams;

    fn params(&self) -> QuantizeActParams {
        let half = self.columns.div_ceil(2);
        QuantizeActParams {
            rows: self.rows as u32,
            columns: self.columns as u32,
            half: half as u32,
            plane_words: (words_for(half) * COLUMNS_PER_WORD / 4) as u32,
            slices: self.slices() as u32,
            levels: self.mode.levels(),
        }
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: (self.rows * self.slices()) as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        vec![
            self.rows * self.columns,
            self.rows * Self::row_words(self.columns, self.mode),
            self.rows,
        ]
    }

    fn cost(&self) -> Cost {
        let n = (self.rows * self.columns) as f64;
        Cost {
            bytes: n * (4.0 + self.mode.planes() as f64),
            ops: 4.0 * n,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let x: &[f32] = b.read(0);
        let (q, absmax): (&mut [u8], &mut [f32]) = (b.write(1), b.write(2));
        let half = self.columns.div_ceil(2);
        let plane = words_for(half) * COLUMNS_PER_WORD;
        let planes = self.mode.planes();
        for row in 0..self.rows {
            let x = &x[row * self.columns..][..self.columns];
            let q = &mut q[row * 2 * planes * plane..][..2 * planes * plane];
            q.fill(0);
            let top = absmax_of(x);
            absmax[row] = top;
            for (i, &v) in x.iter().enumerate() {
                let value = round(v, top, self.mode);
                let (part, column) = (i / half, i % half);
                let at = part * planes * plane + column;
                if planes == 2 {
                    q[at] = (value >> 8) as u8;
                    q[at + plane] = value as u8;
                } else {
                    q[at] = value as u8;
                }
            }
        }
    }

    fn host(&self, b: &mut Bindings<'_>) {
        let x: &[f32] = b.read(0);
        let x = &x[..self.rows * self.columns];
        round_rows(x, self.columns, self.mode, b.write(1), b.write(2));
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        bench::quantize_act()
    }

    fn cases() -> Vec<Case<Self>> {
        let make = |(name, rows, columns, mode, x): Input| {
            let op = QuantizeAct {
                rows,
                columns,
                mode,
            };
            let (q, absmax) = (op.lengths()[1], op.lengths()[2]);
            let data = vec![Data::f32(&x), Data::Out(q), Data::Out(absmax)];
            Case::new(format!("{name}, {mode:?}"), op, data)
        };
        inputs().into_iter().map(make).collect()
    }
}

/// Name, rows, columns, mode, values.
type Input = (&'static str, usize, usize, Activations, Vec<f32>);

fn inputs() -> Vec<Input> {
    let mut all = Vec::new();
    for mode in [Activations::Int16, Activations::Int8] {
        all.push(("several rows", 3, 384, mode, noise(1, 3 * 384, 4.0)));
        all.push(("odd width", 2, 75, mode, noise(2, 150, 0.01)));
        all.push(("wide", 1, 5000, mode, noise(3, 5000, 100.0)));
        all.push(("one value", 1, 1, mode, vec![-3.0]));
        let tiny = [vec![0.0; 64], noise(4, 64, 1e-7)].concat();
        all.push(("all zero, all tiny", 2, 64, mode, tiny));
        // with absmax = levels every half is a tie
        let mut ties: Vec<f32> = (0..64).map(|i| i as f32 - 31.5).collect();
        ties[0] = mode.levels() as f32;
        all.push(("ties", 1, 64, mode, ties));
        let scales = noise(5, 512, 1.0);
        let scales = scales.iter().enumerate();
        let scales = scales.map(|(i, v)| v * 2f32.powi(-(i as i32 % 60)));
        all.push(("many magnitudes", 1, 512, mode, scales.collect()));
    }
    all
}

/// Puts rows of activations on the grid of their integers, as f32: what a dense layer sees when activations
/// are rounded. `y = round_half_even(x * levels / absmax) * absmax / levels`, absmax at least 1e-5.
///
/// Bindings: `x` and `y` [rows, columns] f32.
#[derive(Debug, Clone)]
pub struct FakeQuant {
    /// Tokens.
    pub rows: usize,
    /// Real values per token.
    pub columns: usize,
    /// [`Activations::Int16`] or [`Activations::Int8`].
    pub mode: Activations,
}

/// Uniform block of [`FakeQuant`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct FakeQuantParams {
    rows: u32,
    columns: u32,
    levels: u32,
    inverse: f32,
}

impl Op for FakeQuant {
    const NAME: &'static str = "fake_quant";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        quantize / "fake_quant",
        "wide",
        "round"
    )];
    const BINDINGS: &'static [Binding] = &[read("x", Elem::F32), write("y", Elem::F32)];
    // the integer is exact; two products and the rounded 1 / levels remain
    const AGREE: Agree = Agree::Ulp(3);
    type Params = FakeQuantParams;

    fn params(&self) -> FakeQuantParams {
        FakeQuantParams {
            rows: self.rows as u32,
            columns: self.columns as u32,
            levels: self.mode.levels(),
            inverse: 1.0 / self.mode.levels() as f32,
        }
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: self.rows as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        vec![self.rows * self.columns; 2]
    }

    fn cost(&self) -> Cost {
        let n = (self.rows * self.columns) as f64;
        Cost {
            bytes: 8.0 * n,
            ops: 4.0 * n,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (x, y): (&[f32], &mut [f32]) = (b.read(0), b.write(1));
        let rows = x.chunks(self.columns).zip(y.chunks_mut(self.columns));
        for (x, y) in rows.take(self.rows) {
            let top = absmax_of(x);
            let step = f64::from(top) / f64::from(self.mode.levels());
            for (y, &x) in y.iter_mut().zip(x) {
                *y = (f64::from(round(x, top, self.mode)) * step) as f32;
            }
        }
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        bench::fake_quant()
    }

    fn cases() -> Vec<Case<Self>> {
        let make = |(name, rows, columns, mode, x): Input| {
            let op = FakeQuant {
                rows,
                columns,
                mode,
            };
            let data = vec![Data::f32(&x), Data::Out(rows * columns)];
            Case::new(format!("{name}, {mode:?}"), op, data)
        };
        inputs().into_iter().map(make).collect()
    }
}
