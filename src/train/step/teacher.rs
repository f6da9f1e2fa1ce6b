//! What a teacher, a full-precision model of the same shape, has on the device.

use super::formats::Formats;
use super::options::TrainOptions;
use super::parameters::{Parameter, final_norm, head};
use super::quantizer::{self, Quantizer};
use super::scope::{Holding, Scope};
use super::scratch::logit_rows;
use super::tensors::Tensors;
use crate::backend::Backend;
use crate::files::run::Part;
use crate::model::budget::{product, sum};
use crate::model::{Config, Recipe};

/// The teacher, and what it says of the current micro-batch.
pub(super) struct Teacher<B: Backend> {
    /// Its parameters, which have values only.
    pub tensors: Vec<Tensors<B>>,
    pub quantizer: Quantizer<B>,
    /// The input of its head, as products take it.
    pub head_in: B::Buffer,
    /// The logits of a portion of the tokens.
    pub logits: B::Buffer,
}

/// Words of [`Teacher::head_in`].
pub(super) fn input_words(config: &Config, rows: usize, half: bool) -> usize {
    let all = product(&[rows, config.hidden]);
    let words = if half { all / 2 } else { all };
    words.checked_next_multiple_of(4).unwrap_or(usize::MAX)
}

/// What the device holds of a teacher's parameter: everything, or, where the teacher is told its last residual streams, what
/// follows them.
fn holding(o: &TrainOptions, c: &Config, index: usize) -> Holding {
    match o.scope {
        Scope::Whole => Holding::Used,
        _ if index == final_norm(c) || index == head(c) => Holding::Used,
        _ => Holding::Absent,
    }
}

/// The formats of a teacher's parameters.
pub(super) fn formats(
    o: &TrainOptions,
    c: &Config,
    list: &[Parameter],
    half: bool,
) -> Vec<Formats> {
    Formats::used(list, half, |i| holding(o, c, i))
}

/// Words of device memory that a teacher takes.
pub(super) fn words(c: &Config, o: &TrainOptions, most: usize, half: bool) -> usize {
    if o.distill == 0.0 {
        return 0;
    }
    let list = o.parameters(c);
    let formats = formats(o, c, &list, half);
    let each = list.iter().zip(&formats);
    let values: usize = each.map(|(p, f)| f.words(Part::Master, p.len())).sum();
    let all = (&list[..], &formats[..]);
    let dense: usize = quantizer::words(Recipe::FULL, c, all, half).iter().sum();
    let logits = logit_rows(c, o.n_tokens(), most) * c.vocab;
    sum([values, dense, logits, input_words(c, o.n_tokens(), half)])
}
