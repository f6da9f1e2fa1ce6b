//! The product with cooperative matrices: real 2x2 blocks in half precision, sums in f32.

use super::*;
use half::f16;

/// Tokens of a tile: buffers hold a multiple of so many.
pub const COOP_TOKENS: usize = 128;
/// Complex rows of a tile.
const ROWS: usize = 64;

/// Product of a stack with many tokens in f16: the codes of U and W become real weights
/// `(R11 R12; R21 R22)` in f16 (by the way of tables of each row's scales), so that a complex product costs one real one.
///
/// Bindings: `codes` [piece_rows, words, 2 T] u32 ([`interleaved`]); `x` [tokens, in_features] f16; `cells`
/// [cells, 1 + 2 T 2] u32 (as `mode` has them); `y` [tokens, outputs] f32; `tokens` is `rows` rounded up to
/// [`COOP_TOKENS`], and all of them are computed.
#[derive(Debug, Clone)]
pub struct PhaseGemmCoop {
    /// The stack.
    pub shape: PhaseShape,
    /// What `cells` were made for.
    pub mode: Activations,
}

impl PhaseGemmCoop {
    /// Whether the kernel takes the stack: whole tiles, one or two stages, no groups of scales.
    pub fn fits(shape: &PhaseShape) -> bool {
        let tiles = |rows: usize| rows.is_multiple_of(ROWS);
        shape.stages <= 2
            && shape.groups() == 1
            && shape.in_features.is_multiple_of(64)
            && shape.segments.iter().all(|s| s.is_multiple_of(2 * ROWS))
            && tiles(shape.first_row)
            && tiles(shape.piece_rows)
    }

    fn padded(&self) -> PhaseShape {
        PhaseShape {
            rows: self.shape.rows.next_multiple_of(COOP_TOKENS),
            ..self.shape.clone()
        }
    }
}

/// The cells of a stack with their scales as f32.
pub(super) fn float_scales(shape: &PhaseShape, mode: Activations, cells: &[u32]) -> Vec<u32> {
    let mut cells = cells[..shape.cells() * shape.cell_words()].to_vec();
    if mode != Activations::Float {
        for cell in cells.chunks_exact_mut(shape.cell_words()) {
            let unit = 2f64.powi(cell[0] as i32) * f64::from(mode.levels());
            for scale in &mut cell[1..] {
                *scale = ((f64::from(*scale) * unit) as f32).to_bits();
            }
        }
    }
    cells
}

/// What kernels that make real weights must know of the codes and their scales.
pub(super) fn overrides(shape: &PhaseShape, mode: Activations) -> Vec<(&'static str, f64)> {
    let levels = match mode {
        Activations::Float => 0,
        mode => mode.levels(),
    };
    vec![
        ("TERMS", shape.terms() as f64),
        ("LEVELS", f64::from(levels)),
    ]
}

impl Op for PhaseGemmCoop {
    const NAME: &'static str = "phase_gemm_coop";
    const SHADERS: &'static [Shader] = &[shader!(
        unchecked Features::MATRIX,
        phase / "phase_gemm_coop",
        "coop_tile",
        "coop_order",
        "quad",
        "real_codes",
        "stack"
    )];
    const BINDINGS: &'static [Binding] = &[
        prefetched("codes", Elem::U32),
        prefetched("x", Elem::F16x2),
        read("cells", Elem::U32),
        write("y", Elem::F32),
    ];
    // weights are rounded to 11 bits twice: an error of 2^-12 of each, evenly spread
    const AGREE: Agree = Agree::Nmse(2e-7);
    type Params = PhaseParams;

    fn params(&self) -> PhaseParams {
        self.shape.params()
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        overrides(&self.shape, self.mode)
    }

    fn prelude(&self) -> &'static str {
        codes_prelude(self.shape.stages)
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: (self.shape.rows.div_ceil(COOP_TOKENS) * (self.shape.piece_rows / ROWS)) as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        let shape = self.padded();
        vec![
            shape.piece_rows * shape.terms() * shape.words(),
            shape.rows * shape.in_features / 2,
            shape.cells() * shape.cell_words(),
            shape.rows * shape.outputs(),
        ]
    }

    fn cost(&self) -> Cost {
        let s = &self.shape;
        let flops = 2.0 * (s.rows * s.in_features) as f64 * (2 * s.piece_rows) as f64;
        Cost {
            ops: flops,
            ..s.cost(2.0 * (s.rows * s.in_features) as f64)
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (shape, x): (_, &[u16]) = (self.padded(), b.read(1));
        let x: Vec<u32> = x[..shape.rows * shape.in_features]
            .iter()
            .map(|h| f16::from_bits(*h).to_f32().to_bits())
            .collect();
        let cells = float_scales(&self.shape, self.mode, b.read(2));
        let mut inner = Bindings::new();
        inner.push_read(b.read(0));
        inner.push_read(&x);
        inner.push_read(&cells);
        inner.push_write(b.write(3));
        float::reference(&shape, &mut inner);
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        bench::phase_gemm_coop()
    }

    fn cases() -> Vec<Case<Self>> {
        let shape = |segments: &[usize], in_features, stages, rows| PhaseShape {
            segments: segments.to_vec(),
            in_features,
            stages,
            per_row: false,
            group_words: usize::MAX,
            first_row: 0,
            piece_rows: segments.iter().map(|s| s / 2).sum(),
            accumulate: false,
            rows,
        };
        let two = shape(&[128, 256, 128], 128, 2, 128);
        let all = [
            ("one tile", shape(&[128], 64, 1, 128), Activations::Int16),
            ("stacked", two.clone(), Activations::Int16),
            ("f32 scales", two.clone(), Activations::Float),
            ("8 bits", two.clone(), Activations::Int8),
            (
                "few tokens",
                shape(&[128, 128], 192, 2, 5),
                Activations::Int16,
            ),
            (
                "two tiles of tokens",
                shape(&[256], 64, 2, 200),
                Activations::Int16,
            ),
        ];
        let change = |change: &dyn Fn(&mut PhaseShape)| {
            let mut shape = two.clone();
            change(&mut shape);
            shape
        };
        let per_row = change(&|s| s.per_row = true);
        let adding = change(&|s| s.accumulate = true);
        let piece = change(&|s| (s.first_row, s.piece_rows) = (64, 128));
        let more = [
            ("per row", per_row),
            ("accumulating", adding),
            ("a piece", piece),
        ];
        let more = more.map(|(name, shape)| (name, shape, Activations::Int16));
        all.into_iter()
            .chain(more)
            .map(|(name, shape, mode)| case(name, shape, mode))
            .collect()
    }
}

fn case(name: &str, shape: PhaseShape, mode: Activations) -> Case<PhaseGemmCoop> {
    let op = PhaseGemmCoop { shape, mode };
    let padded = op.padded();
    let x = noise(16, padded.rows * padded.in_features, 3.0);
    let x = MatrixDtype::F16.encode_rows(&x, padded.in_features, padded.in_features / 2);
    let cells = |scales: &[f32], cells| match mode {
        Activations::Float => float_cells(scales, cells),
        mode => integer_cells(scales, cells, mode),
    };
    let data = case_data(&padded, [Data::u32(&x), Data::u32(&[])], cells);
    let mut data = data.into_iter();
    let (codes, x) = (data.next(), data.next());
    let data = codes.into_iter().chain(x).chain(data.skip(1)).collect();
    Case::new(name, op, data)
}
