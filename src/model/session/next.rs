//! What may come next, as the host sees it: logits, the most likely token, the most likely few.

use super::{MAX_TOP_K, Session};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::ops::sampling::{Argmax, TopK};

impl<B: Backend> Session<'_, B> {
    /// Logits after the last token, `[vocab]`; those of the first sequence where there are several.
    pub async fn logits(&self) -> Result<Vec<f32>> {
        self.logits_of(0).await
    }

    /// Logits after the last token of a sequence, `[vocab]`.
    ///
    /// # Errors
    /// [`Error::Usage`] where the last step had no token of this sequence.
    pub async fn logits_of(&self, sequence: usize) -> Result<Vec<f32>> {
        let Some(row) = self.members.iter().position(|&member| member == sequence) else {
            return Err(Error::usage(
                format!("there are no logits of sequence {sequence}"),
                "ask for those of a sequence that the last step decoded",
            ));
        };
        let (m, n) = (self.model, self.model.config.vocab);
        let words = m.backend.download(&self.logits, row * n, n).await?;
        Ok(words.into_iter().map(f32::from_bits).collect())
    }

    /// The most likely next token (lowest id among equals), chosen on the device.
    ///
    /// # Errors
    /// Failures of the device; [`Error::Usage`] where the session has several sequences.
    pub async fn argmax(&self) -> Result<u32> {
        self.alone()?;
        let m = self.model;
        m.backend.scope(&|| "greedy choice".to_owned());
        let argmax = Argmax {
            rows: 1,
            n: m.config.vocab,
            offset: 0,
        };
        m.backend.run(&argmax, &[&self.logits, &self.best]).await?;
        Ok(m.backend.download(&self.best, 0, 1).await?[0])
    }

    /// The `k` most likely next tokens with their logits, best first, chosen on the device; k at most
    /// [`MAX_TOP_K`] and the vocabulary.
    ///
    /// # Errors
    /// Failures of the device; [`Error::Usage`] where the session has several sequences.
    pub async fn top_k(&self, k: usize) -> Result<Vec<(u32, f32)>> {
        self.alone()?;
        let m = self.model;
        let n = m.config.vocab;
        let k = k.clamp(1, MAX_TOP_K.min(n));
        m.backend.scope(&|| "top-k choice".to_owned());
        let buffers = [&self.logits, &self.best, &self.best_logits];
        m.backend.run(&TopK { rows: 1, n, k }, &buffers).await?;
        let ids = m.backend.download(&self.best, 0, k).await?;
        let logits = m.backend.download(&self.best_logits, 0, k).await?;
        Ok(ids
            .into_iter()
            .zip(logits.into_iter().map(f32::from_bits))
            .collect())
    }
}
