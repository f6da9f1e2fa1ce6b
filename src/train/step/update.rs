//! The end of a step: the norm of the gradient, and AdamW.

use super::Trainer;
use super::among::same_norm;
use super::parameters::Kind;
use super::trainer::{StepReport, norm_of};
use crate::backend::Backend;
use crate::error::Result;
use crate::ops::memory::Fill;
use crate::ops::train::Update;
use crate::ranks::Ranks;
use std::ops::Range;

impl<B: Backend> Trainer<B> {
    /// Sets all gradients to zero.
    pub(super) async fn clear(&self) -> Result<()> {
        self.backend.scope(&|| "clearing gradients".to_owned());
        for (parameter, tensors) in self.trained() {
            let fill = Fill {
                words: parameter.len(),
                value: 0,
            };
            self.backend.run(&fill, &[&tensors.gradient]).await?;
        }
        Ok(())
    }

    /// Ends a step whose gradients are there, the same on all ranks: updates the parameters, or skips that.
    pub(super) async fn finish(
        &mut self,
        ranks: &dyn Ranks,
        loss: f64,
        tokens: usize,
        (lr, weight_decay): (f64, f64),
    ) -> Result<StepReport> {
        let scale = self.progress.scale();
        let grad_norm = self.grad_norm(ranks).await? / scale;
        if ranks.size() > 1 {
            same_norm(ranks, grad_norm)?;
        }
        let finite = loss.is_finite() && grad_norm.is_finite();
        let skipped = !finite || grad_norm > self.most_norm;
        if !skipped {
            self.update(grad_norm, lr, weight_decay).await?;
        }
        let outlier = finite && skipped;
        if !outlier {
            self.progress.note(skipped); // an outlier does not mean that the loss scale is wrong
        }
        Ok(StepReport {
            loss,
            grad_norm,
            skipped,
            scale,
            tokens,
        })
    }

    /// The norm of all gradients together, not yet divided by the loss scale; infinity if one is not finite.
    async fn grad_norm(&self, ranks: &dyn Ranks) -> Result<f64> {
        let s = &self.scratch;
        self.backend.scope(&|| "gradient norm".to_owned());
        let (mut shares, mut places) = (0, Vec::new());
        for (parameter, tensors) in self.trained() {
            let op = norm_of(parameter, shares);
            if tensors.formats.owned {
                self.backend
                    .run(&op, &[&tensors.gradient, &s.squares, &s.largest])
                    .await?;
            }
            places.push((tensors.formats.owner, shares..shares + op.partials()));
            shares += op.partials();
        }
        let asked = [&s.squares, &s.largest].map(|b| self.backend.download(b, 0, shares));
        let [squares, largest] = asked;
        let (mut squares, mut largest) = (squares.await?, largest.await?);
        if self.is_sharded() {
            of_owners_of(ranks, &places, [&mut squares, &mut largest])?;
        }
        if largest.iter().any(|&bits| bits >= f32::INFINITY.to_bits()) {
            return Ok(f64::INFINITY);
        }
        let squares = squares.into_iter().map(|w| f64::from(f32::from_bits(w)));
        Ok(squares.sum::<f64>().sqrt())
    }

    /// Applies AdamW to every parameter, with the gradient clipped as `torch.nn.utils.clip_grad_norm_` does.
    async fn update(&mut self, grad_norm: f64, lr: f64, weight_decay: f64) -> Result<()> {
        let clip = (self.options.clip / (grad_norm + 1e-6)).min(1.0);
        let update = Update {
            factor: clip / self.progress.scale(),
            beta1: self.options.betas.first,
            beta2: self.options.betas.second,
            eps: self.options.eps,
            lr,
            weight_decay,
            step: self.progress.updates + 1,
        };
        self.backend.scope(&|| "AdamW".to_owned());
        for (index, parameter) in self.list.iter().enumerate() {
            let formats = self.tensors[index].formats;
            if formats.moments.is_none() || !formats.owned {
                continue;
            }
            // Decay would move logarithms towards 0, and so scales towards 1.
            let (lr, weight_decay) = match parameter.kind {
                Kind::Scales => (lr * self.options.scale_rate, 0.0),
                _ => (lr, weight_decay),
            };
            let update = Update {
                lr,
                weight_decay,
                ..update
            };
            self.update_one(index, update).await?;
        }
        self.quantizer.stale();
        Ok(())
    }
}

/// Overwrites words of several vectors by those of the ranks that own their places.
fn of_owners_of(
    ranks: &dyn Ranks,
    places: &[(usize, Range<usize>)],
    mut vectors: [&mut Vec<u32>; 2],
) -> Result<()> {
    let of = |rank: usize| places.iter().filter(move |place| place.0 == rank);
    let mut mine = Vec::new();
    for (_, place) in of(ranks.rank()) {
        vectors
            .iter()
            .for_each(|all| mine.extend(&all[place.clone()]));
    }
    let count = |rank| 2 * of(rank).map(|place| place.1.len()).sum::<usize>();
    let counts: Vec<usize> = (0..ranks.size()).map(count).collect();
    let mut told = vec![0; counts.iter().sum()];
    ranks.all_gather(&mine, &mut told, &counts)?;
    let mut rest = told.as_slice();
    for (_, place) in (0..ranks.size()).flat_map(of) {
        for all in &mut vectors {
            let (words, behind) = rest.split_at(place.len());
            all[place.clone()].copy_from_slice(words);
            rest = behind;
        }
    }
    Ok(())
}
