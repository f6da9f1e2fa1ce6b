//! Scale blocks of a stack as the products read them.

use super::PhaseShape;
use crate::fixed::Mantissas;
use crate::ops::quantize::Activations;

/// Scale blocks of the integer products: of each block the exponent, then the mantissas
/// `[groups, 2, T, 2]`. `scales` in the order of [`crate::model::Packed`]; the activations' `1 / levels`
/// is part of them.
pub fn integer_scale_blocks(scales: &[f32], blocks: usize, mode: Activations) -> Vec<u32> {
    scales
        .chunks(scales.len() / blocks)
        .flat_map(|block| {
            let m = Mantissas::new(block, mode.levels());
            std::iter::once(m.exponent as u32).chain(m.values)
        })
        .collect()
}

/// Scale blocks of the float products: a zero, then the scales as they are.
pub fn float_scale_blocks(scales: &[f32], blocks: usize) -> Vec<u32> {
    scales
        .chunks(scales.len() / blocks)
        .flat_map(|block| std::iter::once(0).chain(block.iter().map(|s| s.to_bits())))
        .collect()
}

/// The scale blocks of a stack with their scales as f32.
pub(super) fn float_scales(shape: &PhaseShape, mode: Activations, blocks: &[u32]) -> Vec<u32> {
    let mut blocks = blocks[..shape.scale_blocks() * shape.scale_block_words()].to_vec();
    if mode != Activations::Float {
        for block in blocks.chunks_exact_mut(shape.scale_block_words()) {
            let unit = 2f64.powi(block[0] as i32) * f64::from(mode.levels());
            for scale in &mut block[1..] {
                *scale = ((f64::from(*scale) * unit) as f32).to_bits();
            }
        }
    }
    blocks
}
