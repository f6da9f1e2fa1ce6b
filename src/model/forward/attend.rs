//! Attention of one step: rotation, caches, and the kernel that suits the shape and the device.

use super::{Cache, Model, Span, Text};
use crate::backend::{Backend, kernel_for};
use crate::error::{Error, Result};
use crate::ops::attention::AttentionCoop;
use crate::ops::attention::AttentionStep;
use crate::ops::attention::{Attention, Heads, Rope};
use crate::ops::attention::{AttentionMerge, AttentionSplit};

impl<B: Backend> Model<B> {
    /// Rotation, caches and attention: of the next token of each of several texts, or of `rows` tokens of one.
    pub(crate) async fn attend(
        &self,
        cache: &Cache<'_, B>,
        rows: usize,
        position: usize,
        text: Text<'_>,
    ) -> Result<()> {
        let (c, s) = (&self.config, &self.scratch);
        let heads = Heads {
            rows,
            heads: c.heads,
            kv_heads: c.kv_heads,
            head_dim: c.head_dim,
            position,
            kv: self.kv,
            first: 0,
            offset: 0,
        };
        let stride = cache.context;
        match text {
            Text::Each if self.steps() => self.attend_step(heads, stride, cache).await,
            Text::One(0) if rows == 1 && self.steps() => {
                self.attend_step(heads, stride, cache).await
            }
            Text::Each if rows > 1 => Err(Error::usage(
                "several texts at once need a device with subgroups",
                "use one text, or another device",
            )),
            Text::Spans(spans) => self.attend_spans(heads, spans, cache).await,
            Text::Steps => self.attend_steps(heads, cache).await,
            Text::Each | Text::One(_) => {
                let index = if let Text::One(index) = text {
                    index
                } else {
                    0
                };
                let first = index * stride;
                let heads = Heads { first, ..heads };
                let rope = Rope(heads);
                let buffers = [&s.qkv, &self.rope, cache.k, cache.v];
                self.backend.run(&rope, &buffers).await?;
                let splits = heads.splits(self.backend.facts().tuning.ranges);
                self.attend_rows(heads, splits, cache).await
            }
        }
    }

    /// Token after token, with the kernels that decoding takes.
    async fn attend_steps(&self, all: Heads, cache: &Cache<'_, B>) -> Result<()> {
        for row in 0..all.rows {
            let heads = Heads {
                rows: 1,
                position: all.position + row,
                offset: row,
                ..all
            };
            if self.steps() {
                self.attend_step(heads, cache.context, cache).await?;
                continue;
            }
            let buffers = [&self.scratch.qkv, &self.rope, cache.k, cache.v];
            self.backend.run(&Rope(heads), &buffers).await?;
            let splits = heads.splits(self.backend.facts().tuning.ranges);
            self.attend_rows(heads, splits, cache).await?;
        }
        Ok(())
    }

    /// Span after span, as if each were a step of its own: one that begins at an earlier position overwrites what the
    /// spans before it left there, and reads what they left below.
    async fn attend_spans(&self, all: Heads, spans: &[Span], cache: &Cache<'_, B>) -> Result<()> {
        let mut heads = all;
        for span in spans {
            (heads.rows, heads.position) = (span.rows, span.position);
            let buffers = [&self.scratch.qkv, &self.rope, cache.k, cache.v];
            self.backend.run(&Rope(heads), &buffers).await?;
            let splits = match heads.offset {
                0 => heads.splits(self.backend.facts().tuning.ranges),
                _ => 1, // several sequences fill the device together
            };
            self.attend_rows(heads, splits, cache).await?;
            heads.offset += span.rows;
        }
        Ok(())
    }

    /// Whether the device runs [`AttentionStep`] for heads of this model.
    pub(crate) fn steps(&self) -> bool {
        kernel_for::<AttentionStep>(self.backend.facts().features).is_some()
            && AttentionStep::fits(self.config.head_dim, self.backend.facts().subgroup_size)
    }

    async fn attend_step(&self, heads: Heads, stride: usize, cache: &Cache<'_, B>) -> Result<()> {
        let s = &self.scratch;
        let splits = AttentionStep::splits(&heads, self.backend.facts().tuning.ranges);
        let step = AttentionStep {
            heads,
            splits,
            stride,
            processors: self.backend.facts().tuning.processors,
        };
        let out = if splits == 1 {
            &s.attention
        } else {
            cache.ranges
        };
        let buffers = [&s.qkv, &self.rope, cache.k, cache.v, out];
        self.backend.run(&step, &buffers).await?;
        if splits > 1 {
            let merge = AttentionMerge { heads, splits };
            self.backend
                .run(&merge, &[cache.ranges, &s.attention])
                .await?;
        }
        Ok(())
    }

    /// Attention over the cache: over `splits` ranges of it in parallel where rows alone would not fill the device.
    async fn attend_rows(&self, heads: Heads, splits: usize, cache: &Cache<'_, B>) -> Result<()> {
        let (s, Cache { k, v, ranges, .. }) = (&self.scratch, cache);
        let coop = kernel_for::<AttentionCoop>(self.backend.facts().features).is_some();
        if coop && !self.options.exact && heads.rows > 8 && AttentionCoop::fits(&heads) {
            let buffers = [&s.qkv, k, v, &s.attention];
            return self.backend.run(&AttentionCoop(heads), &buffers).await;
        }
        if splits == 1 {
            let buffers = [&s.qkv, k, v, &s.attention];
            return self.backend.run(&Attention(heads), &buffers).await;
        }
        let split = AttentionSplit { heads, splits };
        let buffers = [&s.qkv, k, v, ranges];
        self.backend.run(&split, &buffers).await?;
        let merge = AttentionMerge { heads, splits };
        self.backend.run(&merge, &[ranges, &s.attention]).await
    }
}
