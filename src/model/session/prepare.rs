//! Making a device ready before the first token.

use super::{Choice, Session};
use crate::backend::Backend;
use crate::error::Result;
use crate::model::sampling::Sampling;

impl<B: Backend> Session<'_, B> {
    /// Compiles what prompts of these lengths and decoding after them will need, in parallel, so that no token waits
    /// for a compiler. Does nothing where there is nothing to compile; the text stays as it is.
    pub async fn prepare(&mut self, prompts: &[usize]) -> Result<()> {
        let backend = &self.model.backend;
        if !backend.collect_pipelines(true)? {
            return Ok(());
        }
        let position = self.position;
        let rehearsed = self.collect_pipelines(prompts).await;
        self.position = position;
        backend.collect_pipelines(false)?;
        rehearsed
    }

    /// Steps as they will be, at the beginning of the context and at its end: kernels may differ.
    async fn collect_pipelines(&mut self, prompts: &[usize]) -> Result<()> {
        let context = self.context;
        for &length in prompts.iter().chain(&[1]) {
            let length = length.clamp(1, context);
            for position in [0, context - length] {
                self.position = position;
                if self.texts == 1 {
                    self.feed(&vec![0; length]).await?;
                    self.argmax().await?;
                } else {
                    self.extend(&vec![0; length], 0).await?; // as all others
                }
                if length == 1 {
                    self.rehearse_step(position).await?;
                }
            }
        }
        Ok(())
    }

    /// One step of decoding, with each way to choose.
    async fn rehearse_step(&mut self, position: usize) -> Result<()> {
        let sampling = Sampling::default();
        let mut generators = sampling.generators(self.texts);
        for choice in [Choice::Greedy, Choice::Drawn(&sampling, &mut generators)] {
            self.position = position;
            self.decode(&vec![0; self.texts], 1, choice).await?;
        }
        Ok(())
    }
}
