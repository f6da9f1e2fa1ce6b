//! The products with integer activations: exact sums, one rounding, the same bits everywhere.

use super::*;
use crate::ops::quantize::QuantizeAct;

/// Product of a stack with few tokens: a team of invocations per complex row.
///
/// Bindings: `codes` [piece_rows, words, 2 T] u32 ([`interleaved`]); `q` and `absmax` as [`QuantizeAct`] writes them; `cells`
/// [cells, 1 + groups * 2 T 2] u32 ([`integer_cells`]); `y` [rows, outputs] f32.
#[derive(Debug, Clone)]
pub struct PhaseGemv {
    /// The stack.
    pub shape: PhaseShape,
    /// [`Activations::Int16`] or [`Activations::Int8`].
    pub mode: Activations,
}

/// Product of a stack with many tokens: tiles of 16 complex rows by 32 tokens. Bindings as [`PhaseGemv`].
#[derive(Debug, Clone)]
pub struct PhaseGemm {
    /// The stack.
    pub shape: PhaseShape,
    /// [`Activations::Int16`] or [`Activations::Int8`].
    pub mode: Activations,
}

const BINDINGS: &[Binding] = &[
    read("codes", Elem::U32),
    read("q", Elem::U32),
    read("absmax", Elem::U32),
    read("cells", Elem::U32),
    write("y", Elem::F32),
];

/// The same, with loads that stay where they are.
pub(super) const BINDINGS_HELD: &[Binding] = &[
    prefetched("codes", Elem::U32),
    prefetched("q", Elem::U32),
    read("absmax", Elem::U32),
    read("cells", Elem::U32),
    write("y", Elem::F32),
];

/// Invocations of a workgroup of [`PhaseGemv`].
const WIDTH: usize = 128;

/// Invocations that share a complex row in [`PhaseGemv`]: enough for its words, at most 32.
pub(super) fn lanes(words: usize) -> usize {
    words.next_power_of_two().clamp(4, 32)
}

impl Op for PhaseGemv {
    const NAME: &'static str = "phase_gemv";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        phase / "phase_gemv",
        "wide",
        "bits",
        "accumulate",
        "stack",
        "planes",
        "terms",
        "transposed",
        "load_codes"
    )];
    const BINDINGS: &'static [Binding] = BINDINGS;
    const AGREE: Agree = Agree::Bits;
    type Params = PhaseParams;

    fn params(&self) -> PhaseParams {
        self.shape.params()
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("TERMS", self.shape.terms() as f64),
            ("PLANES", self.mode.planes() as f64),
            ("LANES", lanes(self.shape.words()) as f64),
        ]
    }

    fn grid(&self) -> Grid {
        let rows = WIDTH / lanes(self.shape.words());
        Grid {
            groups: self.shape.piece_rows.div_ceil(rows) as u32,
            batch: self.shape.rows as u32,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        lengths(&self.shape, self.mode)
    }

    fn cost(&self) -> Cost {
        cost(&self.shape, self.mode)
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        reference(&self.shape, self.mode, b);
    }

    fn host(&self, b: &mut Bindings<'_>) {
        on_host(&self.shape, self.mode, b);
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        bench::phase_gemv()
    }

    fn cases() -> Vec<Case<Self>> {
        cases(|shape, mode| PhaseGemv { shape, mode })
    }
}

impl Op for PhaseGemm {
    const NAME: &'static str = "phase_gemm";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        phase / "phase_gemm",
        "wide",
        "bits",
        "accumulate",
        "stack",
        "planes",
        "terms",
        "transposed",
        "load_codes"
    )];
    const BINDINGS: &'static [Binding] = BINDINGS;
    const AGREE: Agree = Agree::Bits;
    type Params = PhaseParams;

    fn params(&self) -> PhaseParams {
        self.shape.params()
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("TERMS", self.shape.terms() as f64),
            ("PLANES", self.mode.planes() as f64),
        ]
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: self.shape.piece_rows.div_ceil(16) as u32,
            batch: self.shape.rows.div_ceil(32) as u32,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        lengths(&self.shape, self.mode)
    }

    fn cost(&self) -> Cost {
        cost(&self.shape, self.mode)
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        reference(&self.shape, self.mode, b);
    }

    fn host(&self, b: &mut Bindings<'_>) {
        on_host(&self.shape, self.mode, b);
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        bench::phase_gemm()
    }

    fn cases() -> Vec<Case<Self>> {
        cases(|shape, mode| PhaseGemm { shape, mode })
    }
}

