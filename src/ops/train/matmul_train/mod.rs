//! Matrix products of training, each matrix as it lies or transposed.

use super::MatrixView;
use crate::ops::*;
use std::ops::Range;

mod cases;
mod host;

/// Size of the blocks that [`MatmulTrain::lower`] leaves out, so that the result does not depend on the size of kernels' tiles.
pub const DIAGONAL_BLOCK: usize = 128;

/// `c[i, j] (+)= factor * sum_k a[i, k] * b[j, k]`.
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
    /// Blocks of [`DIAGONAL_BLOCK`] rows and columns of `c` that lie above the diagonal are not written.
    pub lower: bool,
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
        lower: u32,
        a_offset: u32,
        a_stride: u32,
        b_offset: u32,
        b_stride: u32,
        c_offset: u32,
        c_stride: u32,
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
            lower: false,
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

    /// Columns of row `i` that are written.
    fn columns(&self, i: usize) -> Range<usize> {
        match self.lower {
            true => 0..self.n.min((i / DIAGONAL_BLOCK + 1) * DIAGONAL_BLOCK),
            false => 0..self.n,
        }
    }

    /// How much of the product is asked for.
    fn share(&self) -> f64 {
        let asked: usize = match self.lower {
            true => (1..=self.m).map(|end| end.min(self.n)).sum(),
            false => self.m * self.n,
        };
        asked as f64 / (self.m * self.n).max(1) as f64
    }
}

/// Rows that a thread takes at once; it divides [`DIAGONAL_BLOCK`].
const ROWS: usize = 64;

impl Op for MatmulTrain {
    const NAME: &'static str = "matmul_train";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        train / "matmul_train",
        "products",
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
            m,
            n,
            k,
            a,
            b,
            c,
            lower,
            accumulate,
            factor,
        } = self;
        let lower = if *lower { ",lower=true" } else { "" };
        format!(
            "m={m},n={n},k={k},a={a},b={b},c={c}{lower},accumulate={accumulate},factor={factor}"
        )
    }

    fn params(&self) -> MatmulTrainParams {
        let [a, b, c] = [&self.a, &self.b, &self.c].map(|view| [view.offset, view.stride]);
        MatmulTrainParams {
            m: self.m as u32,
            n: self.n as u32,
            k: self.k as u32,
            lower: self.lower.into(),
            a_offset: a[0] as u32,
            a_stride: a[1] as u32,
            b_offset: b[0] as u32,
            b_stride: b[1] as u32,
            c_offset: c[0] as u32,
            c_stride: c[1] as u32,
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
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        vec![
            self.a.length(self.m, self.k),
            self.b.length(self.n, self.k),
            self.c.length(self.m, self.n),
        ]
    }

    fn cost(&self) -> Cost {
        let (a, b, c) = (self.m * self.k, self.n * self.k, self.m * self.n);
        let c = if self.accumulate { 2 * c } else { c };
        let share = self.share();
        Cost {
            bytes: 4.0 * ((a + b) as f64 + c as f64 * share),
            ops: 2.0 * (self.m * self.n) as f64 * self.k as f64 * share,
        }
    }

    fn reference(&self, bindings: &mut Bindings<'_>) {
        let (a, b): (&[f32], &[f32]) = (bindings.read(0), bindings.read(1));
        let c: &mut [f32] = bindings.write(2);
        for i in 0..self.m {
            for j in self.columns(i) {
                let products = (0..self.k)
                    .map(|k| f64::from(a[self.a.index(i, k)]) * f64::from(b[self.b.index(j, k)]));
                let sum: f64 = products.sum();
                let c = &mut c[self.c.index(i, j)];
                let before = if self.accumulate { f64::from(*c) } else { 0.0 };
                *c = (before + f64::from(self.factor) * sum) as f32;
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
        let blocks: Vec<_> = sums.chunks_mut(ROWS * self.n).enumerate().collect();
        // eight multiplications in a nanosecond
        let worth = ROWS * self.n * self.k / 8;
        cpu::each_worth(blocks, worth, |(i, sums)| {
            self.block([a, b], i * ROWS, sums);
        });
        for (i, sums) in sums.chunks_exact(self.n).enumerate() {
            let columns = self.columns(i);
            let first = self.c.index(i, columns.start);
            let c = &mut c[first..][..columns.len()];
            for (c, sum) in c.iter_mut().zip(&sums[columns]) {
                let before = if self.accumulate { f64::from(*c) } else { 0.0 };
                *c = (before + f64::from(self.factor) * sum) as f32;
            }
        }
    }

    fn cases() -> Vec<Case<Self>> {
        cases::cases()
    }
}
