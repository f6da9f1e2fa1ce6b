//! Exact products with many tokens by cooperative matrices: bit planes of codes times byte planes of tokens.

use super::codes::codes_prelude;
use super::{PhaseParams, PhaseShape, cases, integer};
use crate::ops::bench::{BENCH_PROCESSORS, PROMPT};
use crate::ops::quantize::{Activations, Form};
use crate::ops::*;

/// Complex rows of a subgroup.
const ROWS: usize = 8;
/// Byte planes of tokens in a tile.
const BYTE_PLANES: usize = 16;
/// Tiles of a workgroup at most.
const MOST_TILES: usize = 2;
/// Subgroups with rows of their own in a workgroup at least: with two of them, a workgroup reads the bytes of two tiles at
/// a time.
const LEAST_ROWS: usize = 2;
/// Bytes of workgroup memory that the totals of byte planes take.
const TOTALS: usize = 4 * 2 * BYTE_PLANES;
/// Bytes that the bits of a stage take, of one subgroup.
const BITS: usize = 8 * ROWS * 24 * 2;
/// Bytes that the sums of a plane take, of one subgroup.
const SUMS: usize = BYTE_PLANES * BYTE_PLANES * 4;
/// Bytes that a block of the tokens takes, for each slice of a row and each tile.
const BYTES: usize = BYTE_PLANES * 72 * 2;
/// Subgroups that a processor runs side by side.
const SIDE_BY_SIDE: usize = 4;
/// Slices of a row at most.
const MOST_SLICES: usize = 6;

/// How a workgroup is made of subgroups. One workgroup may take all the workgroup memory of a processor
/// ([`MATRIX_WORKGROUP_BYTES`]): its subgroups, not other workgroups, hide each other's waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    /// Subgroups with rows of their own.
    rows: usize,
    /// Subgroups that share rows: each sums another slice of the columns.
    slices: usize,
}

impl Layout {
    fn fits(self, tiles: usize) -> bool {
        let all = self.rows * self.slices;
        TOTALS + all * (BITS + SUMS) + self.slices * tiles * BYTES <= MATRIX_WORKGROUP_BYTES
    }

    /// How long a processor takes for a row; of equally good layouts the one with more subgroups is preferred.
    fn cost(&self) -> (usize, usize) {
        let busiest = (self.rows * self.slices).div_ceil(SIDE_BY_SIDE);
        // every number of slices divides 60
        (60 * busiest / self.slices, MOST_SLICES - self.slices)
    }
}

/// The same product as [`super::PhaseGemm`], to the bit: a code's bits and a token's bytes are small enough to be exact in
/// half precision, and their sums in f32. Bindings as [`super::PhaseGemm`].
#[derive(Debug, Clone)]
pub struct PhaseGemmBits {
    /// The stack.
    pub shape: PhaseShape,
    /// [`Activations::Int16`] or [`Activations::Int8`].
    pub mode: Activations,
    /// Workgroups that the device runs at a time.
    pub processors: usize,
}

impl PhaseGemmBits {
    /// Whether the kernel takes the stack: two stages of the widely-linear form, no groups of scales.
    pub fn fits(shape: &PhaseShape) -> bool {
        shape.form == Form::WidelyLinear
            && shape.half_run == 0
            && shape.stages == 2
            && shape.groups() == 1
    }

    /// Byte planes of all tokens.
    fn byte_planes(&self) -> usize {
        self.shape.tokens * 2 * self.mode.byte_planes()
    }

    fn tiles(&self) -> usize {
        self.byte_planes().div_ceil(BYTE_PLANES).min(MOST_TILES)
    }

    /// Workgroups that have the same rows.
    fn batch(&self) -> usize {
        self.byte_planes().div_ceil(BYTE_PLANES * self.tiles())
    }

