//! Matrix products of training, each matrix as it lies or turned.

use super::*;
use bytemuck::Zeroable;

mod cases;
mod host;

/// Where a matrix lies in its buffer, in values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// Its first value.
    pub first: usize,
    /// From row to row.
    pub stride: usize,
    /// From one head's matrix to the next one's.
    pub head: usize,
    /// From one text's heads to the next one's.
    pub text: usize,
    /// It lies transposed: what the product calls its rows are the columns in memory. Never of the result.
    pub turned: bool,
}

impl Place {
    /// Rows of `columns` values, one after the other, from the buffer's beginning.
    pub fn rows(columns: usize) -> Self {
        Self {
            stride: columns,
            ..Self::default()
        }
    }

    /// The same place, read transposed.
    pub fn turned(self) -> Self {
        Self {
            turned: true,
            ..self
        }
    }

    /// Index of an element, as the product names it.
    fn at(&self, (text, head): (usize, usize), row: usize, column: usize) -> usize {
        let (row, column) = match self.turned {
            true => (column, row),
            false => (row, column),
        };
        self.first + text * self.text + head * self.head + row * self.stride + column
    }

    /// Values its buffer must have.
    fn length(&self, (texts, heads): (usize, usize), rows: usize, columns: usize) -> usize {
        if texts * heads * rows * columns == 0 {
            return 0;
        }
        self.at((texts - 1, heads - 1), rows - 1, columns - 1) + 1
    }
}

/// Which products a causal mask makes needless: attention of row `i` never sees column `j > i`. Whole blocks of
/// [`CAUSAL_BLOCK`] are left out, so that the result does not depend on a kernel's tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Causal {
    /// None: everything is computed.
    #[default]
    No,
    /// `c` (scores) is not written where the block of `j` lies beyond that of `i`.
    Result,
    /// `a` (weights) is zero, and not read, where the block of `k` lies beyond that of `i`.
    Lower,
    /// `a` (turned weights) is zero, and not read, where the block of `k` lies before that of `i`.
    Upper,
}

/// Size of the blocks that [`Causal`] leaves out.
pub const CAUSAL_BLOCK: usize = 128;

/// `c[i, j] (+)= factor sum_k a[i, k] b[j, k]`, for every head of every text.
///
/// With `b` as it lies this is `y = x W^T`; with `b` turned, `dx = dy W`; with both turned, `dW = dy^T x`.
/// Bindings: `a` [m, k], `b` [n, k], `c` [m, n], f32, each at its [`Place`].
#[derive(Debug, Clone, Copy)]
pub struct MatmulTrain {
    /// Rows of the result.
    pub m: usize,
    /// Its columns.
    pub n: usize,
    /// Length of the sums.
    pub k: usize,
    /// First factor.
    pub a: Place,
    /// Second factor.
    pub b: Place,
    /// Result.
    pub c: Place,
    /// Texts: repetitions.
    pub texts: usize,
    /// Heads of a text: repetitions within it.
    pub heads: usize,
    /// Consecutive heads that share a `b`: query heads of one key/value head.
    pub share: usize,
    /// What need not be computed.
    pub causal: Causal,
    /// Add to `c` instead of overwriting it.
    pub accumulate: bool,
    /// Multiple of the product that is taken.
    pub factor: f32,
}

/// Uniform block of [`MatmulTrain`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct MatmulTrainParams {
    m: u32,
    n: u32,
    k: u32,
    causal: u32,
    heads: u32,
    share: u32,
    places: [u32; 12],
    factor: f32,
}

impl MatmulTrain {
    /// One product, all of it, overwriting.
    pub fn new([m, n, k]: [usize; 3], a: Place, b: Place, c: Place) -> Self {
        Self {
            m,
            n,
            k,
            a,
            b,
            c,
            texts: 1,
            heads: 1,
            share: 1,
            causal: Causal::No,
            accumulate: false,
            factor: 1.0,
        }
    }

    /// The same, adding to what is there.
    pub fn adding(self) -> Self {
        Self {
            accumulate: true,
            ..self
        }
    }

    /// So many times the product.
    pub fn times(self, factor: f32) -> Self {
        Self { factor, ..self }
    }

    /// The range of `k` that row `i` needs.
    fn depth(&self, i: usize) -> std::ops::Range<usize> {
        let block = i / CAUSAL_BLOCK * CAUSAL_BLOCK;
        match self.causal {
            Causal::Lower => 0..self.k.min(block + CAUSAL_BLOCK),
            Causal::Upper => block.min(self.k)..self.k,
            _ => 0..self.k,
        }
    }

    /// Columns of row `i` that are written.
    fn columns(&self, i: usize) -> usize {
        match self.causal {
            Causal::Result => self.n.min((i / CAUSAL_BLOCK + 1) * CAUSAL_BLOCK),
            _ => self.n,
        }
    }

