//! A mixture of experts: of all experts of a block, each token runs through the few that a router chooses for it.
//!
//! The choices come to the host, which then runs each chosen expert once, on all of its tokens. So experts take the same products as
//! all other layers, and those that nobody chose are not touched; the price is that a step waits for the device in every block.

use super::super::linear::{Input, Linear, tile_rows};
use super::super::loaded::Model;
use super::super::options::LoadOptions;
use super::super::{Config, Experts, budget::product};
use crate::backend::Backend;
use crate::error::Result;
use crate::ops::MatrixDtype;
use crate::ops::embedding::TokenEmbed;
use crate::ops::memory::ScatterAdd;
use crate::ops::norm::RmsNorm;
use crate::ops::sampling::Route;

/// The experts of a block on a device.
pub(crate) struct ExpertWeights<B: Backend> {
    /// Scores experts; its inputs are not rounded.
    pub router: Linear<B>,
    /// Gate and up, and down, of each.
    pub layers: Vec<[Linear<B>; 2]>,
}

/// Buffers of a mixture, used by every block in turn.
pub(crate) struct MixtureScratch<B: Backend> {
    /// What the router and all experts read, [tokens, hidden].
    normed: B::Buffer,
    /// [tokens, experts].
    scores: B::Buffer,
    /// [tokens, chosen].
    ids: B::Buffer,
    weights: B::Buffer,
    /// The same by expert: the token of each choice, and its weight.
    tokens: B::Buffer,
    token_weights: B::Buffer,
    /// What the tokens of one expert have, and what it makes of that, [tokens, hidden].
    gathered: B::Buffer,
    outputs: B::Buffer,
}

impl<B: Backend> MixtureScratch<B> {
    /// Words of its buffers, in their order; none for a model without experts.
    pub(crate) fn words(backend: &B, c: &Config, options: &LoadOptions) -> Option<[usize; 8]> {
        let experts = c.variant.experts.as_ref()?;
        let rows = tile_rows(backend, options.batch, options.exact);
        let wide = product(&[rows, c.hidden]);
        let chosen = product(&[rows, experts.chosen]);
        let scores = product(&[rows, experts.count]);
        Some([wide, scores, chosen, chosen, chosen, chosen, wide, wide])
    }

    pub(crate) fn new(backend: &B, c: &Config, options: &LoadOptions) -> Result<Option<Self>> {
        let Some(words) = Self::words(backend, c, options) else {
            return Ok(None);
        };
        let alloc = |i: usize| backend.alloc("mixture of experts", words[i]);
        Ok(Some(Self {
            normed: alloc(0)?,
            scores: alloc(1)?,
            ids: alloc(2)?,
            weights: alloc(3)?,
            tokens: alloc(4)?,
            token_weights: alloc(5)?,
            gathered: alloc(6)?,
            outputs: alloc(7)?,
        }))
    }
}

/// The choices of some tokens, by expert.
struct Choices {
    /// Of each expert that was chosen: its index, and where its choices begin and end.
    runs: Vec<(usize, usize, usize)>,
    tokens: Vec<u32>,
    weights: Vec<u32>,
}

impl Choices {
    /// From the ids and the weights (as bits) that a router gives each token.
    fn new(ids: &[u32], weights: &[u32], experts: &Experts) -> Self {
        let chosen = ids.iter().zip(weights).enumerate();
        let mut all: Vec<(usize, u32, u32)> = chosen
            .map(|(i, (&id, &weight))| (id as usize, (i / experts.chosen) as u32, weight))
            .filter(|&(e, ..)| e < experts.count)
            .collect();
        all.sort_by_key(|&(e, token, _)| (e, token));
        // Where no device has chosen, because kernels are only being collected, all ids are equal.
        all.dedup_by_key(|&mut (e, token, _)| (e, token));
        let (mut runs, mut begin) = (Vec::new(), 0);
        for run in all.chunk_by(|a, b| a.0 == b.0) {
            let end = begin + run.len();
            runs.push((run[0].0, begin, end));
            begin = end;
        }
        let lists = all.iter().map(|&(_, token, weight)| (token, weight));
        let (tokens, weights) = lists.unzip();
        Self {
            runs,
            tokens,
            weights,
        }
    }
}

