//! Buffers of training that few families need.

use super::options::TrainOptions;
use super::scratch::{logit_rows, widest_norm};
use crate::model::Config;
use crate::model::budget::{product, sum};

/// Words of the buffers that few families need.
pub(super) struct ExtraWords {
    pub d_branch: usize,
    pub norm_weight: usize,
    pub capped: usize,
}

impl ExtraWords {
    pub(super) fn of(c: &Config, o: &TrainOptions, most: usize) -> Self {
        let rows = o.n_tokens();
        let some = |needed: bool, words: usize| if needed { words } else { 0 };
        let logits = product(&[logit_rows(c, rows, most), c.vocab]);
        Self {
            d_branch: some(c.adds_branches(), product(&[rows, c.hidden])),
            norm_weight: some(c.blueprint().norm_offset != 0.0, widest_norm(c)),
            capped: some(c.caps_logits(), logits),
        }
    }

    pub(super) fn total(&self) -> usize {
        sum([self.d_branch, 2 * self.norm_weight, self.capped])
    }
}
