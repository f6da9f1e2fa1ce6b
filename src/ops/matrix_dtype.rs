//! Dense matrices as they lie in buffers: rows of f32, f16 or bf16, padded to whole words.

use half::slice::HalfFloatSliceExt;
use std::fmt;

/// Element type of a stored matrix (`override ELEM` of the kernels that read one).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MatrixDtype {
    /// One f32 a word.
    F32,
    /// Two IEEE halves a word, the first in the low bits.
    F16,
    /// Two bfloat16 a word, the first in the low bits.
    Bf16,
}

impl MatrixDtype {
    /// Elements in one 32-bit word.
    pub const fn per_word(self) -> usize {
        match self {
            Self::F32 => 1,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// Words that `elements` fill.
    pub const fn words(self, elements: usize) -> usize {
        elements.div_ceil(self.per_word())
    }

    /// Words from row to row of a matrix of `columns` for the matrix products: a multiple of four, so that
    /// kernels load four words at once. The padding must be zero.
    pub const fn row_words(self, columns: usize) -> usize {
        self.words(columns).next_multiple_of(4)
    }

    /// Value of the override `ELEM`.
    pub(super) const fn code(self) -> f64 {
        match self {
            Self::F32 => 0.0,
            Self::F16 => 1.0,
            Self::Bf16 => 2.0,
        }
    }

    /// The first `out.len()` elements of `words` as f32 (exact: every half is one).
    pub fn decode(self, words: &[u32], out: &mut [f32]) {
        match self {
            Self::F32 => out.copy_from_slice(&bytemuck::cast_slice(words)[..out.len()]),
            Self::F16 => {
                let halves: &[half::f16] = bytemuck::cast_slice(words);
                halves[..out.len()].convert_to_f32_slice(out);
            }
            Self::Bf16 => {
                let halves: &[u16] = bytemuck::cast_slice(words);
                for (out, &h) in out.iter_mut().zip(halves) {
                    *out = f32::from_bits(u32::from(h) << 16);
                }
            }
        }
    }

    /// One row of words holding `values`, rounded to this type.
    pub fn encode(self, values: &[f32]) -> Vec<u32> {
        let bits = |v: f32| match self {
            Self::F32 => v.to_bits(),
            Self::F16 => u32::from(half::f16::from_f32(v).to_bits()),
            Self::Bf16 => u32::from(half::bf16::from_f32(v).to_bits()),
        };
        let word = |pair: &[f32]| bits(pair[0]) | pair.get(1).map_or(0, |&v| bits(v) << 16);
        values.chunks(self.per_word()).map(word).collect()
    }

    /// `values` in rows of `columns`, each row zero-padded to `stride` words.
    pub fn encode_rows(self, values: &[f32], columns: usize, stride: usize) -> Vec<u32> {
        let mut words = Vec::with_capacity(values.len() / columns * stride);
        for row in values.chunks(columns) {
            let end = words.len() + stride;
            words.extend(self.encode(row));
            words.resize(end, 0);
        }
        words
    }
}

impl fmt::Display for MatrixDtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        let values = [1.5, -2.0, 0.0, 65504.0 / 2.0, -0.25];
        for stored in [MatrixDtype::F32, MatrixDtype::F16] {
            let words = stored.encode_rows(&values, 5, stored.row_words(5));
            assert_eq!(words.len() % 4, 0);
            let mut back = [f32::NAN; 5];
            stored.decode(&words, &mut back);
            assert_eq!(back, values);
        }
        let words = MatrixDtype::Bf16.encode(&[1.0, -1.0, 3.0]);
        assert_eq!(words, [0xbf80_3f80, 0x4040]);
    }
}