impl<B: Backend> Model<B> {
    /// Adds to the residual stream what the chosen experts make of its norm by `weight`.
    pub(super) async fn mixture(
        &self,
        experts: (&Experts, &ExpertWeights<B>),
        weight: Option<&B::Buffer>,
        rows: usize,
    ) -> Result<()> {
        let s = &self.scratch;
        let (Some(m), Some(weight)) = (&s.mixture, weight) else {
            return Ok(());
        };
        let (n, (how, weights)) = (self.config.hidden, experts);
        let norm = RmsNorm {
            tokens: rows,
            n,
            rms: self.config.rms(),
            accumulate: false,
        };
        self.backend.run(&norm, &[&s.x, weight, &m.normed]).await?;
        let input = self.input(&m.normed, None);
        self.linear(&weights.router, input, &m.scores, rows, false)
            .await?;
        let choices = self.route(how, m, rows).await?;
        for &(e, begin, end) in &choices.runs {
            self.expert(&weights.layers[e], m, (begin, end - begin), rows)
                .await?;
        }
        Ok(())
    }

    /// Asks the device which experts were chosen, and gives it the same by expert.
    async fn route(&self, how: &Experts, m: &MixtureScratch<B>, rows: usize) -> Result<Choices> {
        self.backend.scope(&|| "choice of experts".to_owned());
        let route = Route {
            tokens: rows,
            experts: how.count,
            chosen: how.chosen,
            normalized: how.normalized,
        };
        self.backend
            .run(&route, &[&m.scores, &m.ids, &m.weights])
            .await?;
        let n = rows * how.chosen;
        let ids = self.backend.download(&m.ids, 0, n);
        let weights = self.backend.download(&m.weights, 0, n);
        let choices = Choices::new(&ids.await?, &weights.await?, how);
        self.backend.upload(&m.tokens, 0, &choices.tokens)?;
        self.backend.upload(&m.token_weights, 0, &choices.weights)?;
        Ok(choices)
    }

    /// Runs an expert on its tokens, `count` from index `first` of the lists on.
    async fn expert(
        &self,
        [gate_up, down]: &[Linear<B>; 2],
        m: &MixtureScratch<B>,
        (first, count): (usize, usize),
        rows: usize,
    ) -> Result<()> {
        let (s, n) = (&self.scratch, self.config.hidden);
        let take = TokenEmbed {
            tokens: count,
            hidden: n,
            dtype: MatrixDtype::F32,
            row_words: n,
            first_row: 0,
            table_rows: rows,
            ids_offset: first,
            scale: 1.0,
        };
        self.backend
            .run(&take, &[&m.normed, &m.tokens, &m.gathered])
            .await?;
        let input = self.input(&m.gathered, None);
        let n_absmax_partials = self.gated(gate_up, input, count).await?;
        let input = Input {
            n_absmax_partials,
            ..self.input(&s.activation, None)
        };
        self.linear(down, input, &m.outputs, count, false).await?;
        let add = ScatterAdd {
            count,
            n,
            offset: first,
            y_rows: rows,
        };
        let buffers = [&m.outputs, &m.tokens, &m.token_weights, &s.x];
        self.backend.run(&add, &buffers).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn experts() -> Experts {
        Experts {
            count: 4,
            chosen: 2,
            width: 8,
            normalized: true,
            dense_layers: Vec::new(),
        }
    }

    #[test]
    fn an_expert_has_each_token_once() {
        let choices = Choices::new(&[0; 6], &[1; 6], &experts());
        assert_eq!(
            (choices.runs, choices.tokens),
            (vec![(0, 0, 3)], vec![0, 1, 2])
        );
    }

    #[test]
    fn choices_are_sorted_by_expert() {
        let experts = experts();
        let choices = Choices::new(&[3, 0, 0, 2, 3, 9], &[1, 2, 3, 4, 5, 6], &experts);
        assert_eq!(choices.runs, [(0, 0, 2), (2, 2, 3), (3, 3, 5)]);
        assert_eq!(choices.tokens, [0, 1, 1, 0, 2]);
        assert_eq!(choices.weights, [2, 3, 4, 1, 5]);
    }
}
