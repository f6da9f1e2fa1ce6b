//! Codes as dense weights: what the product of very many tokens reads instead of decoding them again and again.

use super::*;
use half::f16;

/// What expanded weights are multiplied with, so that small ones are normal in f16.
pub const LIFT: f32 = 64.0;

/// Complex rows of a workgroup.
const ROWS: usize = 8;

/// The real weights `(R11 R12; R21 R22)` of one layer of a stack in f16, times [`LIFT`]: the same that
/// [`PhaseGemmCoop`] makes for itself.
///
/// Bindings: `codes` [piece_rows, words, 2 T] u32 ([`interleaved`]), the whole stack; `cells` [cells, 1 + 2 T 2] u32 (as
/// `mode` has them); `r` [outputs of the layer, in_features] f16.
#[derive(Debug, Clone)]
pub struct PhaseExpand {
    /// The stack, in one piece, that [`PhaseGemmCoop`] takes; its tokens do not matter.
    pub shape: PhaseShape,
    /// Which layer of it.
    pub layer: usize,
    /// What `cells` were made for.
    pub mode: Activations,
}

impl PhaseExpand {
    /// First complex row of the layer and how many it has.
    fn rows(&self) -> (usize, usize) {
        let halves = |layers: &[usize]| layers.iter().map(|s| s.div_ceil(2)).sum();
        let segments = &self.shape.segments;
        (
            halves(&segments[..self.layer]),
            segments[self.layer].div_ceil(2),
        )
    }

    /// Words that the weights of the layer take.
    pub fn words(&self) -> usize {
        self.shape.segments[self.layer] * self.shape.in_features / 2
    }
}

/// Uniform block of [`PhaseExpand`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct PhaseExpandParams {
    first: u32,
    rows: u32,
    words: u32,
    per_row: u32,
    layer: u32,
}

impl Op for PhaseExpand {
    const NAME: &'static str = "phase_expand";
    const SHADERS: &'static [Shader] = &[shader!(
        unchecked Features { f16: true, ..Features::NONE },
        phase / "phase_expand",
        "real_codes"
    )];
    const BINDINGS: &'static [Binding] = &[
        read("codes", Elem::U32),
        read("cells", Elem::U32),
        write("r", Elem::F16x2),
    ];
    // sums of the stages are rounded to 11 bits, and what is made of two of them again
    const AGREE: Agree = Agree::Nmse(2e-7);
    type Params = PhaseExpandParams;

    fn params(&self) -> PhaseExpandParams {
        let (first, rows) = self.rows();
        PhaseExpandParams {
            first: first as u32,
            rows: rows as u32,
            words: self.shape.words() as u32,
            per_row: self.shape.per_row.into(),
            layer: self.layer as u32,
        }
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        coop::overrides(&self.shape, self.mode)
    }

    fn prelude(&self) -> &'static str {
        codes_prelude(self.shape.stages)
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: self.rows().1.div_ceil(ROWS) as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        let s = &self.shape;
        vec![
            s.piece_rows * s.terms() * s.words(),
            s.cells() * s.cell_words(),
            self.words(),
        ]
    }

    fn cost(&self) -> Cost {
        let codes = self.rows().1 * self.shape.terms() * self.shape.words();
        Cost {
            bytes: 4.0 * (codes + self.words()) as f64,
            ops: (codes * COLUMNS_PER_WORD * 2) as f64,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let s = &self.shape;
        let codes: &[u32] = b.read(0);
        let cells = coop::float_scales(s, self.mode, b.read(1));
        let cells: &[f32] = bytemuck::cast_slice(&cells);
        let r: &mut [u16] = b.write(2);
        let ((first, rows), half) = (self.rows(), s.in_features / 2);
        for row in 0..rows {
            let cell = s.place(first + row).0;
            let cell = &cells[cell * s.cell_words()..][..s.cell_words()];
            for column in 0..half {
                let mut sums = [[0f64; 2]; 2];
                for term in 0..s.terms() {
                    let (re, im) = unit(s.code(codes, first + row, term, column));
                    let sum = &mut sums[term / s.stages];
                    sum[0] += f64::from(re) * f64::from(cell[1 + term * 2]);
                    sum[1] += f64::from(im) * f64::from(cell[2 + term * 2]);
                }
                let [u, w] = sums;
                let block = [u[0] + w[0], w[1] - u[1], u[1] + w[1], u[0] - w[0]];
                for (i, value) in block.into_iter().enumerate() {
                    let at = (row + i / 2 * rows) * s.in_features + i % 2 * half + column;
                    r[at] = f16::from_f64(value * f64::from(LIFT)).to_bits();
                }
            }
        }
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        bench::phase_expand()
    }

    fn cases() -> Vec<Case<Self>> {
        let mut cases = Vec::new();
        for (name, stages, per_row, mode) in [
            ("one stage", 1, false, Activations::Int16),
            ("two stages", 2, false, Activations::Int16),
            ("8 bits", 2, false, Activations::Int8),
            ("f32 scales", 2, true, Activations::Float),
            ("per row", 2, true, Activations::Int16),
        ] {
            let segments = vec![128, 256, 128];
            let shape = PhaseShape {
                piece_rows: segments.iter().map(|s| s / 2).sum(),
                segments,
                in_features: 192,
                stages,
                per_row,
                group_words: usize::MAX,
                first_row: 0,
                accumulate: false,
                rows: 1,
            };
            for layer in [0, 1] {
                let shape = shape.clone();
                let op = Self { shape, layer, mode };
                cases.push(case(&format!("{name}, layer {layer}"), op));
            }
        }
        cases
    }
}

fn case(name: &str, op: PhaseExpand) -> Case<PhaseExpand> {
    let cells = |scales: &[f32], cells| match op.mode {
        Activations::Float => float_cells(scales, cells),
        mode => integer_cells(scales, cells, mode),
    };
    let none = [Data::u32(&[]), Data::u32(&[])];
    let mut data = case_data(&op.shape, none, cells).into_iter();
    let (codes, cells) = (data.next(), data.nth(2));
    let out = Data::Out(op.words());
    let data = codes.into_iter().chain(cells).chain([out]).collect();
    Case::new(name, op, data)
}
