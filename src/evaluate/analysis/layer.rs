//! One linear layer, and what kind it is.

use super::packed::Codes;
use super::padding::Padding;
use super::weight::Dense;
use crate::model::Config;
use serde::Serialize;

/// One linear layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Layer {
    /// Name of its tensor without `.weight`.
    pub name: String,
    /// Block it belongs to; none for the head.
    pub block: Option<usize>,
    /// What it does there.
    pub kind: Kind,
    /// Outputs and inputs.
    pub shape: [usize; 2],
    /// What its full-precision weight shows; none where only codes are stored.
    pub dense: Option<Dense>,
    /// What its codes and scales show; none where they are not stored.
    pub codes: Option<Codes>,
    /// What its codes cost beyond their bits; at two stages for a full-precision weight.
    pub padding: Padding,
}

/// The kind of a linear layer: the word that its family has for it, such as `q` or `down`, or `head`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Kind(&'static str);

impl Kind {
    /// The output head.
    pub const HEAD: Self = Self("head");

    /// The word for it.
    pub const fn word(self) -> &'static str {
        self.0
    }

    /// All kinds that `layers` have, each once, in the order in which they come.
    pub fn all(layers: &[Layer]) -> Vec<Self> {
        let mut all = Vec::new();
        for layer in layers {
            if !all.contains(&layer.kind) {
                all.push(layer.kind);
            }
        }
        all
    }
}

impl Layer {
    /// A name that is short enough for tables and plots: `3.down`, `head`.
    pub fn short(&self) -> String {
        match self.block {
            Some(block) => format!("{block}.{}", self.kind.word()),
            None => self.kind.word().to_owned(),
        }
    }
}

/// Block and kind of every linear layer, in the order of [`Config::linears`].
pub(super) fn kinds(config: &Config) -> Vec<(Option<usize>, Kind)> {
    let stacks = config.blueprint().stacks.iter();
    let kinds: Vec<_> = stacks
        .flat_map(|s| s.layers)
        .map(|l| Kind(l.kind))
        .collect();
    let blocks = (0..config.layers).flat_map(|l| kinds.iter().map(move |&kind| (Some(l), kind)));
    blocks.chain([(None, Kind::HEAD)]).collect()
}
