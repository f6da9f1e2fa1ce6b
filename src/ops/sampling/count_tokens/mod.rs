//! Counting tokens on the device, for the penalties of the next step.

use super::{IN_PROMPT, PenaltySettings};
use crate::ops::*;

mod cases;

/// Counts ids in the `history` of [`crate::ops::sampling::Penalize`]: those that were just chosen, or those of a prompt.
///
/// Bindings: `ids` `[offset + count]` u32, of which the last `count` are counted; `settings` `[rows, 8]` u32, the
/// [`PenaltySettings::words`] that say in which slot; `history` `[slots, n]` u32, of whose words of these ids each grows by
/// one or, for a prompt, gets the bit [`IN_PROMPT`]. Ids beyond the vocabulary count nowhere (`u32::MAX` is what
/// [`crate::ops::sampling::Sample`] writes where it cannot choose), nor do those whose settings have no penalty, or a slot
/// that is not there.
#[derive(Debug, Clone)]
pub struct CountTokens {
    /// Ids to count.
    pub count: usize,
    /// Tokens of the vocabulary.
    pub n: usize,
    /// Slots of `history`.
    pub slots: usize,
    /// Index of the first id in `ids`.
    pub offset: usize,
    /// Row of `settings` of the first id.
    pub first: usize,
    /// Whether that row serves all ids; otherwise each has the row after the one before it.
    pub shared: bool,
    /// Whether they are ids of a prompt.
    pub prompt: bool,
}

params! {
    /// Uniform block of [`CountTokens`].
    pub struct CountTokensParams {
        count: u32,
        n: u32,
        slots: u32,
        offset: u32,
        first: u32,
        stride: u32,
        prompt: u32,
    }
}

impl CountTokens {
    /// Rows of `settings` that are read.
    fn settings(&self) -> usize {
        self.first + if self.shared { 1 } else { self.count }
    }
}

impl Op for CountTokens {
    const NAME: &'static str = "count_tokens";
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, sampling / "count_tokens")];
    const BINDINGS: &'static [Binding] = &[
        read("ids", Elem::U32),
        read("settings", Elem::U32),
        write("history", Elem::U32),
    ];
    const AGREE: Agree = Agree::Bits;
    type Params = CountTokensParams;

    fn shape(&self) -> String {
        let Self {
            count,
            n,
            slots,
            offset,
            first,
            shared,
            prompt,
        } = self;
        let [shared, prompt] = [*shared, *prompt].map(u32::from);
        format!(
            "count={count},n={n},slots={slots},offset={offset},first={first},shared={shared},prompt={prompt}"
        )
    }

    fn params(&self) -> CountTokensParams {
        CountTokensParams {
            count: self.count as u32,
            n: self.n as u32,
            slots: self.slots as u32,
            offset: self.offset as u32,
            first: self.first as u32,
            stride: u32::from(!self.shared),
            prompt: u32::from(self.prompt),
        }
    }

    fn grid(&self) -> Grid {
        Grid::element_wise(self.count)
    }

    fn lengths(&self) -> Vec<usize> {
        vec![
            self.offset + self.count,
            self.settings() * PenaltySettings::WORDS,
            self.slots * self.n,
        ]
    }

    fn cost(&self) -> Cost {
        Cost {
            bytes: 44.0 * self.count as f64,
            ops: self.count as f64,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (ids, settings): (&[u32], &[u32]) = (b.read(0), b.read(1));
        let history: &mut [u32] = b.write(2);
        for (i, &id) in ids[self.offset..][..self.count].iter().enumerate() {
            let row = self.first + if self.shared { 0 } else { i };
            let words = &settings[row * PenaltySettings::WORDS..];
            let slot = words[0] as usize;
            let counts = words[1] & PenaltySettings::PENALIZED != 0;
            if !counts || slot >= self.slots || id as usize >= self.n {
                continue;
            }
            let word = &mut history[slot * self.n + id as usize];
            match self.prompt {
                true => *word |= IN_PROMPT,
                false => *word = word.wrapping_add(1),
            }
        }
    }

    fn cases() -> Vec<Case<Self>> {
        cases::cases()
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        cases::bench_cases()
    }
}
