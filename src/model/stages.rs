//! A packed model read with fewer stages than it has: the first ones of each layer, without a look at the others.

use super::weights::{Dtype, Tensor, Weights};
use super::{Method, Recipe};
use crate::error::Result;
use std::borrow::Cow;
use std::ops::Deref;

/// The first stages of packed weights, as weights of their own.
///
/// Codes and scales of a stage lie beside each other in every row, so that a reading with fewer stages copies those of
/// the first ones; whatever is not packed is lent as it is.
pub struct FirstStages<W> {
    weights: W,
    recipe: Recipe,
}

impl<W: Deref<Target: Weights>> FirstStages<W> {
    /// `weights` as `recipe` reads them, which [`Recipe::first_stages`] has made of theirs; with their own recipe they
    /// stay as they are.
    pub fn new(weights: W, recipe: Recipe) -> Self {
        Self { weights, recipe }
    }

    /// Stages of the layer `prefix` that are stored, and how many of them are read; `None` where they are the same.
    fn cut(&self, prefix: &str) -> Option<(usize, usize)> {
        let stages = |recipe: Recipe| match recipe.method.of(prefix) {
            Method::Phase { stages } => Some(stages),
            _ => None,
        };
        let (stored, read) = (stages(self.weights.recipe())?, stages(self.recipe)?);
        (read < stored).then_some((stored, read))
    }
}

impl<W: Deref<Target: Weights>> Weights for FirstStages<W> {
    fn tensor(&self, name: &str) -> Result<Option<Tensor<'_>>> {
        let tensor = self.weights.tensor(name)?;
        let (prefix, axis) = match name.rsplit_once('.') {
            Some((prefix, "codes")) => (prefix, 2),
            Some((prefix, "scales")) => (prefix, 3),
            _ => return Ok(tensor),
        };
        Ok(match self.cut(prefix) {
            Some(stages) => tensor.map(|tensor| first(tensor, axis, stages)),
            None => tensor,
        })
    }

    fn dtype(&self, name: &str) -> Result<Option<Dtype>> {
        self.weights.dtype(name)
    }

    fn release(&self) {
        self.weights.release();
    }

    fn recipe(&self) -> Recipe {
        self.recipe
    }

    fn allow_nonfinite(&self) -> bool {
        self.weights.allow_nonfinite()
    }
}

/// The first `read` of `stored` indices along `axis`. A tensor of another shape stays as it is: who reads it says what is
/// wrong with it.
fn first(tensor: Tensor<'_>, axis: usize, (stored, read): (usize, usize)) -> Tensor<'_> {
    let inner = tensor.shape.iter().skip(axis + 1).product::<usize>() * tensor.dtype.bytes();
    if tensor.shape.get(axis) != Some(&stored) || inner == 0 {
        return tensor;
    }
    let runs = tensor.bytes.chunks_exact(stored * inner);
    let bytes: Vec<u8> = runs.flat_map(|run| &run[..read * inner]).copied().collect();
    let mut shape = tensor.shape;
    shape[axis] = read;
    Tensor {
        dtype: tensor.dtype,
        shape,
        bytes: Cow::Owned(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_stages_of_every_row_are_kept() {
        let tensor = |shape: &[usize]| Tensor {
            dtype: Dtype::F16,
            shape: shape.to_vec(),
            bytes: (0..2 * shape.iter().product::<usize>() as u8).collect(),
        };
        let codes = first(tensor(&[2, 2, 3, 2]), 2, (3, 2));
        assert_eq!(codes.shape, [2, 2, 2, 2]);
        let kept = (0..4u8).flat_map(|row| 12 * row..12 * row + 8);
        assert_eq!(*codes.bytes, kept.collect::<Vec<_>>());
        let other = first(tensor(&[2, 2, 2, 2]), 2, (3, 2));
        assert_eq!(other.shape, [2, 2, 2, 2]);
    }
}
