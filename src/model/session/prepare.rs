//! Making a device ready before the first token.

use super::{Choice, Session};
use crate::backend::Backend;
use crate::error::Result;

impl<B: Backend> Session<'_, B> {
    /// Compiles what prompts of these lengths and decoding after them will need, in parallel, so that no token waits
    /// for a compiler. Does nothing where there is nothing to compile; the text stays as it is.
    pub async fn prepare(&mut self, prompts: &[usize]) -> Result<()> {
        let backend = &self.model.backend;
        if !backend.rehearse(true)? {
            return Ok(());
        }
        let position = self.position;
        let rehearsed = self.rehearse(prompts).await;
        self.position = position;
        backend.rehearse(false)?;
        rehearsed
    }

    /// Steps as they will be, at the beginning of the context and at its end: kernels may differ.
    async fn rehearse(&mut self, prompts: &[usize]) -> Result<()> {
        let context = self.context;
        for &length in prompts.iter().chain(&[1]) {
            let length = length.clamp(1, context);
            for position in [0, context - length] {
                self.position = position;
                self.feed(&vec![0; length]).await?;
                self.argmax().await?;
                if length == 1 {
                    self.position = position;
                    let last = vec![0; self.texts];
                    self.decode(&last, 1, Choice::Greedy).await?;
                }
            }
        }
        Ok(())
    }
}
