//! Matrix products with dense weights, for layers that stay in full precision.

use crate::ops::*;
use bytemuck::Zeroable;

/// `y[row, out_offset + o] (+)= sum_k x[row, k] w[o, k]`: shape of a product, or of one shard of it.
///
/// Bindings of both ops: `x` [rows, k] f32; `w` [outs, stored.row_words(k)] u32 (see [`MatrixDtype`]; the padding
/// of a row is zero); `y` [rows, y_stride] f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dense {
    /// Vectors.
    pub rows: usize,
    /// Columns of the matrix.
    pub k: usize,
    /// Rows of the matrix, or of this shard.
    pub outs: usize,
    /// Place of the shard's first output in a row of `y`.
    pub out_offset: usize,
    /// Values from row to row of `y`.
    pub y_stride: usize,
    /// Element type of the matrix.
    pub stored: MatrixDtype,
    /// Add to `y` (a residual) instead of overwriting it.
    pub accumulate: bool,
}

impl Dense {
    pub(in crate::ops) fn overrides(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("ELEM", self.stored.code()),
            ("ACCUMULATE", f64::from(u8::from(self.accumulate))),
        ]
    }

    pub(in crate::ops) fn lengths(&self) -> Vec<usize> {
        let y = self.rows.saturating_sub(1) * self.y_stride + self.out_offset + self.outs;
        vec![
            self.rows * self.k,
            self.outs * self.stored.row_words(self.k),
            y,
        ]
    }

    pub(in crate::ops) fn cost(&self) -> Cost {
        let weights = self.outs * self.stored.words(self.k);
        let y = self.rows * self.outs * if self.accumulate { 2 } else { 1 };
        Cost {
            bytes: 4.0 * (weights + self.rows * self.k + y) as f64,
            ops: 2.0 * (self.rows * self.outs) as f64 * self.k as f64,
        }
    }

    pub(in crate::ops) fn reference(&self, b: &mut Bindings<'_>) {
        let (x, w): (&[f32], &[u32]) = (b.read(0), b.read(1));
        let y: &mut [f32] = b.write(2);
        let mut weights = vec![0.0; self.k];
        for out in 0..self.outs {
            let words = self.stored.row_words(self.k);
            self.stored.decode(&w[out * words..][..words], &mut weights);
            for row in 0..self.rows {
                let x = &x[row * self.k..][..self.k];
                let sum: f64 = x
                    .iter()
                    .zip(&weights)
                    .map(|(&x, &w)| f64::from(x) * f64::from(w))
                    .sum();
                let y = &mut y[row * self.y_stride + self.out_offset + out];
                let before = if self.accumulate { f64::from(*y) } else { 0.0 };
                *y = (before + sum) as f32;
            }
        }
    }

    fn host(&self, b: &mut Bindings<'_>) {
        let (x, w): (&[f32], &[u32]) = (b.read(0), b.read(1));
        let y: &mut [f32] = b.write(2);
        // A block of outputs by one thread, [blocks, rows, outputs of a block]; then in place, rows of y by threads.
        let outs = if self.rows < MANY { BLOCK } else { 2 * BLOCK };
        let mut sums = vec![0.0f32; self.outs * self.rows];
        crate::ops::cpu::each_chunk(&mut sums, outs * self.rows, |i, sums| {
            self.block(x, w, i * outs, sums);
        });
        let all = self.rows.saturating_sub(1) * self.y_stride + self.out_offset + self.outs;
        let rows: Vec<_> = y[..all].chunks_mut(self.y_stride).enumerate().collect();
        crate::ops::cpu::each_worth(rows, self.outs, |(row, y): (usize, &mut [f32])| {
            let blocks = sums.chunks(outs * self.rows);
            let y = y[self.out_offset..][..self.outs].chunks_mut(outs);
            for (y, block) in y.zip(blocks) {
                let sums = &block[row * y.len()..][..y.len()];
                for (y, sum) in y.iter_mut().zip(sums) {
                    *y = sum + if self.accumulate { *y } else { 0.0 };
                }
            }
        });
    }

    /// Outputs from `first` on, for all rows: `sums` [rows, outputs].
    fn block(&self, x: &[f32], w: &[u32], first: usize, sums: &mut [f32]) {
        let words = self.stored.row_words(self.k);
        let outs = sums.len() / self.rows;
        let x = &x[..self.rows * self.k];
        if self.stored == MatrixDtype::F32 && words == self.k {
            let weights = &bytemuck::cast_slice(w)[first * words..][..outs * words];
            return cpu::dots(self.k, x, weights, sums);
        }
        let mut decoded = vec![0.0; outs * self.k];
        for (i, decoded) in decoded.chunks_exact_mut(self.k).enumerate() {
            self.stored
                .decode(&w[(first + i) * words..][..words], decoded);
        }
        cpu::dots(self.k, x, &decoded, sums);
    }

    fn case<O: Op>(self, name: String, op: impl Fn(Self) -> O) -> Case<O> {
        let weights = noise(62, self.outs * self.k, 1.0);
        let stride = self.stored.row_words(self.k);
        let data = vec![
            Data::f32(&noise(61, self.rows * self.k, 2.0)),
            Data::Words(self.stored.encode_rows(&weights, self.k, stride)),
            Data::f32(&noise(63, self.rows * self.y_stride, 5.0)),
        ];
        Case::new(name, op(self), data)
    }
}

