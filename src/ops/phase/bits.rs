//! Exact products with many tokens by cooperative matrices: bit planes of codes times byte planes of tokens.

use super::integer::{BINDINGS_HELD, cost, data_of, lengths, on_host, reference};
use super::*;

/// Complex rows of a subgroup.
const ROWS: usize = 8;
/// Byte planes of tokens in a tile.
const PLANES: usize = 16;
/// Tiles of a workgroup at most.
const MOST_TILES: usize = 2;
/// Subgroups with rows of their own in a workgroup at least: as many as bring the bytes of two tiles.
const LEAST_ROWS: usize = 2;
/// Bytes of workgroup memory, which one workgroup on each processor fills (the H200's Vulkan driver gives all of a
/// processor about 50 KiB together): totals of byte planes, a subgroup's bits of a stage, its sums of a term, bytes of a
/// block for each part of a row and each tile.
const TOTALS: usize = 4 * 2 * PLANES;
const BITS: usize = 8 * ROWS * 24 * 2;
const SUMS: usize = PLANES * PLANES * 4;
const BYTES: usize = PLANES * 72 * 2;
/// Subgroups that a processor runs side by side.
const SIDE_BY_SIDE: usize = 4;
/// Parts of a row at most.
const MOST_PARTS: usize = 6;

/// How a workgroup is made of subgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    /// Those with rows of their own.
    rows: usize,
    /// Those that share rows, each with another part of them.
    parts: usize,
}

impl Layout {
    fn fits(self, tiles: usize) -> bool {
        let all = self.rows * self.parts;
        TOTALS + all * (BITS + SUMS) + self.parts * tiles * BYTES <= MATRIX_WORKGROUP_BYTES
    }

    /// How long its processor takes for a row; if that is the same, more subgroups hide each other's waiting.
    fn cost(&self) -> (usize, usize) {
        let busiest = (self.rows * self.parts).div_ceil(SIDE_BY_SIDE);
        // every number of parts divides this
        (60 * busiest / self.parts, MOST_PARTS - self.parts)
    }
}

/// The same product as [`PhaseGemm`], to the bit: a code's bits and a token's bytes are small enough to be exact in
/// half precision, and their sums in f32. Bindings as [`PhaseGemm`].
#[derive(Debug, Clone)]
pub struct PhaseGemmBits {
    /// The stack.
    pub shape: PhaseShape,
    /// [`Activations::Int16`] or [`Activations::Int8`].
    pub mode: Activations,
    /// Workgroups that fill the device to the end.
    pub processors: usize,
}

impl PhaseGemmBits {
    /// Whether the kernel takes the stack: two stages, no groups of scales.
    pub fn fits(shape: &PhaseShape) -> bool {
        shape.stages == 2 && shape.groups() == 1
    }

    fn planes(&self) -> usize {
        self.shape.rows * 2 * self.mode.planes()
    }

    fn tiles(&self) -> usize {
        self.planes().div_ceil(PLANES).min(MOST_TILES)
    }

    /// Workgroups of the same rows.
    fn batch(&self) -> usize {
        self.planes().div_ceil(PLANES * self.tiles())
    }

    fn layout(&self) -> Layout {
        let tiles = self.tiles();
        let made = |rows, parts| Layout { rows, parts };
        let most = (LEAST_ROWS..)
            .take_while(|&rows| made(rows, 1).fits(tiles))
            .last();
        let most = most.unwrap_or(LEAST_ROWS);
        // workgroups of a size that fills the device to the end
        let all = self.shape.piece_rows.div_ceil(ROWS) * self.batch();
        let times = all.div_ceil(self.processors * most).max(1);
        let rows = all
            .div_ceil(self.processors * times)
            .clamp(LEAST_ROWS, most);
        let layouts = (1..=MOST_PARTS).map(|parts| made(rows, parts));
        let layouts = layouts.filter(|layout| layout.fits(tiles));
        layouts.min_by_key(Layout::cost).unwrap_or(made(rows, 1))
    }
}

impl Op for PhaseGemmBits {
    const NAME: &'static str = "phase_gemm_bits";
    const SHADERS: &'static [Shader] = &[shader!(
        unchecked Features { subgroup: true, int64: true, ..Features::MATRIX },
        phase / "phase_gemm_bits",
        "bit_source",
        "bit_tiles",
        "quad",
        "bit_products",
        "bit_sums",
        "wide64",
        "bits",
        "accumulate",
        "stack",
        "planes"
    )];
    const BINDINGS: &'static [Binding] = BINDINGS_HELD;
    const AGREE: Agree = Agree::Bits;
    type Params = PhaseParams;

    fn params(&self) -> PhaseParams {
        self.shape.params()
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        let layout = self.layout();
        vec![
            ("TERMS", self.shape.terms() as f64),
            ("PLANES", self.mode.planes() as f64),
            ("NB", self.tiles() as f64),
            ("ROWS", layout.rows as f64),
            ("PARTS", layout.parts as f64),
        ]
    }

    fn prelude(&self) -> &'static str {
        codes_prelude(self.shape.stages)
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: self.shape.piece_rows.div_ceil(ROWS * self.layout().rows) as u32,
            batch: self.batch() as u32,
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
        bench::phase_gemm_bits()
    }

    fn cases() -> Vec<Case<Self>> {
        let mut cases = Vec::new();
        for mode in [Activations::Int16, Activations::Int8] {
            let mut add = |name: &str, shape: PhaseShape| {
                let data = data_of(&shape, mode);
                let op = Self {
                    shape,
                    mode,
                    processors: [132, 2][cases.len() % 2],
                };
                cases.push(Case::new(format!("{name}, {mode:?}"), op, data));
            };
            let shapes = case_shapes().into_iter();
            for (name, shape) in shapes.filter(|(_, shape)| Self::fits(shape)) {
                add(name, shape.clone());
                // a tile in part, whole, and more than two
                for rows in [4, 5, 16, 19] {
                    add(
                        &format!("{name}, {rows} tokens"),
                        PhaseShape {
                            rows,
                            ..shape.clone()
                        },
                    );
                }
            }
        }
        cases
    }
}
