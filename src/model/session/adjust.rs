//! Penalties, biases and masks of sequences, which change their logits before a token is chosen.

use super::Session;
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::model::Sampling;
use crate::model::budget::product;
use crate::model::linear::tile_rows;
use crate::ops::memory::Copy;
use crate::ops::sampling::{CountTokens, IN_PROMPT, Penalize, PenaltySettings};
use std::cell::RefCell;

/// Tables of what is to be changed, by slot, made when they are needed first.
pub(super) struct Adjust<B: Backend> {
    /// [slots, vocab]: which tokens a prompt has, and how often each was generated.
    history: B::Buffer,
    /// [slots, vocab].
    bias: B::Buffer,
    /// [slots, vocab / 32]: one bit for each token that may come.
    mask: B::Buffer,
    /// [slots, 8]: how each row is changed.
    settings: B::Buffer,
    /// [slots, vocab], of whole tiles and vectors: the logits once they are changed. Those of the model stay, because
    /// log-probabilities are theirs.
    logits: B::Buffer,
    /// How each slot is changed.
    slots: Vec<PenaltySettings>,
    /// What is in `settings`.
    uploaded: RefCell<Vec<u32>>,
}

/// Words of rows of logits, filled up to vectors of four.
pub(super) fn logit_words(rows: usize, vocab: usize) -> usize {
    product(&[rows, vocab]).next_multiple_of(4)
}

impl<B: Backend> Adjust<B> {
    fn new(session: &Session<'_, B>) -> Result<Self> {
        let (m, slots) = (session.model, session.cache.slots());
        let (backend, vocab) = (&m.backend, m.config.vocab);
        let table = product(&[slots, vocab]);
        let rows = tile_rows(backend, slots, m.options.exact);
        let of = |slot| PenaltySettings {
            slot: slot as u32,
            ..PenaltySettings::default()
        };
        Ok(Self {
            history: backend.alloc("occurred tokens", table)?,
            bias: backend.alloc("logit biases", table)?,
            mask: backend.alloc("allowed tokens", product(&[slots, vocab.div_ceil(32)]))?,
            settings: backend.alloc("penalties", slots * PenaltySettings::WORDS)?,
            logits: backend.alloc("changed logits", logit_words(rows, vocab))?,
            slots: (0..slots).map(of).collect(),
            uploaded: RefCell::default(),
        })
    }

    /// Whether nothing of this slot is changed.
    fn leaves(&self, slot: usize) -> bool {
        let flags = self.slots.get(slot).map(|how| how.words()[1]);
        flags.is_none_or(|flags| flags == 0)
    }
}

