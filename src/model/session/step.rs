//! One step of many sequences: tokens that decode and pieces of prompts go through the weights together.

use super::{Choice, Session, Tokens};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::model::forward::Piece;
use crate::model::tap::NoTap;
use crate::ops::memory::CopyWithin;

/// Some tokens of the prompt of one sequence.
#[derive(Debug, Clone, Copy)]
pub struct Feed<'a> {
    /// The sequence.
    pub sequence: usize,
    /// Ids, at least one.
    pub tokens: &'a [u32],
}

impl<B: Backend> Session<'_, B> {
    /// One step: appends to each sequence of `decoding` its newest token in `last` and chooses the one that follows, and
    /// appends pieces of prompts to other sequences. Returns the chosen ids, one for each decoding sequence, [`u32::MAX`] where
    /// nothing could be chosen; they are not appended. All tokens together are at most [`LoadOptions::batch`](crate::model::LoadOptions).
    ///
    /// With exact sums, what a sequence gets depends neither on the others nor on how its prompt is cut.
    ///
    /// # Errors
    /// As [`Session::decode_some`]. [`Error::Usage`] for too many tokens, and for a sequence that comes twice.
    pub async fn step(
        &mut self,
        decoding: &[usize],
        last: &[u32],
        pieces: &[Feed<'_>],
        mut choice: Choice<'_>,
    ) -> Result<Vec<u32>> {
        let total = self.check_step(decoding, last, pieces)?;
        let n = decoding.len();
        self.provided(&choice, n)?;
        if n > 0 {
            self.bring_settings(&choice)?;
            self.bring_numbers(0, 1, &mut choice)?;
        }
        let m = self.model;
        let mut ids = last.to_vec();
        ids.extend(pieces.iter().flat_map(|piece| piece.tokens));
        m.backend.upload(&m.scratch.ids, 0, &ids)?;
        let end = self.bring_places(decoding)?;
        let runs: Vec<_> = pieces.iter().map(|piece| self.run_of(piece)).collect();
        m.embed(&m.scratch.ids, 0, total).await?;
        let tokens = Tokens::Mixed {
            decoding: n,
            end,
            pieces: &runs,
        };
        self.blocks(total, tokens, &mut NoTap).await?;
        for &sequence in decoding {
            self.grow(sequence, 1);
        }
        for piece in pieces {
            self.grow(piece.sequence, piece.tokens.len());
        }
        self.members = decoding.to_vec();
        if n == 0 {
            // The host waits here, too, so that it measures the step and does not run ahead of the device.
            m.backend.download(&m.scratch.x, 0, 1).await?;
            return Ok(Vec::new());
        }
        m.head(&m.scratch.x, n, &self.logits).await?;
        self.choose(n, 0, &choice).await?;
        m.backend.download(&self.round, 0, n).await
    }

    /// Whether a step of these tokens makes sense; how many they are.
    fn check_step(&self, decoding: &[usize], last: &[u32], pieces: &[Feed<'_>]) -> Result<usize> {
        let fed = pieces.iter().map(|piece| piece.tokens.len());
        let total = decoding.len() + fed.sum::<usize>();
        let most = self.model.options.batch;
        if total == 0 || total > most || last.len() != decoding.len() {
            return Err(Error::usage(
                format!("a step of {total} tokens, where from 1 to {most} may be"),
                "give one token to each sequence that decodes, and shorter pieces",
            ));
        }
        self.known(last)?;
        let sequences = decoding.iter().copied().map(|sequence| (sequence, 1));
        let fed = pieces.iter().map(|p| (p.sequence, p.tokens.len()));
        let mut seen = vec![false; self.cache.slots()];
        for (sequence, tokens) in sequences.chain(fed) {
            self.room(sequence, tokens)?;
            if std::mem::replace(&mut seen[sequence], true) {
                return Err(Error::usage(
                    format!("sequence {sequence} comes twice"),
                    "give each sequence once",
                ));
            }
        }
        pieces
            .iter()
            .try_for_each(|p| self.check(p.sequence, p.tokens))?;
        Ok(total)
    }

    fn run_of(&self, piece: &Feed<'_>) -> Piece {
        Piece {
            slot: piece.sequence,
            position: self.length(piece.sequence).unwrap_or(0),
            tokens: piece.tokens.len(),
        }
    }

    /// Brings the row table of these sequences to the device; all their positions are below what it returns.
    fn bring_places(&self, decoding: &[usize]) -> Result<usize> {
        let mut rows = Vec::with_capacity(2 * decoding.len());
        let mut end = 0;
        for &slot in decoding {
            let position = self.length(slot).unwrap_or(0);
            rows.extend([slot as u32, position as u32]);
            end = end.max(position + 1);
        }
        if !rows.is_empty() {
            self.model.backend.upload(&self.rows, 0, &rows)?;
        }
        Ok(end)
    }

    /// Begins a new sequence in slot `slot`, which is free: with the first `tokens` tokens that the sequence before it left
    /// there, if it left them whole ([`Session::keeps`]). Whether the slot was free.
    pub fn begin_in(&mut self, slot: usize, tokens: usize) -> bool {
        self.changes += 1;
        self.cache.allocate_slot(slot, tokens)
    }

    /// Whether a sequence can begin with the first `tokens` tokens that slot `slot` has or had. Layers with a window may have lost
    /// what the next token sees.
    pub fn keeps(&self, slot: usize, tokens: usize) -> bool {
        self.cache.keeps(slot, tokens)
    }

    /// Gives sequence `dst` the keys and values of the first `tokens` tokens of slot `src`, instead of its own. The caller
    /// knows that they are there: `src` may be a free slot whose sequence had as many.
    ///
    /// # Errors
    /// [`Error::Usage`] for slots that are not there, equal, or shorter than that; failures of the device.
    pub async fn copy_prefix(&mut self, src: usize, dst: usize, tokens: usize) -> Result<()> {
        let whole = src < self.cache.slots() && self.keeps(src, tokens);
        if src == dst || self.length(dst).is_none() || !whole {
            return Err(Error::usage(
                format!("a copy of {tokens} tokens from slot {src} to {dst}"),
                "copy to a sequence that has begun, from another slot",
            ));
        }
        let m = self.model;
        m.backend.scope(&|| "shared prefix".to_owned());
        let values = m.config.kv_heads * m.config.head_dim;
        let words = |positions: usize| m.kv.words(positions * values);
        let longest = self.cache.longest(src);
        for layer in self.cache.layers() {
            // A ring is copied as far as it was written: the last positions lie anywhere in it.
            let ring = layer.positions < self.cache.capacity();
            let copied = if ring { longest } else { tokens };
            let copy = CopyWithin {
                src: words(src * layer.positions),
                dst: words(dst * layer.positions),
                words: words(copied.min(layer.positions)),
            };
            m.backend.run(&copy, &[&layer.k]).await?;
            m.backend.run(&copy, &[&layer.v]).await?;
        }
        self.cache.copied(src, dst, tokens);
        Ok(())
    }
}
