//! Attention of one step: rotation, caches, and the kernel that suits the shape and the device.

use super::{Cache, Piece, Span, Tokens};
use crate::backend::{Backend, kernel_for};
use crate::error::Result;
use crate::model::Rotary;
use crate::model::loaded::Model;
use crate::ops::attention::AttentionCoop;
use crate::ops::attention::AttentionStep;
use crate::ops::attention::{Attention, Heads, Positions, Rope, Rotation};
use crate::ops::attention::{AttentionMerge, AttentionSplit};
use crate::ops::norm::RmsNormHeads;

impl<B: Backend> Model<B> {
    /// Rotation, caches and attention of a step of `count` tokens.
    pub(crate) async fn attend(
        &self,
        cache: &Cache<'_, B>,
        count: usize,
        tokens: Tokens<'_>,
    ) -> Result<()> {
        match tokens {
            Tokens::Run { slot, position } => {
                let first = position;
                let heads = self.heads(cache, count, Positions::Run { slot, first });
                match count {
                    1 => self.attend_next(heads, cache).await,
                    _ => self.attend_run(heads, cache).await,
                }
            }
            Tokens::Each { row, end } => {
                let slots = cache.slots;
                let table = Positions::Table { row, slots, end };
                self.attend_next(self.heads(cache, count, table), cache)
                    .await
            }
            Tokens::Steps { slot, position } => {
                self.attend_steps((slot, position), count, cache).await
            }
            Tokens::Spans(spans) => self.attend_spans(spans, cache).await,
            Tokens::Mixed {
                decoding,
                end,
                pieces,
            } => {
                if decoding > 0 {
                    let (row, slots) = (0, cache.slots);
                    let table = Positions::Table { row, slots, end };
                    let heads = self.heads(cache, decoding, table);
                    self.attend_next(heads, cache).await?;
                }
                self.attend_pieces(decoding, pieces, cache).await
            }
        }
    }

    fn heads(&self, cache: &Cache<'_, B>, tokens: usize, positions: Positions) -> Heads {
        let c = &self.config;
        let (blueprint, attention) = (c.blueprint(), c.attention(cache.layer));
        Heads {
            tokens,
            heads: c.heads,
            kv_heads: c.kv_heads,
            head_dim: c.head_dim,
            complex: blueprint.complex,
            kv: self.kv,
            capacity: cache.capacity,
            offset: 0,
            positions,
            scale: c.score_scale(),
            window: attention.window,
            softcap: c.variant.score_cap,
            rotation: Rotation {
                width: match attention.rotary {
                    Rotary::None => 0,
                    Rotary::Main | Rotary::Local => c.rotary_dim(),
                },
                pairs: blueprint.pairs,
            },
        }
    }

    /// Token after token, with the kernels that decoding takes.
    async fn attend_steps(
        &self,
        (slot, position): (usize, usize),
        count: usize,
        cache: &Cache<'_, B>,
    ) -> Result<()> {
        for offset in 0..count {
            let first = position + offset;
            let heads = Heads {
                offset,
                ..self.heads(cache, 1, Positions::Run { slot, first })
            };
            self.attend_next(heads, cache).await?;
        }
        Ok(())
    }

    /// Piece after piece, the first of which begins at token `offset` of the step. None is split into ranges, so that the sums
    /// of a token are the same however its prompt is cut into pieces.
    async fn attend_pieces(
        &self,
        mut offset: usize,
        pieces: &[Piece],
        cache: &Cache<'_, B>,
    ) -> Result<()> {
        for piece in pieces {
            let (slot, first) = (piece.slot, piece.position);
            let heads = Heads {
                offset,
                ..self.heads(cache, piece.tokens, Positions::Run { slot, first })
            };
            self.rotate(heads, cache).await?;
            self.attend_whole(heads, cache).await?;
            offset += piece.tokens;
        }
        Ok(())
    }

    /// Span after span, as if each were a step of its own: one that begins at an earlier position overwrites what the
    /// spans before it left there, and reads what they left below.
    async fn attend_spans(&self, spans: &[Span], cache: &Cache<'_, B>) -> Result<()> {
        let mut offset = 0;
        for span in spans {
            let first = span.position;
            let heads = Heads {
                offset,
                ..self.heads(cache, span.tokens, Positions::Run { slot: 0, first })
            };
            match offset {
                0 => self.attend_run(heads, cache).await?,
                // Several sequences fill the device together, so that none of the later ones is split.
                _ => {
                    self.rotate(heads, cache).await?;
                    self.attend_whole(heads, cache).await?;
                }
            }
            offset += span.tokens;
        }
        Ok(())
    }

