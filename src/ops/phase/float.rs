//! What the products with f32 activations share, which the papers' code computes.

use super::PhaseShape;
use crate::codebook::{COLUMNS_PER_WORD, unit};
use crate::ops::*;

/// Bindings of the products.
pub(super) const BINDINGS: &[Binding] = &[
    read("codes", Elem::U32),
    read("x", Elem::F32),
    read("scale_blocks", Elem::U32),
    write("y", Elem::F32),
];

/// f32 sums of up to 16384 products against sums in f64.
pub(super) const AGREE: Agree = Agree::Nmse(1e-12);

/// Overrides of kernels that tell the planes of U, which are the first ones, from those of W.
pub(super) fn plane_overrides(shape: &PhaseShape) -> [(&'static str, f64); 2] {
    let planes = 0..shape.planes();
    let of_u = planes.filter(|&plane| !shape.conjugates(plane)).count();
    [("PLANES", shape.planes() as f64), ("U_PLANES", of_u as f64)]
}

pub(super) fn lengths(shape: &PhaseShape) -> Vec<usize> {
    let mut all = shape.lengths([shape.tokens * shape.in_features, 0]);
    all.remove(2); // no absmax
    all
}

pub(super) fn cost(shape: &PhaseShape) -> Cost {
    shape.cost(4.0 * (shape.tokens * shape.in_features) as f64)
}

/// What both products mean: codes decoded one by one, sums in f64.
pub(super) fn reference(shape: &PhaseShape, b: &mut Bindings<'_>) {
    let (codes, x, scale_blocks): (&[u32], &[f32], &[f32]) = (b.read(0), b.read(1), b.read(2));
    let y: &mut [f32] = b.write(3);
    let half = shape.in_features.div_ceil(2);
    for token in 0..shape.tokens {
        let x = &x[token * shape.in_features..][..shape.in_features];
        for local in 0..shape.shard_rows {
            let (block, re, im) = shape.outputs_of(shape.first_row + local);
            let block =
                &scale_blocks[block * shape.scale_block_words()..][..shape.scale_block_words()];
            let mut sum = [0f64; 2];
            for plane in 0..shape.planes() {
                let conj = if shape.conjugates(plane) { -1.0 } else { 1.0 };
                for column in 0..half {
                    let group = column / COLUMNS_PER_WORD / shape.group_words;
                    let scale = 1 + (group * shape.planes() + plane) * 2;
                    let xr = f64::from(x[column]);
                    let xi = conj * x.get(half + column).map_or(0.0, |&v| f64::from(v));
                    let (unit_re, unit_im) = unit(shape.code(codes, local, plane, column));
                    let wr = f64::from(unit_re) * f64::from(block[scale]);
                    let wi = f64::from(unit_im) * f64::from(block[scale + 1]);
                    sum[0] += wr * xr - wi * xi;
                    sum[1] += wr * xi + wi * xr;
                }
            }
            let y = &mut y[token * shape.outputs()..][..shape.outputs()];
            for (half, index) in [(0, Some(re)), (1, im)] {
                let Some(i) = index else { continue };
                let before = if shape.accumulate {
                    f64::from(y[i])
                } else {
                    0.0
                };
                y[i] = (before + sum[half]) as f32;
            }
        }
    }
}
