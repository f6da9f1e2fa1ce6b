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
    /// Consecutive tokens of the sequence in a slot, each as if it were a step of its own: the bits are those of
    /// decoding them one after the other.
    Steps {
        /// Their slot.
        slot: usize,
        /// Position of the first one.
        position: usize,
    },
    /// Runs of tokens that follow each other in the step, all of them in the first slot.
    Spans(&'a [Span]),
    /// The next tokens of several sequences, as [`Tokens::Each`] from row 0 of the table on, and behind them pieces of the
    /// prompts of others.
    Mixed {
        /// How many tokens the row table says of.
        decoding: usize,
        /// All of their positions are below it.
        end: usize,
        /// The pieces, which follow each other in the step. No two have the same slot, nor that of a decoding sequence.
        pieces: &'a [Piece],
    },
}

/// Consecutive tokens of a prompt, among others of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    /// The slot of the prompt.
    pub slot: usize,
    /// Position of the first one.
    pub position: usize,
    /// How many.
    pub tokens: usize,
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
    /// Index of the layer.
    pub layer: usize,
    /// The weights of the norms of queries and keys, where the model has such.
    pub norms: Option<[&'a B::Buffer; 2]>,
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
