//! Codes of a panel as indices of tables: a byte holds four bits of one row.

use super::WORDS;
use crate::ops::cpu::prefetch;
use crate::ops::phase::codes::transposed;
use crate::ops::phase::cpu::panel::Rows;
use crate::ops::phase::layout::put_bytes;
use crate::ops::quantize::MAX_STAGES;
use fearless_simd::{Avx2, prelude::*, u8x32};
use std::arch::x86_64::*;

/// A word of two blocks as [`CodeLayout::Bytes`] has it: `[4 groups][2 blocks][rows]`.
///
/// [`CodeLayout::Bytes`]: crate::ops::phase::CodeLayout::Bytes
pub(in crate::ops::phase::cpu) type Bytes = [[[u8; 32]; 2]; 4];

/// The same in streams, `[4 groups][4 streams][rows]`: two bits of each of two blocks.
type Word = [[[u8; 32]; 4]; 4];

/// Bytes from the codes that are read to those that are asked for: what memory takes as long for as the codes between them
/// are multiplied.
const AHEAD: usize = 2048;

/// The words of a panel that are multiplied next, in streams.
pub(super) struct Nibbles(Box<[Word; WORDS]>);

impl Default for Nibbles {
    fn default() -> Self {
        Self(Box::new([[[[0; 32]; 4]; 4]; WORDS]))
    }
}

impl Nibbles {
    /// Splits the bytes of at most [`WORDS`] words, and asks for those that lie behind them if they come `from_memory`.
    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) fn split(&mut self, t: Avx2, words: &[Bytes], from_memory: bool) -> &[Word] {
        let nibble = _mm256_set1_epi8(0x0f);
        for (bytes, streams) in words.iter().zip(self.0.iter_mut()) {
            if from_memory {
                (0..4).for_each(|line| prefetch(&bytes[..], AHEAD + 64 * line));
            }
            for (bytes, streams) in bytes.iter().zip(streams) {
                for (bytes, streams) in bytes.iter().zip(streams.as_chunks_mut().0) {
                    let both: __m256i = u8x32::from_slice(t, bytes).into();
                    let high = _mm256_and_si256(_mm256_srli_epi16::<4>(both), nibble);
                    let [first, second]: &mut [[u8; 32]; 2] = streams;
                    let low: u8x32<Avx2> = _mm256_and_si256(both, nibble).simd_into(t);
                    low.store_slice(first);
                    let high: u8x32<Avx2> = high.simd_into(t);
                    high.store_slice(second);
                }
            }
        }
        &self.0[..words.len()]
    }
}

/// Brings rows of codes into a panel. Missing rows keep what they had.
pub(super) fn pack(rows: &Rows<'_>, panel: &mut Vec<Bytes>) {
    let size = (rows.words, rows.planes);
    let pairs = (1 + rows.planes % 2) * rows.planes / 2;
    panel.resize(pairs * rows.words, [[[0; 32]; 2]; 4]);
    let panel = bytemuck::cast_slice_mut(panel);
    for (row, codes) in rows
        .codes
        .chunks_exact(rows.words * rows.planes)
        .enumerate()
    {
        for (word, codes) in codes.chunks_exact(rows.planes).enumerate() {
            let mut of_planes = [0; 2 * MAX_STAGES];
            of_planes[..codes.len()].copy_from_slice(codes);
            if codes.len().is_multiple_of(4) {
                let fours = of_planes.as_chunks_mut::<4>().0;
                fours.iter_mut().for_each(|four| *four = transposed(*four));
            }
            for (plane, code) in of_planes[..codes.len()].iter().enumerate() {
                put_bytes(panel, size, (row, plane), word, *code);
            }
        }
    }
}