/// Outputs a thread takes at once.
const BLOCK: usize = 16;
/// Rows from which on it takes twice as many, since all rows pass through its cache once for each block.
const MANY: usize = 64;

const BINDINGS: [Binding; 3] = [
    read("x", Elem::F32),
    read("w", Elem::U32),
    write("y", Elem::F32),
];

/// [`Dense`] for few rows: the matrix streams through once per row.
#[derive(Debug, Clone)]
pub struct MatmulGemv(pub Dense);

/// Uniform block of [`MatmulGemv`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct MatmulGemvParams {
    k: u32,
    outs: u32,
    stride: u32,
    y_stride: u32,
    out_offset: u32,
}

impl Op for MatmulGemv {
    const NAME: &'static str = "matmul_gemv";
    const SHADERS: &'static [Shader] = &[
        shader!(
            Features::SUBGROUP,
            matmul / "matmul_gemv_subgroup",
            "gemv",
            "elem"
        ),
        shader!(Features::NONE, matmul / "matmul_gemv", "gemv", "elem"),
    ];
    const BINDINGS: &'static [Binding] = &BINDINGS;
    // a random walk of k / 64 roundings (k / 16 on the host): k 2^-48 / 100 or so
    const AGREE: Agree = Agree::Nmse(1e-12);
    type Params = MatmulGemvParams;

    fn params(&self) -> MatmulGemvParams {
        MatmulGemvParams {
            k: self.0.k as u32,
            outs: self.0.outs as u32,
            stride: (self.0.stored.row_words(self.0.k) / 4) as u32,
            y_stride: self.0.y_stride as u32,
            out_offset: self.0.out_offset as u32,
        }
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        self.0.overrides()
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: self.0.outs.div_ceil(4) as u32,
            batch: self.0.rows as u32,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        self.0.lengths()
    }

    fn cost(&self) -> Cost {
        self.0.cost()
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        self.0.reference(b);
    }

    fn host(&self, b: &mut Bindings<'_>) {
        self.0.host(b);
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        bench::matmul_gemv()
    }

    fn cases() -> Vec<Case<Self>> {
        let mut cases = Vec::new();
        for (name, dense) in shapes(&[
            (1, 512, 40),
            (1, 75, 33),
            (3, 1030, 5),
            (2, 1, 1),
            (1, 2052, 7),
        ]) {
            cases.push(dense.case(name, Self));
        }
        cases
    }
}

/// [`Dense`] for many rows: tiles of 64 rows and 64 outputs.
#[derive(Debug, Clone)]
pub struct MatmulGemm(pub Dense);

/// Uniform block of [`MatmulGemm`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct MatmulGemmParams {
    rows: u32,
    k: u32,
    outs: u32,
    stride: u32,
    y_stride: u32,
    out_offset: u32,
}

impl Op for MatmulGemm {
    const NAME: &'static str = "matmul_gemm";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        matmul / "matmul_gemm",
        "elem",
        "outer"
    )];
    const BINDINGS: &'static [Binding] = &BINDINGS;
    // one chain of k roundings: k 2^-48 / 6 or so, for k up to 16384
    const AGREE: Agree = Agree::Nmse(1e-11);
    type Params = MatmulGemmParams;

    fn params(&self) -> MatmulGemmParams {
        MatmulGemmParams {
            rows: self.0.rows as u32,
            k: self.0.k as u32,
            outs: self.0.outs as u32,
            stride: (self.0.stored.row_words(self.0.k) / 4) as u32,
            y_stride: self.0.y_stride as u32,
            out_offset: self.0.out_offset as u32,
        }
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        self.0.overrides()
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: (self.0.rows.div_ceil(64) * self.0.outs.div_ceil(64)) as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        self.0.lengths()
    }

    fn cost(&self) -> Cost {
        self.0.cost()
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        self.0.reference(b);
    }

    fn host(&self, b: &mut Bindings<'_>) {
        self.0.host(b);
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        bench::matmul_gemm()
    }

    fn cases() -> Vec<Case<Self>> {
        let mut cases = Vec::new();
        for (name, dense) in shapes(&[
            (64, 64, 64),
            (70, 75, 130),
            (129, 33, 65),
            (1, 1, 1),
            (5, 520, 67),
        ]) {
            cases.push(dense.case(name, Self));
        }
        cases
    }
}

/// Every shape (rows, k, outs) in every element type, overwriting and accumulating; and one as a shard.
fn shapes(sizes: &[(usize, usize, usize)]) -> Vec<(String, Dense)> {
    let mut all = Vec::new();
    for stored in [MatrixDtype::F32, MatrixDtype::F16, MatrixDtype::Bf16] {
        for (i, &(rows, k, outs)) in sizes.iter().enumerate() {
            let whole = Dense {
                rows,
                k,
                outs,
                out_offset: 0,
                y_stride: outs,
                stored,
                accumulate: i % 2 == 1,
            };
            let verb = if whole.accumulate { "adds" } else { "writes" };
            all.push((format!("{stored:?} {rows} x {k} x {outs}, {verb}"), whole));
            if i < 2 {
                let shard = Dense {
                    out_offset: 3,
                    y_stride: outs + 10,
                    accumulate: i == 0,
                    ..whole
                };
                all.push((format!("{stored:?} {rows} x {k} x {outs}, shard"), shard));
            }
        }
    }
    all
}