    fn layout(&self) -> Layout {
        let tiles = self.tiles();
        let made = |rows, slices| Layout { rows, slices };
        let most = (LEAST_ROWS..)
            .take_while(|&rows| made(rows, 1).fits(tiles))
            .last();
        let most = most.unwrap_or(LEAST_ROWS);
        // as few rows as fill the device evenly in the same number of turns
        let all = self.shape.shard_rows.div_ceil(ROWS) * self.batch();
        let times = all.div_ceil(self.processors * most).max(1);
        let rows = all
            .div_ceil(self.processors * times)
            .clamp(LEAST_ROWS, most);
        let layouts = (1..=MOST_SLICES).map(|slices| made(rows, slices));
        let layouts = layouts.filter(|layout| layout.fits(tiles));
        layouts.min_by_key(Layout::cost).unwrap_or(made(rows, 1))
    }
}

impl Op for PhaseGemmBits {
    const NAME: &'static str = "phase_gemm_bits";
    const SHADERS: &'static [Shader] = &[
        shader!(unchecked Features { subgroup: true, int64: true, ..Features::MATRIX },
        phase / "phase_gemm_bits", "quad", "wide64", "bits", "accumulate", "stack", "planes", "bit_tiles", "bit_source", "bit_sums", "bit_results", "bit_products", "bit_block"),
    ];
    const BINDINGS: &'static [Binding] = integer::BINDINGS_PREFETCHED;
    const AGREE: Agree = Agree::Bits;
    type Params = PhaseParams;

    fn shape(&self) -> String {
        let (shape, mode, processors) = (self.shape.shape(), self.mode, self.processors);
        format!("{shape},act={mode},processors={processors}")
    }

    fn params(&self) -> PhaseParams {
        debug_assert!(Self::fits(&self.shape), "{}", self.shape());
        debug_assert!(self.layout().fits(self.tiles()), "{}", self.shape());
        debug_assert!(self.processors > 0, "{}", self.shape());
        integer::params(&self.shape, self.mode)
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        let layout = self.layout();
        vec![
            ("PLANES", self.shape.planes() as f64),
            ("BYTES", self.mode.byte_planes() as f64),
            ("NB", self.tiles() as f64),
            ("ROWS", layout.rows as f64),
            ("PARTS", layout.slices as f64),
        ]
    }

    fn prelude(&self) -> &'static str {
        codes_prelude(self.shape.planes())
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: self.shape.shard_rows.div_ceil(ROWS * self.layout().rows) as u32,
            batch: self.batch() as u32,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        integer::lengths(&self.shape, self.mode)
    }

    fn cost(&self) -> Cost {
        integer::cost(&self.shape, self.mode)
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        integer::reference(&self.shape, self.mode, b);
    }

    fn host(&self, b: &mut Bindings<'_>) {
        integer::on_host(&self.shape, self.mode, b);
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        // eight sequences that are decoded together, and a prompt
        let of = |tokens| {
            cases::bench_integer(tokens, |shape, mode| Self {
                shape,
                mode,
                processors: BENCH_PROCESSORS,
            })
        };
        [of(8), of(PROMPT)].concat()
    }

    fn cases() -> Vec<Case<Self>> {
        let mut all = Vec::new();
        for mode in Activations::INTEGERS {
            let shapes = cases::shapes().into_iter().filter(Self::fits);
            for shape in shapes.flat_map(tiles_of_tokens) {
                let data = cases::integer_data(&shape, mode);
                let op = Self {
                    shape,
                    mode,
                    // more than these shapes have rows for, or few
                    processors: [132, 2][all.len() % 2],
                };
                all.push(Case::new("", op, data));
            }
        }
        all
    }
}

/// The shape, and the same with tokens that fill a tile in part, whole, and more than two tiles.
fn tiles_of_tokens(shape: PhaseShape) -> Vec<PhaseShape> {
    let with = |tokens| PhaseShape {
        tokens,
        ..shape.clone()
    };
    let more = [4, 5, 16, 19].map(with);
    std::iter::once(shape.clone()).chain(more).collect()
}