    /// The repetitions: (text, head) of `a` and `c`, and of `b`.
    fn repetitions(&self) -> impl Iterator<Item = [(usize, usize); 2]> {
        let share = self.share;
        (0..self.texts).flat_map(move |t| (0..self.heads).map(move |h| [(t, h), (t, h / share)]))
    }
}

/// Rows a thread takes at once; divides [`CAUSAL_BLOCK`].
const ROWS: usize = 64;

impl Op for MatmulTrain {
    const NAME: &'static str = "matmul_train";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        train / "matmul_train",
        "heads",
        "outer"
    )];
    const BINDINGS: &'static [Binding] = &[
        read("a", Elem::F32),
        read("b", Elem::F32),
        write("c", Elem::F32),
    ];
    // one chain of k roundings: k 2^-48 / 6 or so, for k up to 16384
    const AGREE: Agree = Agree::Nmse(1e-11);
    type Params = MatmulTrainParams;

    fn params(&self) -> MatmulTrainParams {
        let place = |p: &Place| [p.first, p.stride, p.head, p.text].map(|v| v as u32);
        let mut places = [0; 12];
        for (i, p) in [&self.a, &self.b, &self.c].into_iter().enumerate() {
            places[4 * i..][..4].copy_from_slice(&place(p));
        }
        MatmulTrainParams {
            m: self.m as u32,
            n: self.n as u32,
            k: self.k as u32,
            causal: self.causal as u32,
            heads: self.heads as u32,
            share: self.share as u32,
            places,
            factor: self.factor,
        }
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        let flag = |on: bool| f64::from(u8::from(on));
        vec![
            ("A_TURNED", flag(self.a.turned)),
            ("B_TURNED", flag(self.b.turned)),
            ("ACCUMULATE", flag(self.accumulate)),
        ]
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: (self.m.div_ceil(64) * self.n.div_ceil(64)) as u32,
            batch: (self.texts * self.heads) as u32,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        let all = (self.texts, self.heads);
        let shared = (self.texts, self.heads.div_ceil(self.share));
        vec![
            self.a.length(all, self.m, self.k),
            self.b.length(shared, self.n, self.k),
            self.c.length(all, self.m, self.n),
        ]
    }

    fn cost(&self) -> Cost {
        let (a, b, c) = (self.m * self.k, self.n * self.k, self.m * self.n);
        let c = if self.accumulate { 2 * c } else { c };
        let batch = self.texts * self.heads;
        let part = if self.causal == Causal::No { 1.0 } else { 0.5 };
        Cost {
            bytes: 4.0 * (batch * (a + c) + batch.div_ceil(self.share) * b) as f64 * part,
            ops: 2.0 * (batch * self.m * self.n) as f64 * self.k as f64 * part,
        }
    }

    fn reference(&self, bindings: &mut Bindings<'_>) {
        let (a, b): (&[f32], &[f32]) = (bindings.read(0), bindings.read(1));
        let c: &mut [f32] = bindings.write(2);
        for [of, b_of] in self.repetitions() {
            for i in 0..self.m {
                for j in 0..self.columns(i) {
                    let sum: f64 = self
                        .depth(i)
                        .map(|k| {
                            f64::from(a[self.a.at(of, i, k)]) * f64::from(b[self.b.at(b_of, j, k)])
                        })
                        .sum();
                    let c = &mut c[self.c.at(of, i, j)];
                    let before = if self.accumulate { f64::from(*c) } else { 0.0 };
                    *c = (before + f64::from(self.factor) * sum) as f32;
                }
            }
        }
    }

    fn host(&self, bindings: &mut Bindings<'_>) {
        let (a, b): (&[f32], &[f32]) = (bindings.read(0), bindings.read(1));
        let c: &mut [f32] = bindings.write(2);
        if self.m * self.n == 0 {
            return;
        }
        // in f64, since steps of training amplify what is lost
        let mut sums = vec![0.0f64; self.m * self.n];
        for repetition in self.repetitions() {
            sums.fill(0.0);
            let blocks: Vec<_> = sums.chunks_mut(ROWS * self.n).enumerate().collect();
            // eight multiplications in a nanosecond
            let worth = ROWS * self.n * self.k / 8;
            cpu::each_worth(blocks, worth, |(i, sums)| {
                self.block([a, b], repetition, i * ROWS, sums);
            });
            for (i, sums) in sums.chunks_exact(self.n).enumerate() {
                let columns = self.columns(i);
                let c = &mut c[self.c.at(repetition[0], i, 0)..][..columns];
                for (c, sum) in c.iter_mut().zip(sums) {
                    let before = if self.accumulate { f64::from(*c) } else { 0.0 };
                    *c = (before + f64::from(self.factor) * sum) as f32;
                }
            }
        }
    }

    fn cases() -> Vec<Case<Self>> {
        cases::all()
    }
}
