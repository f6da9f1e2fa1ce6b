//! What a weight's codes cost beyond their bits: odd dimensions, and rows that end inside a word.

use crate::codebook::words_for;
use serde::Serialize;

/// Bytes of a weight's codes, exactly; scales are not among them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Padding {
    /// Stages that the bytes are for.
    pub stages: usize,
    /// T bits for every real weight.
    pub ideal_bytes: f64,
    /// For the row or column of zeros that an odd dimension gets.
    pub odd_bytes: f64,
    /// For what a row of codes leaves of its last word of 16 columns.
    pub word_bytes: f64,
    /// All of it: what is stored.
    pub stored_bytes: u64,
}

impl Padding {
    /// Of the codes of an `[out_features, in_features]` weight in `stages` stages.
    pub fn new(out_features: usize, in_features: usize, stages: usize) -> Self {
        let (rows, columns) = (out_features.div_ceil(2), in_features.div_ceil(2));
        let bytes = |reals: usize| (reals * stages) as f64 / 8.0;
        let ideal = bytes(out_features * in_features);
        let even = bytes(4 * rows * columns);
        let stored = 4 * rows * 2 * stages * words_for(columns);
        Self {
            stages,
            ideal_bytes: ideal,
            odd_bytes: even - ideal,
            word_bytes: stored as f64 - even,
            stored_bytes: stored as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_add_up() {
        let even = Padding::new(64, 64, 2);
        assert_eq!((even.odd_bytes, even.word_bytes), (0.0, 0.0));
        assert_eq!((even.ideal_bytes, even.stored_bytes), (1024.0, 1024));
        // 33 complex columns: 3 words instead of 2 and a sixteenth
        let odd = Padding::new(63, 65, 2);
        assert_eq!(odd.ideal_bytes, 63.0 * 65.0 / 4.0);
        assert_eq!(odd.odd_bytes, (64.0 * 66.0 - 63.0 * 65.0) / 4.0);
        assert_eq!(odd.stored_bytes, 4 * 32 * 2 * 2 * 3);
        let sum = odd.ideal_bytes + odd.odd_bytes + odd.word_bytes;
        assert_eq!(sum, odd.stored_bytes as f64);
    }
}