pub(super) fn lengths(shape: &PhaseShape, mode: Activations) -> Vec<usize> {
    let q = shape.rows * QuantizeAct::row_words(shape.in_features, mode);
    shape.lengths([q, shape.rows])
}

pub(super) fn cost(shape: &PhaseShape, mode: Activations) -> Cost {
    shape.cost((shape.rows * shape.in_features * mode.planes()) as f64)
}

pub(super) fn on_host(shape: &PhaseShape, mode: Activations, b: &mut Bindings<'_>) {
    let (codes, q): (&[u32], &[u32]) = (b.read(0), b.read(1));
    let (absmax, cells): (&[f32], &[u32]) = (b.read(2), b.read(3));
    cpu::product(shape, mode, codes, q, absmax, cells, b.write(4));
}

/// What the products mean: codes decoded one by one, integer sums per group, the scales as integers.
pub(super) fn reference(shape: &PhaseShape, mode: Activations, b: &mut Bindings<'_>) {
    let (codes, q): (&[u32], &[u8]) = (b.read(0), b.read(1));
    let (absmax, cells): (&[f32], &[u32]) = (b.read(2), b.read(3));
    let y: &mut [f32] = b.write(4);
    for token in 0..shape.rows {
        for local in 0..shape.piece_rows {
            let (cell, at_re, at_im) = shape.place(shape.first_row + local);
            let cell = &cells[cell * shape.cell_words()..][..shape.cell_words()];
            let mut sum = [0i128; 2];
            for term in 0..shape.terms() {
                let conj = if term >= shape.stages { -1 } else { 1 };
                for column in 0..shape.in_features.div_ceil(2) {
                    let group = column / COLUMNS_PER_WORD / shape.group_words;
                    let at = 1 + (group * shape.terms() + term) * 2;
                    let [xr, xi] = integer_at(q, shape, mode, token, column);
                    let (re, im) = unit(shape.code(codes, local, term, column));
                    let wr = i128::from(re) * i128::from(cell[at]);
                    let wi = i128::from(im) * i128::from(cell[at + 1]);
                    let (xr, xi) = (i128::from(xr), i128::from(conj * xi));
                    sum[0] += wr * xr - wi * xi;
                    sum[1] += wr * xi + wi * xr;
                }
            }
            let y = &mut y[token * shape.outputs()..][..shape.outputs()];
            for (part, at) in [(0, Some(at_re)), (1, at_im)] {
                let Some(at) = at else { continue };
                let value = fixed::to_f32(sum[part] as i64, absmax[token], cell[0] as i32);
                y[at] = if shape.accumulate {
                    y[at] + value
                } else {
                    value
                };
            }
        }
    }
}

fn cases<O: Op>(make: impl Fn(PhaseShape, Activations) -> O) -> Vec<Case<O>> {
    let mut cases = Vec::new();
    for mode in [Activations::Int16, Activations::Int8] {
        for (name, shape) in case_shapes() {
            let data = data_of(&shape, mode);
            cases.push(Case::new(
                format!("{name}, {mode:?}"),
                make(shape, mode),
                data,
            ));
        }
    }
    cases
}

/// Bindings of a case of `shape`.
pub(super) fn data_of(shape: &PhaseShape, mode: Activations) -> Vec<Data> {
    let x = noise(10, shape.rows * shape.in_features, 3.0);
    let activations = rounded(&x, shape.rows, mode).map(Data::Words);
    case_data(shape, activations, |scales, cells| {
        integer_cells(scales, cells, mode)
    })
}

/// `q` and `absmax` of rows of activations.
pub(super) fn rounded(x: &[f32], rows: usize, mode: Activations) -> [Vec<u32>; 2] {
    let columns = x.len() / rows;
    let round = QuantizeAct {
        rows,
        columns,
        mode,
    };
    let mut q = vec![0; rows * QuantizeAct::row_words(columns, mode)];
    let mut absmax = vec![0; rows];
    let mut b = Bindings::new();
    b.push_read(bytemuck::cast_slice(x));
    b.push_write(&mut q);
    b.push_write(&mut absmax);
    round.reference(&mut b);
    [q, absmax]
}
