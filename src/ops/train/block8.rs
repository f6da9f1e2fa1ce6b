//! Eight bits a value between steps: small floats, scaled by a power of two for each block of 256 values.
//!
//! A block's scale is the exponent of its largest magnitude, the top. Below it, a code is a float of its own: three bits
//! of the significand and, for values with a sign, four bits of the exponent, which reach 2^-17 of the top; magnitudes
//! without a sign have five bits, which reach 2^-33. A linear code of eight bits would end at 2^-7. Values are rounded
//! up or down at random, with the probabilities that make the mean right: a running mean that changes by a hundredth in
//! a step would stand still if it were rounded to the nearest of codes that lie an eighth apart. A magnitude without a sign
//! that is not 0 does not become 0, so that nothing is divided by a second moment that was lost.
//!
//! Everything is done in integers on the bits of f32: every device gives the same codes. Magnitudes below 2^-126 count as 0.

/// Values of a block.
pub const BLOCK: usize = 256;
/// Words of the codes of a block.
pub(in crate::ops::train) const CODE_WORDS: usize = BLOCK / 4;

/// Words of `n` values: four codes a word, whole blocks, then a word for each block.
pub const fn words(n: usize) -> usize {
    n.div_ceil(BLOCK) * (CODE_WORDS + 1)
}

/// Consecutive values of a tensor.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    /// Values.
    pub n: usize,
    /// Index of the first, a multiple of [`BLOCK`]. `n` is one too, unless the range ends with the tensor.
    pub offset: usize,
    /// Values of the tensor.
    pub total: usize,
    /// Whether the values have no sign, and their codes eight bits of magnitude.
    pub positive: bool,
}

impl Range {
    /// All values of a tensor.
    pub const fn whole(n: usize, positive: bool) -> Self {
        Self {
            n,
            offset: 0,
            total: n,
            positive,
        }
    }

    /// The distance from the least exponent that has three bits of the significand to the top.
    pub(in crate::ops::train) fn span(&self) -> i32 {
        if self.positive { 30 } else { 14 }
    }

    pub(in crate::ops::train) fn blocks(&self) -> usize {
        self.total.div_ceil(BLOCK)
    }

    /// The codes and the top exponents of these values, given all words of the tensor.
    pub(in crate::ops::train) fn split<'a>(
        &self,
        words: &'a mut [u32],
    ) -> (&'a mut [u32], &'a mut [u32]) {
        let (codes, exponents) = words.split_at_mut(self.blocks() * CODE_WORDS);
        let (block, blocks) = (self.offset / BLOCK, self.n.div_ceil(BLOCK));
        let codes = &mut codes[block * CODE_WORDS..][..blocks * CODE_WORDS];
        (codes, &mut exponents[block..][..blocks])
    }

    pub(in crate::ops::train) fn shape(&self) -> String {
        let Self {
            n,
            offset,
            total,
            positive,
        } = self;
        format!("n={n},offset={offset},total={total},positive={positive}")
    }
}
