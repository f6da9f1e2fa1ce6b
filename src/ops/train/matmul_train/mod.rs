//! Matrix products of training, each matrix as it lies or transposed.

use super::MatrixView;
use crate::ops::*;
use std::ops::Range;

mod cases;
mod host;

/// The products that a causal mask makes needless: attention of row `i` never sees column `j > i`, nor, in a window, column
/// `j <= i - window`. Kernels leave out whole blocks of [`CAUSAL_BLOCK`], so that the result does not depend on the size of
/// their tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Causal {
    /// None: everything is computed.
    #[default]
    No,
    /// `c` (scores) is not written where no row of the block of `i` sees a column of the block of `j`.
    Result,
    /// `a` (weights) is zero, and not read, where no row of the block of `i` sees a column of the block of `k`.
    Lower,
    /// `a` (transposed weights) is zero, and not read, where no row of the block of `k` sees a column of the block of `i`.
    Upper,
}

/// Size of the blocks that [`Causal`] leaves out.
pub const CAUSAL_BLOCK: usize = 128;

/// `c[i, j] (+)= factor * sum_k a[i, k] * b[j, k]`, for every head of every sequence.
///
/// With `b` as it lies this is `y = x W^T`; with `b` transposed, `dx = dy W`; with both transposed, `dW = dy^T x`.
/// Bindings: `a` [m, k], `b` [n, k], `c` [m, n], f32, each where its [`MatrixView`] says.
#[derive(Debug, Clone, Copy)]
pub struct MatmulTrain {
    /// Rows of the result.
    pub m: usize,
    /// Its columns.
    pub n: usize,
    /// Length of the sums.
    pub k: usize,
    /// First factor.
    pub a: MatrixView,
    /// Second factor.
    pub b: MatrixView,
    /// Result.
    pub c: MatrixView,
    /// Sequences: the product is repeated for each of them.
    pub sequences: usize,
    /// Heads of a sequence: the product is repeated for each of them.
    pub heads: usize,
    /// Consecutive heads that share a `b`: the query heads of one key/value head.
    pub share: usize,
    /// The blocks that need not be computed.
    pub causal: Causal,
    /// Columns that a row sees at most where the product is causal, at least one: `usize::MAX` for all up to its own.
    pub window: usize,
    /// Add to `c` instead of overwriting it.
    pub accumulate: bool,
    /// Multiplies the product.
    pub factor: f32,
}

params! {
    /// Uniform block of [`MatmulTrain`].
    pub struct MatmulTrainParams {
        m: u32,
        n: u32,
        k: u32,
        causal: u32,
        window: u32,
        reach: u32,
        heads: u32,
        share: u32,
        a_offset: u32,
        a_stride: u32,
        a_head_stride: u32,
        a_sequence_stride: u32,
        b_offset: u32,
        b_stride: u32,
        b_head_stride: u32,
        b_sequence_stride: u32,
        c_offset: u32,
        c_stride: u32,
        c_head_stride: u32,
        c_sequence_stride: u32,
        factor: f32,
    }
}

impl MatmulTrain {
    /// One whole product, which overwrites the result.
    pub fn new([m, n, k]: [usize; 3], a: MatrixView, b: MatrixView, c: MatrixView) -> Self {
        Self {
            m,
            n,
            k,
            a,
            b,
            c,
            sequences: 1,
            heads: 1,
            share: 1,
            causal: Causal::No,
            window: usize::MAX,
            accumulate: false,
            factor: 1.0,
        }
    }

    /// The same, added to the values of `c`.
    pub fn adding(self) -> Self {
        Self {
            accumulate: true,
            ..self
        }
    }

    /// The same, the product multiplied by `factor`.
    pub fn times(self, factor: f32) -> Self {
        Self { factor, ..self }
    }

    /// The range of `k` that row `i` needs.
    fn depth(&self, i: usize) -> Range<usize> {
        let block = i / CAUSAL_BLOCK * CAUSAL_BLOCK;
        let first = match self.causal {
            Causal::Lower => self.lowest(block),
            Causal::Upper => block,
            _ => 0,
        };
        let end = self.k.min(block + self.reach());
        first.min(end)..end
    }

    /// Columns of row `i` that are written.
    fn columns(&self, i: usize) -> Range<usize> {
        let block = i / CAUSAL_BLOCK * CAUSAL_BLOCK;
        match self.causal {
            Causal::Result => {
                let end = self.n.min(block + CAUSAL_BLOCK);
                self.lowest(block).min(end)..end
            }
            _ => 0..self.n,
        }
    }

    /// The first block of columns that a row of the block at `block` sees.
    fn lowest(&self, block: usize) -> usize {
        (block + 1).saturating_sub(self.window.max(1)) / CAUSAL_BLOCK * CAUSAL_BLOCK
    }

    /// From the beginning of a row's block, to the end of the values of `k` that it needs.
    fn reach(&self) -> usize {
        match self.causal {
            Causal::Lower => CAUSAL_BLOCK,
            // to the end of the block of the last row that sees the last column of the block
            Causal::Upper => {
                let rows = (CAUSAL_BLOCK - 1) + self.window.clamp(1, self.k.max(1));
                rows.next_multiple_of(CAUSAL_BLOCK)
            }
            _ => self.k,
        }
    }

