//! Making a device ready before the first token.

use super::{Choice, Feed, Session};
use crate::backend::Backend;
use crate::error::Result;
use crate::model::choice::Sampling;
use std::slice::from_ref;

/// More tokens than any kernel for few of them takes.
const MANY: usize = 17;

impl<B: Backend> Session<'_, B> {
    /// Compiles what prompts of these lengths and decoding after them will need, in parallel, so that no token waits
    /// for a compiler. Does nothing where there is nothing to compile; the sequences stay as they are.
    pub async fn prepare(&mut self, prompts: &[usize]) -> Result<()> {
        let backend = &self.model.backend;
        if !backend.collect_pipelines()? {
            return Ok(());
        }
        let before = self.cache.lengths();
        let collected = self.collect_pipelines(prompts).await;
        self.cache.restore(before);
        backend.compile_pipelines().await?;
        collected
    }

    /// Steps as they will be, at the beginning of the context and at its end: kernels may differ.
    async fn collect_pipelines(&mut self, prompts: &[usize]) -> Result<()> {
        let context = self.cache.capacity();
        for &length in prompts.iter().chain(&[1]) {
            let length = length.clamp(1, context);
            for position in [0, context - length] {
                self.all_at(position);
                if self.alone().is_ok() {
                    self.feed(&vec![0; length]).await?;
                    self.argmax().await?;
                } else {
                    let first = self.cache.taken().next().unwrap_or(0);
                    self.extend(&vec![0; length], first).await?; // as all others
                }
                if length == 1 {
                    let all: Vec<_> = self.cache.taken().collect();
                    self.collect_step(&all, position).await?;
                }
            }
        }
        Ok(())
    }

    /// Compiles what [`Session::step`] and decoding any number of the session's sequences will need, in parallel. All slots are
    /// free before and afterwards.
    ///
    /// # Errors
    /// Failures of the device.
    pub async fn prepare_steps(&mut self) -> Result<()> {
        let backend = &self.model.backend;
        if !backend.collect_pipelines()? {
            return Ok(());
        }
        let before = self.cache.lengths();
        let collected = self.collect_steps().await;
        self.cache.restore(before);
        backend.compile_pipelines().await?;
        collected
    }

    /// Steps of all sizes, at the beginning of the context and at its end.
    async fn collect_steps(&mut self) -> Result<()> {
        let (slots, context) = (self.cache.slots(), self.cache.capacity());
        while self.begin().is_some() {}
        let longest = self.model.options.batch.min(context);
        // Beyond these, all numbers of tokens take the same kernels.
        let sizes = (0..=slots.min(MANY)).chain([slots].into_iter().filter(|&n| n > MANY));
        for n in sizes {
            let members: Vec<usize> = (0..n).collect();
            let last = vec![0; n];
            for position in [0, context - 1] {
                if n > 0 {
                    self.collect_step(&members, position).await?;
                }
                for tokens in [1, 8, 32, longest] {
                    let tokens = tokens.min(longest - n.min(longest - 1));
                    if n == slots || position + tokens > context {
                        continue;
                    }
                    self.all_at(position);
                    let tokens = vec![0; tokens];
                    let piece = Feed {
                        sequence: n,
                        tokens: &tokens,
                    };
                    let choice = Choice::Greedy;
                    self.step(&members, &last, &[piece], choice).await?;
                }
            }
        }
        Ok(())
    }

    /// Says that all sequences have `position` tokens.
    fn all_at(&mut self, position: usize) {
        for sequence in 0..self.cache.slots() {
            self.cache.set_length(sequence, position);
        }
    }

    /// One step of decoding of some sequences, with each way to choose.
    async fn collect_step(&mut self, members: &[usize], position: usize) -> Result<()> {
        let sampling = Sampling::default();
        let all = Sampling {
            top_k: 0,
            ..sampling
        };
        let last = vec![0; members.len()];
        let mut generators = sampling.generators(last.len());
        self.all_at(position);
        let greedy = self.decode_some(members, &last, 1, Choice::Greedy);
        greedy.await?;
        for how in [sampling, all] {
            self.all_at(position);
            let choice = Choice::Drawn(from_ref(&how), &mut generators);
            self.decode_some(members, &last, 1, choice).await?;
        }
        Ok(())
    }
}
