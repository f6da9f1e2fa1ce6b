//! Codes as dense weights: the product of very many tokens reads these instead of decoding codes again and again.

use super::codes::codes_prelude;
use super::phase_gemm_coop::real_weight_overrides;
use super::scale_blocks::float_scales;
use super::{CodeLayout, PhaseShape, cases};
use crate::codebook::{COLUMNS_PER_WORD, unit};
use crate::ops::quantize::Activations;
use crate::ops::*;
use half::f16;

/// What expanded weights are multiplied by, so that small ones are normal in f16.
pub const LIFT: f32 = 64.0;

/// Complex rows of a workgroup.
const ROWS: usize = 8;

/// The real weights `(R11 R12; R21 R22)` of one layer of a stack in f16, times [`LIFT`]. Row r of them makes output r of the
/// layer. Up to four planes without groups give the same bits as in [`super::PhaseGemmCoop`], which makes them for itself.
///
/// Bindings: `codes` [shard rows, words, planes] u32 ([`super::interleaved`]), the whole stack; `scale_blocks` [scale blocks,
/// 1 + groups * planes * 2] u32 (as `mode` has them); `r` [first_out + outputs of the layer, in_features] f16.
#[derive(Debug, Clone)]
pub struct PhaseExpand {
    /// The stack, in one shard; its tokens do not matter.
    pub shape: PhaseShape,
    /// Which layer of it.
    pub layer: usize,
    /// The row of `r` that is its first output.
    pub first_out: usize,
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

    /// Words of `r`.
    fn words(&self) -> usize {
        (self.first_out + self.shape.segments[self.layer]) * self.shape.in_features / 2
    }

    /// Whether the kernel takes the layers of a stack: a single shard, an even number of outputs each, and inputs that fill
    /// words of codes.
    pub fn fits(shape: &PhaseShape) -> bool {
        shape.shard_rows == shape.complex_rows()
            && shape.in_features.is_multiple_of(2 * COLUMNS_PER_WORD)
            && shape.segments.iter().all(|s| s.is_multiple_of(2))
            && shape.layout == CodeLayout::Rows
    }

    /// Whether weights are summed plane by plane instead of being looked up in tables.
    fn summed(&self) -> bool {
        self.shape.planes() > 4 || self.shape.groups() > 1
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
        group_words: u32,
        groups: u32,
        first_out: u32,
    }
}

impl Op for PhaseExpand {
    const NAME: &'static str = "phase_expand";
    const SHADERS: &'static [Shader] = &[shader!(
        unchecked Features { f16: true, ..Features::NONE },
        phase / "phase_expand",
        "real_codes",
        "real_sums"
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
            "{},layer={},act={}{}",
            self.shape.shape(),
            self.layer,
            self.mode,
            match self.first_out {
                0 => String::new(),
                first => format!(",first_out={first}"),
            }
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
            group_words: self.shape.group_words.min(self.shape.words()) as u32,
            groups: self.shape.groups() as u32,
            first_out: self.first_out as u32,
        }
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        let mut all = real_weight_overrides(&self.shape, self.mode);
        all.push(("SUMMED", f64::from(u8::from(self.summed()))));
        all
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
                let group = column / COLUMNS_PER_WORD / s.group_words * s.planes();
                let mut sums = [[0f64; 2]; 2];
                for plane in 0..s.planes() {
                    let (re, im) = unit(s.code(codes, first + row, plane, column));
                    let sum = &mut sums[usize::from(s.conjugates(plane))];
                    sum[0] += f64::from(re) * f64::from(block[1 + (group + plane) * 2]);
                    sum[1] += f64::from(im) * f64::from(block[2 + (group + plane) * 2]);
                }
                let [u, w] = sums;
                let real = [u[0] + w[0], w[1] - u[1], u[1] + w[1], u[0] - w[0]];
                for (i, value) in real.into_iter().enumerate() {
                    let index =
                        (self.first_out + outputs[i / 2]) * s.in_features + i % 2 * half + column;
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
            first_out: 0,
            mode: Activations::Int16,
        })
    }

    fn cases() -> Vec<Case<Self>> {
        let of_stack = |(shape, mode): (PhaseShape, Activations)| {
            [(0, 0), (1, 0), (1, 16)].map(|(layer, first_out)| {
                let [codes, blocks, _] = cases::stack(&shape, mode);
                let op = Self {
                    shape: shape.clone(),
                    layer,
                    first_out,
                    mode,
                };
                let words = op.words();
                let r = match first_out {
                    0 => Data::Out(words),
                    _ => Data::Words(noise_u32(12, words)),
                };
                Case::new("", op, vec![codes, blocks, r])
            })
        };
        cases::expanded().into_iter().flat_map(of_stack).collect()
    }
}