    /// How much of the product causality leaves.
    fn seen_share(&self) -> f64 {
        let (rows, columns) = match self.causal {
            Causal::No => return 1.0,
            Causal::Result => (self.m, self.n),
            Causal::Lower => (self.m, self.k),
            Causal::Upper => (self.k, self.m),
        };
        let most = self.window.min(columns);
        let seen: usize = (1..=rows).map(|end| end.min(most)).sum();
        seen as f64 / (rows * columns).max(1) as f64
    }

    /// The repetitions: (sequence, head) of `a` and `c`, and of `b`.
    fn repetitions(&self) -> impl Iterator<Item = [(usize, usize); 2]> {
        let share = self.share;
        (0..self.sequences)
            .flat_map(move |t| (0..self.heads).map(move |h| [(t, h), (t, h / share)]))
    }
}

/// Rows that a thread takes at once; it divides [`CAUSAL_BLOCK`].
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
    // one chain of k roundings: about k * 2^-48 / 6, for k up to 16384
    const AGREE: Agree = Agree::Nmse(1e-11);
    type Params = MatmulTrainParams;

    fn shape(&self) -> String {
        let Self {
            m, n, k, a, b, c, ..
        } = self;
        let Self {
            heads,
            share,
            causal,
            accumulate,
            factor,
            ..
        } = self;
        let window = match self.window {
            usize::MAX => String::new(),
            window => format!(",window={window}"),
        };
        format!(
            "m={m},n={n},k={k},a={a},b={b},c={c},sequences={},heads={heads},share={share},causal={causal:?}{window},\
             accumulate={accumulate},factor={factor}",
            self.sequences
        )
    }

    fn params(&self) -> MatmulTrainParams {
        let [a, b, c] = [&self.a, &self.b, &self.c].map(|view| {
            let sizes = [
                view.offset,
                view.stride,
                view.head_stride,
                view.sequence_stride,
            ];
            sizes.map(|size| size as u32)
        });
        MatmulTrainParams {
            m: self.m as u32,
            n: self.n as u32,
            k: self.k as u32,
            causal: self.causal as u32,
            window: u32::try_from(self.window.max(1)).unwrap_or(u32::MAX),
            reach: self.reach() as u32,
            heads: self.heads as u32,
            share: self.share as u32,
            a_offset: a[0],
            a_stride: a[1],
            a_head_stride: a[2],
            a_sequence_stride: a[3],
            b_offset: b[0],
            b_stride: b[1],
            b_head_stride: b[2],
            b_sequence_stride: b[3],
            c_offset: c[0],
            c_stride: c[1],
            c_head_stride: c[2],
            c_sequence_stride: c[3],
            factor: self.factor,
        }
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        let flag = |on: bool| f64::from(u8::from(on));
        vec![
            ("A_TRANSPOSED", flag(self.a.transposed)),
            ("B_TRANSPOSED", flag(self.b.transposed)),
            ("ACCUMULATE", flag(self.accumulate)),
        ]
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: (self.m.div_ceil(64) * self.n.div_ceil(64)) as u32,
            batch: (self.sequences * self.heads) as u32,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        let all = (self.sequences, self.heads);
        let shared = (self.sequences, self.heads.div_ceil(self.share));
        vec![
            self.a.length(all, self.m, self.k),
            self.b.length(shared, self.n, self.k),
            self.c.length(all, self.m, self.n),
        ]
    }

    fn cost(&self) -> Cost {
        let (a, b, c) = (self.m * self.k, self.n * self.k, self.m * self.n);
        let c = if self.accumulate { 2 * c } else { c };
        let batch = self.sequences * self.heads;
        let seen = self.seen_share();
        Cost {
            bytes: 4.0 * (batch * (a + c) + batch.div_ceil(self.share) * b) as f64 * seen,
            ops: 2.0 * (batch * self.m * self.n) as f64 * self.k as f64 * seen,
        }
    }

    fn reference(&self, bindings: &mut Bindings<'_>) {
        let (a, b): (&[f32], &[f32]) = (bindings.read(0), bindings.read(1));
        let c: &mut [f32] = bindings.write(2);
        for [a_batch, b_batch] in self.repetitions() {
            for i in 0..self.m {
                for j in self.columns(i) {
                    let sum: f64 = self
                        .depth(i)
                        .map(|k| {
                            f64::from(a[self.a.index(a_batch, i, k)])
                                * f64::from(b[self.b.index(b_batch, j, k)])
                        })
                        .sum();
                    let c = &mut c[self.c.index(a_batch, i, j)];
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
        // in f64, since the next steps of training amplify rounding errors
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
                let first = self.c.index(repetition[0], i, columns.start);
                let c = &mut c[first..][..columns.len()];
                for (c, sum) in c.iter_mut().zip(&sums[columns]) {
                    let before = if self.accumulate { f64::from(*c) } else { 0.0 };
                    *c = (before + f64::from(self.factor) * sum) as f32;
                }
            }
        }
    }

    fn cases() -> Vec<Case<Self>> {
        cases::cases()
    }
}
