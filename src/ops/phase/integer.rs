//! What the products with integer activations share: exact sums, one rounding, the same bits everywhere.

use super::{MAX_COLUMNS, PhaseParams, PhaseShape, cpu};
use crate::codebook::{COLUMNS_PER_WORD, unit};
use crate::fixed;
use crate::ops::quantize::{Activations, Form};
use crate::ops::*;

/// Bindings of the products.
pub(super) const BINDINGS: &[Binding] = &[
    read("codes", Elem::U32),
    read("q", Elem::U32),
    read("absmax", Elem::U32),
    read("scale_blocks", Elem::U32),
    write("y", Elem::F32),
];

/// The same, with loads that compilers do not move.
pub(super) const BINDINGS_PREFETCHED: &[Binding] = &[
    prefetched("codes", Elem::U32),
    prefetched("q", Elem::U32),
    read("absmax", Elem::U32),
    read("scale_blocks", Elem::U32),
    write("y", Elem::F32),
];

/// Invocations that share a complex row in [`PhaseGemv`]: enough for its words, at most 32.
pub(super) fn lanes(words: usize) -> usize {
    words.next_power_of_two().clamp(4, 32)
}

/// What kernels are compiled for: planes, bytes of an integer, the form, and whether outputs lie in runs.
pub(super) fn constants(
    shape: &PhaseShape,
    mode: Activations,
) -> impl Iterator<Item = (&'static str, f64)> {
    let all = [
        ("PLANES", shape.planes() as f64),
        ("BYTES", mode.byte_planes() as f64),
        shape.form.constant(),
    ];
    all.into_iter().chain(shape.runs())
}

/// The uniform block, for shapes and activations that keep all sums within 31 bits.
pub(super) fn params(shape: &PhaseShape, mode: Activations) -> PhaseParams {
    debug_assert!(mode != Activations::Float, "{}", shape.shape());
    debug_assert!(
        shape.in_features.div_ceil(2) <= MAX_COLUMNS,
        "{}: sums of activations overflow",
        shape.shape()
    );
    shape.params()
}

pub(super) fn lengths(shape: &PhaseShape, mode: Activations) -> Vec<usize> {
    let q = shape.tokens * mode.row_words(shape.in_features);
    shape.lengths([q, shape.tokens * shape.form.token_scales()])
}

pub(super) fn cost(shape: &PhaseShape, mode: Activations) -> Cost {
    shape.cost((shape.tokens * shape.in_features * mode.byte_planes()) as f64)
}

pub(super) fn on_host(shape: &PhaseShape, mode: Activations, b: &mut Bindings<'_>) {
    let (codes, q): (&[u32], &[u32]) = (b.read(0), b.read(1));
    let (absmax, scale_blocks): (&[f32], &[u32]) = (b.read(2), b.read(3));
    cpu::product(shape, mode, codes, q, absmax, scale_blocks, b.write(4));
}

/// What the products mean: codes are decoded one by one, and multiplied with scales that are integers.
pub(super) fn reference(shape: &PhaseShape, mode: Activations, b: &mut Bindings<'_>) {
    let (codes, q): (&[u32], &[u8]) = (b.read(0), b.read(1));
    let (absmax, scale_blocks): (&[f32], &[u32]) = (b.read(2), b.read(3));
    let y: &mut [f32] = b.write(4);
    for token in 0..shape.tokens {
        for local in 0..shape.shard_rows {
            let (block, re, im) = shape.outputs_of(shape.first_row + local);
            let block =
                &scale_blocks[block * shape.scale_block_words()..][..shape.scale_block_words()];
            // for the real and the imaginary output, what the real and what the imaginary inputs add
            let mut sums = [[0i128; 2]; 2];
            for plane in 0..shape.planes() {
                let conj = if shape.conjugates(plane) { -1 } else { 1 };
                for column in 0..shape.in_features.div_ceil(2) {
                    let group = column / COLUMNS_PER_WORD / shape.group_words;
                    let scale = 1 + (group * shape.planes() + plane) * 2;
                    let [xr, xi] = integer_at(q, shape, mode, token, column);
                    let (unit_re, unit_im) = unit(shape.code(codes, local, plane, column));
                    let wr = i128::from(unit_re) * i128::from(block[scale]);
                    let wi = i128::from(unit_im) * i128::from(block[scale + 1]);
                    let (xr, xi) = (i128::from(xr), i128::from(conj * xi));
                    sums[0][0] += wr * xr;
                    sums[0][1] -= wi * xi;
                    sums[1][0] += wi * xr;
                    sums[1][1] += wr * xi;
                }
            }
            let y = &mut y[token * shape.outputs()..][..shape.outputs()];
            for (half, index) in [(0, Some(re)), (1, im)] {
                let Some(i) = index else { continue };
                let [by_re, by_im] = sums[half].map(|sum| sum as i64);
                let value = match shape.form {
                    Form::WidelyLinear => {
                        fixed::to_f32(by_re + by_im, absmax[token], block[0] as i32)
                    }
                    Form::Conjugate => {
                        fixed::to_f32(by_re, absmax[2 * token], block[0] as i32)
                            + fixed::to_f32(by_im, absmax[2 * token + 1], block[0] as i32)
                    }
                };
                y[i] = if shape.accumulate {
                    y[i] + value
                } else {
                    value
                };
            }
        }
    }
}

/// The complex activation of column `c` of a token in the byte planes of [`crate::ops::quantize::QuantizeAct`].
pub(super) fn integer_at(
    q: &[u8],
    shape: &PhaseShape,
    mode: Activations,
    token: usize,
    c: usize,
) -> [i64; 2] {
    let (byte_planes, plane) = (mode.byte_planes(), shape.words() * COLUMNS_PER_WORD);
    [0, 1].map(|half| {
        let index = (token * 2 + half) * byte_planes * plane + c;
        let first = i64::from(q[index] as i8);
        if byte_planes == 2 {
            first * 256 + i64::from(q[index + plane])
        } else {
            first
        }
    })
}
