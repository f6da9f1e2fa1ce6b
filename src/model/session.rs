//! A loaded model and the texts that run through it.

use super::{Config, Recipe, Weights};
use crate::backend::Backend;
use crate::error::Result;
use crate::ops::activation::Activations;

/// How to load a model.
#[derive(Debug, Clone, Copy)]
pub struct LoadOptions {
    /// What to do with dense linear layers; ignored for folders that are packed already.
    pub recipe: Recipe,
    /// How activations enter linear layers.
    pub activations: Activations,
    /// Positions of the KV cache.
    pub context: usize,
    /// Most tokens processed at once.
    pub batch: usize,
}

/// A model on a backend.
pub struct Model<B: Backend> {
    backend: B,
    config: Config,
}

impl<B: Backend> Model<B> {
    /// Loads (and quantizes, if `options.recipe` asks for it) every tensor. `progress` hears the name of each
    /// linear layer when it is ready.
    pub async fn load(
        _backend: B,
        _config: &Config,
        _weights: &dyn Weights,
        _options: LoadOptions,
        _progress: &mut dyn FnMut(&str),
    ) -> Result<Self> {
        todo!()
    }

    /// The backend it lives on.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// Its configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// A new text.
    pub fn session(&self) -> Result<Session<'_, B>> {
        todo!()
    }
}

/// One text: its KV cache and the logits after its last token.
pub struct Session<'m, B: Backend> {
    model: &'m Model<B>,
    position: usize,
}

impl<B: Backend> Session<'_, B> {
    /// Tokens seen so far.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Forgets everything after `position`.
    pub fn rewind(&mut self, position: usize) {
        self.position = self.position.min(position);
    }

    /// Appends `tokens` (at least one); the logits of the last one stay on the device.
    ///
    /// # Errors
    /// [`crate::Error::Context`] when they do not fit, [`crate::Error::Usage`] for ids beyond the vocabulary.
    pub async fn feed(&mut self, _tokens: &[u32]) -> Result<()> {
        let _ = self.model;
        todo!()
    }

    /// Appends `tokens` and returns the logits of all of them, `[tokens, vocab]`.
    pub async fn feed_all(&mut self, _tokens: &[u32]) -> Result<Vec<f32>> {
        todo!()
    }

    /// Logits after the last token, `[vocab]`.
    pub async fn logits(&self) -> Result<Vec<f32>> {
        todo!()
    }

    /// The most likely next token (lowest id among equals), chosen on the device.
    pub async fn argmax(&self) -> Result<u32> {
        todo!()
    }

    /// The `k` most likely next tokens with their logits, best first, chosen on the device; k at most 256.
    pub async fn top_k(&self, _k: usize) -> Result<Vec<(u32, f32)>> {
        todo!()
    }
}