    /// Whether the device runs [`AttentionStep`] for heads of this model.
    fn steps(&self) -> bool {
        let (facts, c) = (self.backend.facts(), &self.config);
        let rotation = Rotation {
            width: c.rotary_dim(),
            pairs: c.blueprint().pairs,
        };
        kernel_for::<AttentionStep>(facts.features).is_some()
            && AttentionStep::fits(c.head_dim, rotation, facts.subgroup_size)
    }

    /// Whether a token that is decoded leaves the same keys and values as one of a prompt, bit for bit: one kernel attends for
    /// both, and cuts the positions of neither.
    pub(crate) fn attends_alike(&self) -> bool {
        let ranges = self.backend.facts().tuning.ranges;
        !self.steps() && ranges.groups <= self.config.heads
    }

    /// The next token of one sequence, or of each of several.
    async fn attend_next(&self, heads: Heads, cache: &Cache<'_, B>) -> Result<()> {
        if !self.steps() {
            return self.attend_run(heads, cache).await;
        }
        let s = &self.scratch;
        let tuning = &self.backend.facts().tuning;
        let mut step = AttentionStep::of(heads, tuning.ranges, tuning.processors);
        match self.config.norms_each_head() {
            true if cache.norms.is_some() => step = step.normed(self.config.norm_eps),
            _ => self.normalize_heads(heads, cache).await?,
        }
        let splits = step.splits;
        let out = if splits == 1 {
            &s.attention
        } else {
            cache.partials
        };
        let rope = self.rope(cache);
        let [q, k] = cache.norms.unwrap_or([rope; 2]); // nobody reads those of heads without norms
        let buffers = [&s.qkv, rope, cache.rows, cache.k, cache.v, out, q, k];
        self.backend.run(&step, &buffers).await?;
        if splits == 1 {
            return Ok(());
        }
        self.merge(heads, splits, cache).await
    }

    /// Tokens whose keys and values enter the caches before any of them attends: over ranges of positions in parallel where
    /// the tokens alone would not fill the device. The ranges depend on how many tokens there are, so exact prompts have none.
    async fn attend_run(&self, heads: Heads, cache: &Cache<'_, B>) -> Result<()> {
        self.rotate(heads, cache).await?;
        let split = AttentionSplit::of(heads, self.backend.facts().tuning.ranges);
        let prompt = heads.tokens > 1 && matches!(heads.positions, Positions::Run { .. });
        if split.splits == 1 || self.coop(&heads) || prompt && self.options.exact {
            return self.attend_whole(heads, cache).await;
        }
        let buffers = [
            &self.scratch.qkv,
            cache.rows,
            cache.k,
            cache.v,
            cache.partials,
        ];
        self.backend.run(&split, &buffers).await?;
        self.merge(heads, split.splits, cache).await
    }

    /// The rotary table of a layer.
    fn rope(&self, cache: &Cache<'_, B>) -> &B::Buffer {
        self.ropes.of(self.config.attention(cache.layer).rotary)
    }

    /// Normalizes queries and keys, where the model does.
    async fn normalize_heads(&self, heads: Heads, cache: &Cache<'_, B>) -> Result<()> {
        let (Some([q, k]), Some(names)) = (cache.norms, self.config.blueprint().head_norms) else {
            return Ok(());
        };
        let norms = RmsNormHeads {
            offset: heads.offset,
            ..self.config.head_norms(names, heads.tokens)
        };
        let buffers = [&self.scratch.qkv, q, k];
        self.backend.run(&norms, &buffers).await
    }

    /// Makes queries and keys ready and brings keys and values to the caches.
    async fn rotate(&self, heads: Heads, cache: &Cache<'_, B>) -> Result<()> {
        self.normalize_heads(heads, cache).await?;
        let qkv = &self.scratch.qkv;
        let rope = self.rope(cache);
        let buffers = [qkv, rope, cache.rows, cache.k, cache.v];
        self.backend.run(&Rope(heads), &buffers).await
    }

    /// Whether cooperative matrices serve these tokens.
    fn coop(&self, heads: &Heads) -> bool {
        kernel_for::<AttentionCoop>(self.backend.facts().features).is_some()
            && !self.options.exact
            && heads.tokens > 8
            && AttentionCoop::fits(heads)
    }

    /// Attention that is not split.
    async fn attend_whole(&self, heads: Heads, cache: &Cache<'_, B>) -> Result<()> {
        let s = &self.scratch;
        if self.coop(&heads) {
            let buffers = [&s.qkv, cache.k, cache.v, &s.attention];
            return self.backend.run(&AttentionCoop(heads), &buffers).await;
        }
        let buffers = [&s.qkv, cache.rows, cache.k, cache.v, &s.attention];
        self.backend.run(&Attention(heads), &buffers).await
    }

    async fn merge(&self, heads: Heads, splits: usize, cache: &Cache<'_, B>) -> Result<()> {
        let merge = AttentionMerge { heads, splits };
        let buffers = [cache.partials, &self.scratch.attention];
        self.backend.run(&merge, &buffers).await
    }
}
