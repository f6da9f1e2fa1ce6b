//! How activations are rounded to integers before a quantized linear layer: one scale a token (arXiv 2508.05571).

use crate::codebook::{COLUMNS_PER_WORD, words_for};
use std::fmt;

/// How activations enter a quantized linear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activations {
    /// Integers in [-32767, 32767], one scale per token.
    Int16,
    /// Integers in [-127, 127], one scale per token.
    Int8,
    /// f32 as they are (what the papers' code computes).
    Float,
}

impl Activations {
    /// Those that are integers.
    pub const INTEGERS: [Self; 2] = [Self::Int16, Self::Int8];

    /// The bits of an integer, or `float`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Int16 => "16",
            Self::Int8 => "8",
            Self::Float => "float",
        }
    }

    /// Largest integer, which the absolute maximum of a token is mapped to.
    pub const fn levels(self) -> u32 {
        match self {
            Self::Int16 => 32767,
            Self::Int8 => 127,
            Self::Float => 1,
        }
    }

    /// Byte planes that integers are stored in.
    pub const fn byte_planes(self) -> usize {
        match self {
            Self::Int16 => 2,
            Self::Int8 => 1,
            Self::Float => 0,
        }
    }

    /// Words of a rounded token of `columns` values, as [`super::QuantizeAct`] writes it.
    pub fn row_words(self, columns: usize) -> usize {
        2 * self.byte_planes() * words_for(columns.div_ceil(2)) * (COLUMNS_PER_WORD / 4)
    }
}

impl fmt::Display for Activations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Int16 => "int16",
            Self::Int8 => "int8",
            Self::Float => "float",
        })
    }
}

/// Smallest absolute maximum of a token (the iFairy code's clamp).
pub const LEAST_ABSMAX: f32 = 1e-5;

/// The largest magnitude of a token, at least [`LEAST_ABSMAX`].
pub(super) fn absmax_of(x: &[f32]) -> f32 {
    x.iter().fold(LEAST_ABSMAX, |absmax, v| absmax.max(v.abs()))
}

/// `x` as an integer, given the largest magnitude of its token.
pub(in crate::ops) fn round(x: f32, absmax: f32, mode: Activations) -> i32 {
    // a numerator of 24 + 15 bits over 24 bits: the f64 quotient is a tie only where the exact one is
    let exact = f64::from(x) * f64::from(mode.levels()) / f64::from(absmax);
    exact.round_ties_even() as i32
}
