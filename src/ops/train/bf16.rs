//! bf16 between steps: the upper half of an f32, with its range and eight bits of the significand.
//!
//! A step of training often changes a number by less than half of its last place in bf16, so that rounding to the
//! nearest would never change it. [`Bf16Pack`](super::Bf16Pack) rounds up or down at random, with the
//! probabilities that make the mean right. The random numbers are [`hash32`](crate::ops::hash32) of an index and a seed:
//! the same step gives the same bits.

/// Words of `n` values in bf16, two a word.
pub const fn words(n: usize) -> usize {
    n.div_ceil(2)
}
