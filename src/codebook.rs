//! Quarter turns: the codebook {1, i, -1, -i}, its two-bit symbols, and how they are packed.
//!
//! Code `k` means i^k. What is stored is the *symbol* `g = k ^ (k >> 1)` (the Gray code of `k`), because
//! (1+i) i^k = p + i q with p, q = +-1, and the two bits of `g` are exactly the signs: bit 0 is set where
//! p = -1, bit 1 where q = -1. Sums over {1, i, -1, -i} then need only sums over the two bit planes:
//! with S = sum x, S0 = sum over bit 0, S1 = sum over bit 1,
//! `sum Re(i^k) x = S - S0 - S1` and `sum Im(i^k) x = S0 - S1`.
//!
//! One `u32` holds 16 symbols. Column `j` of a word sits at bits `8 (j % 4) + 2 (j / 4)`, so that masking
//! every byte with one bit picks four *consecutive* columns, one per byte: the operand of a 4 x 8-bit dot.

/// Columns held by one packed word.
pub const COLUMNS_PER_WORD: usize = 16;

/// Words needed for `columns` symbols.
pub const fn words_for(columns: usize) -> usize {
    columns.div_ceil(COLUMNS_PER_WORD)
}

/// Position of the symbol of column `column` (0..16) inside its word, in bits.
pub const fn shift_of(column: usize) -> u32 {
    (8 * (column % 4) + 2 * (column / 4)) as u32
}

/// Code of the codebook sector in which `re + i im` lies (arXiv 2512.02901). The origin is 0.
///
/// Ties are those of the papers' code as it runs: it compares `atan2` in f32, vectorized, with multiples of
/// pi/4, and its `atan2(x, x)` lies one unit below f32(pi/4), so that `re = im > 0` is code 0. The other
/// three diagonals are exact and go counter-clockwise. Trained bf16 weights sit on diagonals by the thousand.
pub fn code(re: f32, im: f32) -> u8 {
    if -re <= im && im <= re {
        0
    } else if -im < re && re < im {
        1
    } else if re < im && im <= -re {
        2
    } else if im <= re && re < -im {
        3
    } else {
        0 // not a number
    }
}

/// MatrixDtype symbol of code `k`.
pub const fn symbol(k: u8) -> u32 {
    (k ^ (k >> 1)) as u32
}

/// Code of a stored symbol.
pub const fn code_of(symbol: u32) -> u8 {
    (symbol ^ (symbol >> 1)) as u8
}

/// `(Re, Im)` of i^k.
pub const fn unit(k: u8) -> (i32, i32) {
    match k & 3 {
        0 => (1, 0),
        1 => (0, 1),
        2 => (-1, 0),
        _ => (0, -1),
    }
}

/// Packs one row of codes; missing columns of the last word are code 0.
pub fn pack_row(codes: &[u8], words: &mut [u32]) {
    for (word, chunk) in words.iter_mut().zip(codes.chunks(COLUMNS_PER_WORD)) {
        *word = chunk
            .iter()
            .enumerate()
            .fold(0, |w, (j, &k)| w | symbol(k) << shift_of(j));
    }
}

/// Code of column `column` in a packed row.
pub fn code_at(words: &[u32], column: usize) -> u8 {
    let word = words[column / COLUMNS_PER_WORD];
    code_of(word >> shift_of(column % COLUMNS_PER_WORD) & 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_are_the_sign_planes() {
        for k in 0..4u8 {
            let (re, im) = unit(k);
            // (1 + i)(re + i im) = (re - im) + i (re + im)
            let (p, q) = (re - im, re + im);
            assert_eq!(symbol(k) & 1, u32::from(p < 0));
            assert_eq!(symbol(k) >> 1, u32::from(q < 0));
            assert_eq!(code_of(symbol(k)), k);
        }
    }

    #[test]
    fn ties_are_those_of_the_papers_code() {
        assert_eq!(code(1.0, -1.0), 0); // -re <= im
        assert_eq!(code(1.0, 1.0), 0); // im <= re
        assert_eq!(code(-1.0, 1.0), 2); // im <= -re
        assert_eq!(code(-1.0, -1.0), 3); // im <= re
        assert_eq!(code(0.0, 0.0), 0);
    }

    #[test]
    fn every_column_has_its_own_bits() {
        let used = (0..COLUMNS_PER_WORD).fold(0u32, |seen, j| {
            let mask = 3 << shift_of(j);
            assert_eq!(seen & mask, 0);
            seen | mask
        });
        assert_eq!(used, u32::MAX);
    }

    proptest::proptest! {
        #[test]
        fn packing_round_trips(codes in proptest::collection::vec(0u8..4, 0..100)) {
            let mut words = vec![0; words_for(codes.len())];
            pack_row(&codes, &mut words);
            for (j, &k) in codes.iter().enumerate() {
                proptest::prop_assert_eq!(code_at(&words, j), k);
            }
        }
    }
}
