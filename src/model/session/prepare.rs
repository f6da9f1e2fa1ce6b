//! Making a device ready before the first token.

use super::{Choice, Session};
use crate::backend::Backend;
use crate::error::Result;
use crate::model::choice::Sampling;

impl<B: Backend> Session<'_, B> {
    /// Compiles what prompts of these lengths and decoding after them will need, in parallel, so that no token waits
    /// for a compiler. Does nothing where there is nothing to compile; the sequences stay as they are.
    pub async fn prepare(&mut self, prompts: &[usize]) -> Result<()> {
        let backend = &self.model.backend;
        if !backend.collect_pipelines()? {
            return Ok(());
        }
        let sequences: Vec<_> = self.cache.taken().collect();
        let lengths: Vec<_> = sequences.iter().map(|&i| self.length(i)).collect();
        let collected = self.collect_pipelines(prompts).await;
        for (&sequence, length) in sequences.iter().zip(lengths) {
            self.cache.set_length(sequence, length.unwrap_or(0));
        }
        backend.compile_pipelines()?;
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
                    self.collect_step(position).await?;
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

    /// One step of decoding, with each way to choose.
    async fn collect_step(&mut self, position: usize) -> Result<()> {
        let sampling = Sampling::default();
        let last = vec![0; self.n_seqs()];
        let mut generators = sampling.generators(last.len());
        for choice in [Choice::Greedy, Choice::Drawn(&[sampling], &mut generators)] {
            self.all_at(position);
            self.decode(&last, 1, choice).await?;
        }
        Ok(())
    }
}
