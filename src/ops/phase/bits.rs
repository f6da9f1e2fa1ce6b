//! Exact products with many tokens by cooperative matrices: bit planes of codes times byte planes of tokens.

use super::integer::{BINDINGS_HELD, cost, data_of, lengths, on_host, reference};
use super::*;

/// Complex rows of a workgroup.
const ROWS: usize = 16;
/// Byte planes of tokens in a tile.
const PLANES: usize = 16;
/// Tiles of a workgroup at most.
const MOST_TILES: usize = 2;

/// The same product as [`PhaseGemm`], to the bit: a code's bits and a token's bytes are small enough to be exact in
/// half precision, and their sums in f32. Bindings as [`PhaseGemm`].
#[derive(Debug, Clone)]
pub struct PhaseGemmBits {
    /// The stack.
    pub shape: PhaseShape,
    /// [`Activations::Int16`] or [`Activations::Int8`].
    pub mode: Activations,
}

impl PhaseGemmBits {
    /// Tokens from which it is faster than [`PhaseGemvRound`] for each of them (H200: 8 bits, five tokens 662 tokens/s
    /// instead of 720; 16 bits 554 instead of 515).
    pub const fn least_tokens(mode: Activations) -> usize {
        if mode.planes() == 1 { 6 } else { 5 }
    }

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
}

impl Op for PhaseGemmBits {
    const NAME: &'static str = "phase_gemm_bits";
    const SHADERS: &'static [Shader] = &[shader!(
        unchecked Needs { int16: true, int64: true, ..Needs::MATRIX },
        "phase_gemm_bits",
        "bit_tiles",
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
        vec![
            ("TERMS", self.shape.terms() as f64),
            ("PLANES", self.mode.planes() as f64),
            ("NB", self.tiles() as f64),
        ]
    }

    fn prelude(&self) -> &'static str {
        codes_prelude(self.shape.stages)
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: self.shape.piece_rows.div_ceil(ROWS) as u32,
            batch: self.planes().div_ceil(PLANES * self.tiles()) as u32,
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
        large::phase_gemm_bits()
    }

    fn cases() -> Vec<Case<Self>> {
        let mut cases = Vec::new();
        for mode in [Activations::Int16, Activations::Int8] {
            let mut add = |name: &str, shape: PhaseShape| {
                let data = data_of(&shape, mode);
                let op = Self { shape, mode };
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
