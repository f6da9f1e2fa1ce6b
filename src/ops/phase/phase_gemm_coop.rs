//! Products of many tokens in f16 by cooperative matrices: codes become real 2x2 blocks, sums are f32.

use super::codes::codes_prelude;
use super::scale_blocks::float_scales;
use super::{PhaseParams, PhaseShape, cases, float};
use crate::ops::bench::PROMPT;
use crate::ops::matmul::COOP_TOKENS;
use crate::ops::quantize::Activations;
use crate::ops::*;
use half::f16;

/// Complex rows of a tile.
const ROWS: usize = 64;

/// Product of a stack with many tokens in f16: the codes of U and W, or of W alone, become real weights
/// `(R11 R12; R21 R22)` in f16 (by tables of each row's scales), so that a complex product costs one real one.
///
/// Bindings: `codes` [shard rows, words, planes] u32 ([`super::interleaved`]); `x` [tokens, in_features] f16; `scale_blocks`
/// [scale blocks, 1 + planes * 2] u32 (as `mode` has them); `y` [tokens, outputs] f32; `tokens` is rounded up to
/// [`COOP_TOKENS`], and all of them are computed.
#[derive(Debug, Clone)]
pub struct PhaseGemmCoop {
    /// The stack.
    pub shape: PhaseShape,
    /// The activations that `scale_blocks` were made for.
    pub mode: Activations,
}

impl PhaseGemmCoop {
    /// Whether the kernel takes the stack: whole tiles, at most four planes, no groups of scales, and runs of outputs that a
    /// cooperative matrix writes at once.
    pub fn fits(shape: &PhaseShape) -> bool {
        let tiles = |rows: usize| rows.is_multiple_of(ROWS);
        shape.planes() <= 4
            && shape.half_run.is_multiple_of(16)
            && shape.groups() == 1
            && shape.in_features.is_multiple_of(64)
            && shape.segments.iter().all(|s| s.is_multiple_of(2 * ROWS))
            && tiles(shape.first_row)
            && tiles(shape.shard_rows)
    }

    fn padded(&self) -> PhaseShape {
        PhaseShape {
            tokens: self.shape.tokens.next_multiple_of(COOP_TOKENS),
            ..self.shape.clone()
        }
    }
}

/// Overrides of kernels that turn codes into real weights.
pub(super) fn real_weight_overrides(
    shape: &PhaseShape,
    mode: Activations,
) -> Vec<(&'static str, f64)> {
    let levels = match mode {
        Activations::Float => 0,
        mode => mode.levels(),
    };
    let planes = float::plane_overrides(shape);
    let levels = ("LEVELS", f64::from(levels));
    planes.into_iter().chain([levels]).collect()
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
        read("scale_blocks", Elem::U32),
        write("y", Elem::F32),
    ];
    // weights are rounded to 11 bits twice: an error of 2^-12 of each, evenly spread
    const AGREE: Agree = Agree::Nmse(2e-7);
    type Params = PhaseParams;

    fn shape(&self) -> String {
        format!("{},act={}", self.shape.shape(), self.mode)
    }

    fn params(&self) -> PhaseParams {
        debug_assert!(Self::fits(&self.shape), "{}", self.shape());
        self.shape.params()
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        let weights = real_weight_overrides(&self.shape, self.mode).into_iter();
        weights.chain(self.shape.runs()).collect()
    }

    fn prelude(&self) -> &'static str {
        codes_prelude(self.shape.planes())
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: (self.shape.tokens.div_ceil(COOP_TOKENS) * (self.shape.shard_rows / ROWS))
                as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        let shape = self.padded();
        vec![
            shape.shard_rows * shape.planes() * shape.words(),
            shape.tokens * shape.in_features / 2,
            shape.scale_blocks() * shape.scale_block_words(),
            shape.tokens * shape.outputs(),
        ]
    }

    fn cost(&self) -> Cost {
        let s = &self.shape;
        let flops = 2.0 * (s.tokens * s.in_features) as f64 * (2 * s.shard_rows) as f64;
        Cost {
            ops: flops,
            ..s.cost(2.0 * (s.tokens * s.in_features) as f64)
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (shape, x): (_, &[u16]) = (self.padded(), b.read(1));
        let x: Vec<u32> = x[..shape.tokens * shape.in_features]
            .iter()
            .map(|h| f16::from_bits(*h).to_f32().to_bits())
            .collect();
        let blocks = float_scales(&self.shape, self.mode, b.read(2));
        let mut inner = Bindings::new();
        inner.push_read(b.read(0));
        inner.push_read(&x);
        inner.push_read(&blocks);
        inner.push_write(b.write(3));
        float::reference(&shape, &mut inner);
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        let data = [Made::Bits, Made::Halves, Made::Zeros, Made::Zeros];
        cases::bench_layers(PROMPT, &data, |shape, _| Self {
            shape,
            mode: Activations::Int16,
        })
    }

    fn cases() -> Vec<Case<Self>> {
        cases::coop()
            .into_iter()
            .map(|(shape, mode)| {
                let op = Self { shape, mode };
                let padded = op.padded();
                let x = noise(16, padded.tokens * padded.in_features, 3.0);
                let stride = padded.in_features / 2;
                let x = MatrixDtype::F16.encode_rows(&x, padded.in_features, stride);
                let [codes, blocks, y] = cases::stack(&padded, mode);
                Case::new("", op, vec![codes, Data::Words(x), blocks, y])
            })
            .collect()
    }
}
