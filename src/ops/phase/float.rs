//! The products with f32 activations: what the papers' code computes.

use super::*;

/// Product of a stack with few tokens, f32 activations.
///
/// Bindings: `codes` [piece_rows, words, 2 T] u32 ([`interleaved`]); `x` [rows, in_features] f32; `cells`
/// [cells, 1 + groups * 2 T 2] u32 ([`float_cells`]); `y` [rows, outputs] f32.
#[derive(Debug, Clone)]
pub struct PhaseGemvFloat {
    /// The stack.
    pub shape: PhaseShape,
}

/// Product of a stack with many tokens, f32 activations: tiles of 32 complex rows by 64 tokens, for devices without
/// cooperative matrices. Codes become real 2x2 blocks in f32, so that a complex product costs one real one.
/// Bindings as [`PhaseGemvFloat`].
#[derive(Debug, Clone)]
pub struct PhaseGemmFloat {
    /// The stack.
    pub shape: PhaseShape,
}

const BINDINGS: &[Binding] = &[
    read("codes", Elem::U32),
    read("x", Elem::F32),
    read("cells", Elem::U32),
    write("y", Elem::F32),
];

/// f32 sums of up to 16384 terms against f64.
const AGREE: Agree = Agree::Nmse(1e-12);

const WIDTH: usize = 128;

impl Op for PhaseGemvFloat {
    const NAME: &'static str = "phase_gemv_float";
    const SHADERS: &'static [Shader] = &[
        shader!(unchecked Features::NONE, phase / "phase_gemv_float", "stack", "halves", "signs"),
    ];
    const BINDINGS: &'static [Binding] = BINDINGS;
    const AGREE: Agree = AGREE;
    type Params = PhaseParams;

    fn params(&self) -> PhaseParams {
        self.shape.params()
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("TERMS", self.shape.terms() as f64),
            ("LANES", integer::lanes(self.shape.words()) as f64),
        ]
    }

    fn prelude(&self) -> &'static str {
        codes_prelude(self.shape.stages)
    }

    fn grid(&self) -> Grid {
        let rows = 2 * WIDTH / integer::lanes(self.shape.words());
        Grid {
            groups: self.shape.piece_rows.div_ceil(rows) as u32,
            batch: self.shape.rows as u32,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        lengths(&self.shape)
    }

    fn cost(&self) -> Cost {
        cost(&self.shape)
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        reference(&self.shape, b);
    }

    fn host(&self, b: &mut Bindings<'_>) {
        cpu::float(&self.shape, b);
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        bench::phase_gemv_float()
    }

    fn cases() -> Vec<Case<Self>> {
        cases(|shape| PhaseGemvFloat { shape })
    }
}

impl Op for PhaseGemmFloat {
    const NAME: &'static str = "phase_gemm_float";
    const SHADERS: &'static [Shader] = &[
        shader!(unchecked Features::NONE, phase / "phase_gemm_float", "stack", "halves", "phase", "outer"),
    ];
    const BINDINGS: &'static [Binding] = BINDINGS;
    const AGREE: Agree = AGREE;
    type Params = PhaseParams;

    fn params(&self) -> PhaseParams {
        self.shape.params()
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        vec![("TERMS", self.shape.terms() as f64)]
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: (self.shape.piece_rows.div_ceil(32) * self.shape.rows.div_ceil(64)) as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        lengths(&self.shape)
    }

    fn cost(&self) -> Cost {
        cost(&self.shape)
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        reference(&self.shape, b);
    }

    fn host(&self, b: &mut Bindings<'_>) {
        cpu::float(&self.shape, b);
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        bench::phase_gemm_float()
    }

    fn cases() -> Vec<Case<Self>> {
        cases(|shape| PhaseGemmFloat { shape })
    }
}

fn lengths(shape: &PhaseShape) -> Vec<usize> {
    let mut all = shape.lengths([shape.rows * shape.in_features, 0]);
    all.remove(2); // no absmax
    all
}

fn cost(shape: &PhaseShape) -> Cost {
    shape.cost(4.0 * (shape.rows * shape.in_features) as f64)
}

/// What both products mean: codes decoded one by one, sums in f64.
pub(super) fn reference(shape: &PhaseShape, b: &mut Bindings<'_>) {
    let (codes, x, cells): (&[u32], &[f32], &[f32]) = (b.read(0), b.read(1), b.read(2));
    let y: &mut [f32] = b.write(3);
    let half = shape.in_features.div_ceil(2);
    for token in 0..shape.rows {
        let x = &x[token * shape.in_features..][..shape.in_features];
        for local in 0..shape.piece_rows {
            let (cell, at_re, at_im) = shape.place(shape.first_row + local);
            let cell = &cells[cell * shape.cell_words()..][..shape.cell_words()];
            let mut sum = [0f64; 2];
            for term in 0..shape.terms() {
                let conj = if term >= shape.stages { -1.0 } else { 1.0 };
                for column in 0..half {
                    let group = column / COLUMNS_PER_WORD / shape.group_words;
                    let at = 1 + (group * shape.terms() + term) * 2;
                    let xr = f64::from(x[column]);
                    let xi = conj * x.get(half + column).map_or(0.0, |&v| f64::from(v));
                    let (re, im) = unit(shape.code(codes, local, term, column));
                    let wr = f64::from(re) * f64::from(cell[at]);
                    let wi = f64::from(im) * f64::from(cell[at + 1]);
                    sum[0] += wr * xr - wi * xi;
                    sum[1] += wr * xi + wi * xr;
                }
            }
            let y = &mut y[token * shape.outputs()..][..shape.outputs()];
            for (part, at) in [(0, Some(at_re)), (1, at_im)] {
                let Some(at) = at else { continue };
                let before = if shape.accumulate {
                    f64::from(y[at])
                } else {
                    0.0
                };
                y[at] = (before + sum[part]) as f32;
            }
        }
    }
}

fn cases<O: Op>(make: impl Fn(PhaseShape) -> O) -> Vec<Case<O>> {
    case_shapes()
        .into_iter()
        .map(|(name, shape)| {
            let x = noise(10, shape.rows * shape.in_features, 3.0);
            let mut data = case_data(&shape, [Data::f32(&x), Data::Out(0)], float_cells);
            data.remove(2);
            Case::new(name, make(shape), data)
        })
        .collect()
}