impl<B: Backend> Session<'_, B> {
    /// Changes the logits of a sequence from now on: by the penalties of `sampling`, for the tokens of `prompt` and those that
    /// are chosen, and by a bias for each id. What was said before of the sequence or of its slot is forgotten.
    ///
    /// # Errors
    /// [`Error::Usage`] for ids beyond the vocabulary or a sequence that has not begun; failures of the device.
    pub fn adjust(
        &mut self,
        sequence: usize,
        sampling: &Sampling,
        prompt: &[u32],
        bias: &[(u32, f32)],
    ) -> Result<()> {
        self.room(sequence, 0)?;
        self.known(prompt)?;
        let ids: Vec<u32> = bias.iter().map(|(id, _)| *id).collect();
        self.known(&ids)?;
        let how = PenaltySettings {
            slot: sequence as u32,
            repetition: sampling.repetition_penalty,
            presence: sampling.presence_penalty,
            frequency: sampling.frequency_penalty,
            biased: !bias.is_empty(),
            masked: false,
        };
        if self.adjust.is_none() && how.words()[1] == 0 {
            return Ok(());
        }
        let vocab = self.model.config.vocab;
        let backend = &self.model.backend;
        let adjust = self.tables()?;
        adjust.slots[sequence] = how;
        if how.penalizes() {
            let mut words = vec![0u32; vocab];
            for &id in prompt {
                words[id as usize] = IN_PROMPT;
            }
            backend.upload(&adjust.history, sequence * vocab, &words)?;
        }
        if how.biased {
            let mut words = vec![0f32; vocab];
            for &(id, by) in bias {
                words[id as usize] += by;
            }
            let words: &[u32] = bytemuck::cast_slice(&words);
            backend.upload(&adjust.bias, sequence * vocab, words)?;
        }
        Ok(())
    }

    /// Says which tokens may come next in a sequence: one bit for each, bit `i % 32` of word `i / 32`. `None`: all of them.
    ///
    /// # Errors
    /// [`Error::Usage`] for another number of bits, or a sequence that has not begun; failures of the device.
    pub fn allow(&mut self, sequence: usize, mask: Option<&[u32]>) -> Result<()> {
        self.room(sequence, 0)?;
        let words = self.model.config.vocab.div_ceil(32);
        if let Some(mask) = mask.filter(|mask| mask.len() != words) {
            return Err(Error::usage(
                format!("{} words of allowed tokens, where {words} are", mask.len()),
                "give a bit for each token of the vocabulary",
            ));
        }
        if self.adjust.is_none() && mask.is_none() {
            return Ok(());
        }
        let backend = &self.model.backend;
        let adjust = self.tables()?;
        adjust.slots[sequence].masked = mask.is_some();
        match mask {
            Some(mask) => backend.upload(&adjust.mask, sequence * words, mask),
            None => Ok(()),
        }
    }

    fn tables(&mut self) -> Result<&mut Adjust<B>> {
        let tables = match self.adjust.take() {
            Some(tables) => tables,
            None => Adjust::new(self)?,
        };
        Ok(self.adjust.insert(tables))
    }

    /// Forgets what was said of a slot.
    pub(super) fn forget_adjustments(&mut self, slot: usize) {
        if let Some(adjust) = &mut self.adjust
            && let Some(how) = adjust.slots.get_mut(slot)
        {
            *how = PenaltySettings {
                slot: slot as u32,
                ..PenaltySettings::default()
            };
        }
    }

    /// Whether the logits of any of these sequences are changed.
    pub fn adjusts(&self, sequences: &[usize]) -> bool {
        let adjust = self.adjust.as_ref();
        adjust.is_some_and(|adjust| sequences.iter().any(|&slot| !adjust.leaves(slot)))
    }

    /// The tables, if any of the members of this step has something in them; brings the settings of its rows.
    pub(super) fn bring_adjustments(&self) -> Result<Option<&Adjust<B>>> {
        let Some(adjust) = &self.adjust else {
            return Ok(None);
        };
        if self.members.iter().all(|&slot| adjust.leaves(slot)) {
            return Ok(None);
        }
        let rows = self.members.iter().map(|&slot| adjust.slots[slot].words());
        let words: Vec<u32> = rows.flatten().collect();
        if *adjust.uploaded.borrow() != words {
            self.model.backend.upload(&adjust.settings, 0, &words)?;
            adjust.uploaded.replace(words);
        }
        Ok(Some(adjust))
    }

    /// The logits of `rows` rows, changed.
    pub(super) async fn adjusted<'a>(
        &self,
        adjust: &'a Adjust<B>,
        rows: usize,
    ) -> Result<&'a B::Buffer> {
        let (m, slots) = (self.model, self.cache.slots());
        let (backend, n) = (&m.backend, m.config.vocab);
        backend.scope(&|| "penalties".to_owned());
        let quads = logit_words(rows, n) / 4;
        let buffers = [&self.logits, &adjust.logits];
        backend.run(&Copy { quads }, &buffers).await?;
        let penalize = Penalize {
            rows,
            n,
            history_slots: slots,
            bias_slots: slots,
            mask_slots: slots,
        };
        let tables = [&adjust.history, &adjust.bias, &adjust.mask];
        let buffers = [
            &adjust.settings,
            tables[0],
            tables[1],
            tables[2],
            &adjust.logits,
        ];
        backend.run(&penalize, &buffers).await?;
        Ok(&adjust.logits)
    }

    /// Counts the ids that were chosen for `rows` rows, which lie at index `offset` of the round.
    pub(super) async fn count(&self, adjust: &Adjust<B>, rows: usize, offset: usize) -> Result<()> {
        let m = self.model;
        let count = CountTokens {
            count: rows,
            n: m.config.vocab,
            slots: self.cache.slots(),
            offset,
            first: 0,
            shared: false,
            prompt: false,
        };
        let buffers = [&self.round, &adjust.settings, &adjust.history];
        m.backend.run(&count, &buffers).await
    }
}
