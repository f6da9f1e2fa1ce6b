//! Codes as dense weights: the product of very many tokens reads these instead of decoding codes again and again.

use super::codes::codes_prelude;
use super::phase_gemm_coop::real_weight_overrides;
use super::scale_blocks::float_scales;
use super::{PhaseShape, cases};
use crate::codebook::{COLUMNS_PER_WORD, unit};
use crate::ops::quantize::{Activations, Form};
use crate::ops::*;
use half::f16;

/// What expanded weights are multiplied by, so that small ones are normal in f16.
pub const LIFT: f32 = 64.0;

/// Complex rows of a workgroup.
const ROWS: usize = 8;

/// The real weights `(R11 R12; R21 R22)` of one layer of a stack in f16, times [`LIFT`]: the same that
/// [`super::PhaseGemmCoop`] makes for itself. Row r of them makes output r of the layer.
///
/// Bindings: `codes` [shard rows, words, planes] u32 ([`super::interleaved`]), the whole stack; `scale_blocks` [scale blocks,
/// 1 + planes * 2] u32 (as `mode` has them); `r` [outputs of the layer, in_features] f16.
#[derive(Debug, Clone)]
pub struct PhaseExpand {
    /// The stack, in one shard, that [`super::PhaseGemmCoop`] takes; its tokens do not matter.
    pub shape: PhaseShape,
    /// Which layer of it.
    pub layer: usize,
    /// The activations that `scale_blocks` were made for.
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

params! {
    /// Uniform block of [`PhaseExpand`].
    pub struct PhaseExpandParams {
        first: u32,
        rows: u32,
        words: u32,
        per_row: u32,
        layer: u32,
        run: u32,
    }
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
        read("scale_blocks", Elem::U32),
        write("r", Elem::F16x2),
    ];
    // sums of the stages are rounded to 11 bits, and what is made of two of them again
    const AGREE: Agree = Agree::Nmse(2e-7);
    type Params = PhaseExpandParams;

    fn shape(&self) -> String {
        format!(
            "{},layer={},act={}",
            self.shape.shape(),
            self.layer,
            self.mode
        )
    }

    fn params(&self) -> PhaseExpandParams {
        let (first, rows) = self.rows();
        PhaseExpandParams {
            first: first as u32,
            rows: rows as u32,
            words: self.shape.words() as u32,
            per_row: self.shape.per_row.into(),
            layer: self.layer as u32,
            run: match self.shape.half_run {
                0 => rows as u32,
                run => run as u32,
            },
        }
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        real_weight_overrides(&self.shape, self.mode)
    }

    fn prelude(&self) -> &'static str {
        codes_prelude(self.shape.planes())
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
            s.shard_rows * s.planes() * s.words(),
            s.scale_blocks() * s.scale_block_words(),
            self.words(),
        ]
    }

    fn cost(&self) -> Cost {
        let codes = self.rows().1 * self.shape.planes() * self.shape.words();
        Cost {
            bytes: 4.0 * (codes + self.words()) as f64,
            ops: (codes * COLUMNS_PER_WORD * 2) as f64,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let s = &self.shape;
        let codes: &[u32] = b.read(0);
        let blocks = float_scales(s, self.mode, b.read(1));
        let blocks: &[f32] = bytemuck::cast_slice(&blocks);
        let r: &mut [u16] = b.write(2);
        let ((first, rows), half) = (self.rows(), s.in_features / 2);
        let base: usize = s.segments[..self.layer].iter().sum();
        for row in 0..rows {
            let (block, re, im) = s.outputs_of(first + row);
            let outputs = [re, im.expect("layers are even")].map(|output| output - base);
            let block = &blocks[block * s.scale_block_words()..][..s.scale_block_words()];
            for column in 0..half {
                let mut sums = [[0f64; 2]; 2];
                for plane in 0..s.planes() {
                    let (re, im) = unit(s.code(codes, first + row, plane, column));
                    let sum = &mut sums[usize::from(s.conjugates(plane))];
                    sum[0] += f64::from(re) * f64::from(block[1 + plane * 2]);
                    sum[1] += f64::from(im) * f64::from(block[2 + plane * 2]);
                }
                let [u, w] = sums;
                let real = [u[0] + w[0], w[1] - u[1], u[1] + w[1], u[0] - w[0]];
                for (i, value) in real.into_iter().enumerate() {
                    let index = outputs[i / 2] * s.in_features + i % 2 * half + column;
                    r[index] = f16::from_f64(value * f64::from(LIFT)).to_bits();
                }
            }
        }
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        let data = [Made::Bits, Made::Zeros, Made::Zeros];
        cases::bench_layers(1, &data, |shape, _| Self {
            shape,
            layer: 0,
            mode: Activations::Int16,
        })
    }

    fn cases() -> Vec<Case<Self>> {
        use Form::{Conjugate, WidelyLinear};
        let mut all = Vec::new();
        for (form, stages, half_run, per_row, mode) in [
            (WidelyLinear, 1, 0, false, Activations::Int16),
            (WidelyLinear, 2, 0, false, Activations::Int16),
            (WidelyLinear, 2, 0, false, Activations::Int8),
            (WidelyLinear, 2, 0, true, Activations::Float),
            (WidelyLinear, 2, 0, true, Activations::Int16),
            (WidelyLinear, 2, 16, false, Activations::Int16),
            (Conjugate, 1, 0, false, Activations::Int8),
            (Conjugate, 1, 32, false, Activations::Int8),
            (Conjugate, 2, 16, true, Activations::Int16),
            (Conjugate, 3, 0, true, Activations::Float),
            (Conjugate, 3, 64, false, Activations::Int8),
            (Conjugate, 4, 0, false, Activations::Int16),
            (Conjugate, 4, 32, true, Activations::Int8),
        ] {
            for layer in [0, 1] {
                let shape = PhaseShape {
                    per_row,
                    form,
                    half_run,
                    ..PhaseShape::whole(&[128, 256, 128], 1, 192, stages)
                };
                let [codes, blocks, _] = cases::stack(&shape, mode);
                let op = Self { shape, layer, mode };
                let r = Data::Out(op.words());
                all.push(Case::new("", op, vec![codes, blocks, r]));
            }
        }
        all
    }
}
