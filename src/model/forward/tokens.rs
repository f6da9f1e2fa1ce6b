//! Whose tokens a step has, and the caches that they stand in.

use crate::backend::Backend;

/// Whose tokens a step has, and where they stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tokens<'a> {
    /// Consecutive tokens of the sequence in a slot.
    Run {
        /// The slot.
        slot: usize,
        /// Position of the first one.
        position: usize,
    },
    /// The next tokens of several sequences, each in a slot of its own: rows of the row table say where they stand.
    Each {
        /// Row of the first one.
        row: usize,
        /// All positions are below it.
        end: usize,
    },
    /// Consecutive tokens of the sequence in the first slot, each as if it were a step of its own: the bits are those of
    /// decoding them one after the other.
    Steps {
        /// Position of the first one.
        position: usize,
    },
    /// Runs of tokens that follow each other in the step, all of them in the first slot.
    Spans(&'a [Span]),
}

/// Consecutive tokens of a sequence, among others of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// Position of the first one.
    pub position: usize,
    /// How many.
    pub tokens: usize,
}

/// What attention of one layer works with.
pub(crate) struct Cache<'a, B: Backend> {
    /// Keys, `[slots, capacity, kv_heads, head_dim]`.
    pub k: &'a B::Buffer,
    /// Values, as many.
    pub v: &'a B::Buffer,
    /// Room for ranges of positions, before they are merged.
    pub partials: &'a B::Buffer,
    /// The row table, `[.., 2]`: (slot, position) of one token after the other.
    pub rows: &'a B::Buffer,
    /// Slots of `k` and `v`.
    pub slots: usize,
    /// Positions of a slot.
    pub capacity: usize,
}
