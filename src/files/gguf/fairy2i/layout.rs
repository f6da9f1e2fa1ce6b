//! From the codes and scales of these files to those of this crate: the same weights, their bits in another order.

use super::TILE;
use crate::codebook::{COLUMNS_PER_WORD, shift_of, symbol};

/// Power of i that each code of these files stands for: -1, +1, -i, +i.
const POWERS: [u8; 4] = [2, 0, 3, 1];
/// Codes in a byte.
const IN_BYTE: usize = 4;

/// The symbol of the code in the lowest bits of `bits`.
fn symbol_of(bits: u8) -> u32 {
    symbol(POWERS[usize::from(bits & 3)])
}

/// A word whose codes +1 and -1 are exchanged if `re`, and +i and -i if `im`. The symbols of opposite codes differ in both
/// bits, and both bits are equal where a code is real.
pub(super) fn negate(word: u32, re: bool, im: bool) -> u32 {
    const LOW: u32 = 0x5555_5555;
    let imaginary = (word ^ word >> 1) & LOW;
    let mut chosen = 0;
    if re {
        chosen |= !imaginary & LOW;
    }
    if im {
        chosen |= imaginary;
    }
    word ^ chosen ^ chosen << 1
}

/// For each byte of four consecutive columns their symbols, in the bits that the first columns of a word have.
fn four_columns() -> [u32; 256] {
    let spread = |byte: usize| {
        (0..IN_BYTE).fold(0, |word, t| {
            word | symbol_of((byte >> (2 * t)) as u8) << shift_of(t)
        })
    };
    std::array::from_fn(spread)
}

/// Codes in bundles: the tiles of one matrix in a list of many.
pub(super) struct Bundle<'a> {
    /// `[tiles, 64, branches, 16]`.
    pub(super) codes: &'a [u8],
    /// U and W of each stage: 2 times stages.
    pub(super) branches: usize,
    /// Tiles that lie before those of the matrix.
    pub(super) first: usize,
    /// Tiles beside each other in a row of tiles.
    pub(super) across: usize,
}

impl Bundle<'_> {
    /// The words of `rows` rows: row, branch, word.
    pub(super) fn words(&self, rows: usize) -> Vec<u32> {
        let table = four_columns();
        let words = self.across * TILE / COLUMNS_PER_WORD;
        let mut all = Vec::with_capacity(rows * self.branches * words);
        for row in 0..rows {
            for branch in 0..self.branches {
                all.extend((0..words).map(|word| self.word(&table, row, branch, word)));
            }
        }
        all
    }

    fn word(&self, table: &[u32; 256], row: usize, branch: usize, word: usize) -> u32 {
        let per_tile = TILE / COLUMNS_PER_WORD;
        let tile = self.first + row / TILE * self.across + word / per_tile;
        let in_tile = row % TILE;
        let slot = in_tile / 16 * 16 + word % per_tile * IN_BYTE;
        (0..IN_BYTE).fold(0, |bits, s| {
            let at = ((tile * TILE + slot + s) * self.branches + branch) * 16 + in_tile % 16;
            let byte = self.codes.get(at).copied().unwrap_or_default();
            bits | table[usize::from(byte)] << shift_of(IN_BYTE * s)
        })
    }
}

/// The codes of `rows` x `columns` complex elements as bundles have them: the other way round of [`Bundle::words`].
pub(in super::super) fn bundled(
    words: &[u32],
    rows: usize,
    columns: usize,
    branches: usize,
) -> Vec<u8> {
    let table = four_columns();
    let mut back = [0u8; 256];
    // Symbols of four columns, two bits each, to the byte that they come from.
    for (byte, spread) in (0..=u8::MAX).zip(table) {
        let packed = (0..IN_BYTE).fold(0, |p, t| p | (spread >> shift_of(t) & 3) << (2 * t));
        back[packed as usize] = byte;
    }
    let (across, in_row) = (columns / TILE, columns / COLUMNS_PER_WORD);
    let per_tile = TILE / COLUMNS_PER_WORD;
    let mut codes = vec![0; rows / TILE * across * TILE * branches * 16];
    for (at, word) in words.iter().enumerate() {
        let (row, branch, word_at) = (at / in_row / branches, at / in_row % branches, at % in_row);
        let (tile, in_tile) = (row / TILE * across + word_at / per_tile, row % TILE);
        for s in 0..IN_BYTE {
            let bits = word >> shift_of(IN_BYTE * s);
            let packed = (0..IN_BYTE).fold(0, |p, t| p | (bits >> shift_of(t) & 3) << (2 * t));
            let slot = in_tile / 16 * 16 + word_at % per_tile * IN_BYTE + s;
            let place = ((tile * TILE + slot) * branches + branch) * 16 + in_tile % 16;
            if let Some(byte) = codes.get_mut(place) {
                *byte = back[packed as usize];
            }
        }
    }
    codes
}

