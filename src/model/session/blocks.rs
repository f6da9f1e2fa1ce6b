//! Tokens on their way through all layers.

use super::{Session, Tokens};
use crate::backend::Backend;
use crate::error::Result;
use crate::model::forward::Cache;
use crate::model::tap::{NoTap, Tap};

impl<B: Backend> Session<'_, B> {
    /// Runs one batch of tokens of a sequence through all layers, of which somebody needs what the last one gives or not; its
    /// length stays.
    pub(super) async fn advance(
        &mut self,
        tokens: &[u32],
        sequence: usize,
        read: bool,
        tap: &mut impl Tap<B>,
    ) -> Result<()> {
        let m = self.model;
        m.backend.upload(&m.scratch.ids, 0, tokens)?;
        m.embed(&m.scratch.ids, 0, tokens.len()).await?;
        let run = Tokens::Run {
            slot: sequence,
            position: self.length(sequence).unwrap_or(0),
        };
        self.through_blocks(tokens.len(), run, read, tap).await
    }

    /// Appends `tokens` to a sequence in batches; returns how many tokens the last one had.
    pub(super) async fn extend(&mut self, tokens: &[u32], sequence: usize) -> Result<usize> {
        let mut rows = 0;
        self.reads(sequence, tokens.len());
        let batches = tokens.chunks(self.model.options.batch);
        let last = batches.len();
        for (i, batch) in batches.enumerate() {
            self.advance(batch, sequence, i + 1 == last, &mut NoTap)
                .await?;
            self.grow(sequence, batch.len());
            rows = batch.len();
        }
        self.prompt_end = 0;
        Ok(rows)
    }

    /// Runs tokens, whose embeddings are there, through all layers.
    pub(super) async fn blocks(
        &self,
        rows: usize,
        tokens: Tokens<'_>,
        tap: &mut impl Tap<B>,
    ) -> Result<()> {
        self.through_blocks(rows, tokens, true, tap).await
    }

    /// [`Session::blocks`]; `read`: somebody needs what the last layer gives.
    async fn through_blocks(
        &self,
        rows: usize,
        tokens: Tokens<'_>,
        read: bool,
        tap: &mut impl Tap<B>,
    ) -> Result<()> {
        let m = self.model;
        let length = self.rope_length(rows, tokens);
        m.ropes.fit(&m.backend, &m.config, length)?;
        m.receive_stream(rows)?;
        for (l, layer) in m.layers().zip(self.cache.layers()) {
            m.backend.scope(&|| format!("layer {l}"));
            let cache = Cache {
                layer: l,
                norms: None, // the block knows them
                k: &layer.k,
                v: &layer.v,
                partials: &self.partials,
                rows: &self.rows,
                slots: self.cache.slots(),
                capacity: layer.positions,
            };
            m.block(l, cache, rows, tokens, tap).await?;
        }
        m.pass_stream(rows, read).await
    }
}
