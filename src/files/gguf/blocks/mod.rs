//! What the blocks of GGUF tensors stand for, in f32.
//!
//! Every product and sum is one f32 operation, in the order of the numpy code in llama.cpp's own Python package, whose
//! bits these are. A block is a few bytes: one or two 16-bit scales, integers of a few bits, and in blocks of 256
//! elements scales of their parts.

mod super_blocks;
mod ternary;
mod thirty_two;

use super::types::BlockType;
use crate::ops::cpu::each_chunk;

/// Most elements that a thread takes at a time.
const PIECE: usize = 1 << 16;

/// Writes the elements of one block; both slices are as long as the type says.
type Decode = fn(block: &[u8], out: &mut [f32]);

/// The decoder of a type; `None` for types that are not read.
fn decoder(kind: BlockType) -> Option<Decode> {
    Some(match kind.name {
        "F32" => f32,
        "F16" => f16,
        "BF16" => bf16,
        "Q4_0" => thirty_two::q4_0,
        "Q4_1" => thirty_two::q4_1,
        "Q5_0" => thirty_two::q5_0,
        "Q5_1" => thirty_two::q5_1,
        "Q8_0" => thirty_two::q8_0,
        "IQ4_NL" => thirty_two::iq4_nl,
        "Q2_K" => super_blocks::q2_k,
        "Q3_K" => super_blocks::q3_k,
        "Q4_K" => super_blocks::q4_k,
        "Q5_K" => super_blocks::q5_k,
        "Q6_K" => super_blocks::q6_k,
        "TQ1_0" => ternary::tq1_0,
        "TQ2_0" => ternary::tq2_0,
        _ => return None,
    })
}

/// The types that [`dequantize`] knows, for messages.
pub const READ: &str =
    "F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K to Q6_K, TQ1_0, TQ2_0 and IQ4_NL";

/// Whether [`dequantize`] knows the type.
pub fn is_read(kind: BlockType) -> bool {
    decoder(kind).is_some()
}

/// The elements of the blocks in `bytes`, as f32; bytes behind the last whole block are left out. `None` for types that
/// are not read.
pub fn dequantize(kind: BlockType, bytes: &[u8]) -> Option<Vec<f32>> {
    let decode = decoder(kind)?;
    let (elements, size) = (kind.elements as usize, kind.bytes as usize);
    let mut values = vec![0.0; bytes.len() / size * elements];
    let blocks = PIECE / elements; // a piece has whole blocks
    each_chunk(&mut values, blocks * elements, |piece, out| {
        let bytes = bytes.get(piece * blocks * size..).unwrap_or_default();
        for (block, out) in bytes.chunks_exact(size).zip(out.chunks_exact_mut(elements)) {
            decode(block, out);
        }
    });
    Some(values)
}

fn f32(block: &[u8], out: &mut [f32]) {
    out[0] = f32::from_le_bytes([block[0], block[1], block[2], block[3]]);
}

fn f16(block: &[u8], out: &mut [f32]) {
    out[0] = half(block);
}

fn bf16(block: &[u8], out: &mut [f32]) {
    out[0] = half::bf16::from_le_bytes([block[0], block[1]]).to_f32();
}

/// The 16-bit float at the front of `bytes`.
fn half(bytes: &[u8]) -> f32 {
    half::f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
}