/// A stage of U or W whose rows are blocks of codes with two 16-bit scales behind them.
#[derive(Clone, Copy)]
pub(super) struct Plane<'a> {
    /// The blocks of all rows.
    pub(super) bytes: &'a [u8],
    /// Bytes of a block, with its scales.
    pub(super) block: usize,
    /// Blocks of a row.
    pub(super) across: usize,
}

impl<'a> Plane<'a> {
    /// The block number `at` of a row: its codes and its scales.
    fn split(&self, row: usize, at: usize) -> (&'a [u8], [f32; 2]) {
        let start = (row * self.across + at) * self.block;
        let block = self.bytes.get(start..start + self.block);
        let (codes, scales) = block.unwrap_or_default().split_at(self.block - 4);
        let scale = |i: usize| half::f16::from_le_bytes([scales[i], scales[i + 1]]).to_f32();
        (codes, [scale(0), scale(2)])
    }

    /// The real and the imaginary scale of a block.
    pub(super) fn scales(&self, row: usize, at: usize) -> [f32; 2] {
        self.split(row, at).1
    }

    /// Puts the words of a row behind `all`.
    pub(super) fn words(&self, row: usize, all: &mut Vec<u32>) {
        for at in 0..self.across {
            // Byte b of 16 has the columns b, b + 16, b + 32 and b + 48.
            for group in self.split(row, at).0.chunks_exact(16) {
                all.extend((0..IN_BYTE).map(|word| {
                    let columns = group.iter().enumerate();
                    columns.fold(0, |bits, (j, byte)| {
                        bits | symbol_of(byte >> (2 * word)) << shift_of(j)
                    })
                }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codebook::{code_at, pack_row};

    #[test]
    fn bundles_are_written_as_they_are_read() {
        let (rows, columns, branches) = (128, 192, 4);
        let length = rows * branches * columns / COLUMNS_PER_WORD;
        let words: Vec<u32> = (0..length as u32)
            .map(|i| i.wrapping_mul(0x9E37_79B1))
            .collect();
        let codes = bundled(&words, rows, columns, branches);
        let bundle = Bundle {
            codes: &codes,
            branches,
            first: 0,
            across: columns / TILE,
        };
        assert_eq!(bundle.words(rows), words);
    }

    #[test]
    fn codes_are_negated_along_one_axis_or_both() {
        let mut word = [0];
        pack_row(&[0, 1, 2, 3, 3, 2, 1, 0, 0, 1, 2, 3, 0, 1, 2, 3], &mut word);
        for (re, im) in [(false, false), (true, false), (false, true), (true, true)] {
            let negated = [negate(word[0], re, im)];
            for column in 0..COLUMNS_PER_WORD {
                let code = code_at(&word, column);
                let flip = if code.is_multiple_of(2) { re } else { im };
                assert_eq!(code_at(&negated, column), (code + 2 * u8::from(flip)) % 4);
            }
        }
    }

    #[test]
    fn the_example_of_the_authors_is_understood() {
        // Columns 0, 16, 32, 48 are -1, +1, -i, +i.
        let mut block = [0u8; 20];
        block[0] = 0xE4;
        block[16..].copy_from_slice(&[0x00, 0x3C, 0x00, 0x40]);
        let plane = Plane {
            bytes: &block,
            block: 20,
            across: 1,
        };
        let mut words = Vec::new();
        plane.words(0, &mut words);
        let codes = [0, 16, 32, 48].map(|column| code_at(&words, column));
        assert_eq!(codes, [2, 0, 3, 1]);
        assert_eq!(plane.scales(0, 0), [1.0, 2.0]);
    }
}
