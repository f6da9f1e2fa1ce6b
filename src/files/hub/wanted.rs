//! What of a model is wanted, and which shards it has.

use super::name::is_relative;
use crate::files::CONFIG;
use crate::files::tokenizer::TOKENIZER;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// Longest index that is read.
pub(super) const LONGEST_INDEX: usize = 64 << 20;

/// What of a model is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Model,
    /// Its configuration and tokenizer.
    Tokenizer,
}

impl Part {
    /// The file without which there is nothing to begin with.
    pub(super) fn first(self) -> &'static str {
        match self {
            Self::Model => CONFIG,
            Self::Tokenizer => TOKENIZER,
        }
    }
}

/// The shards that an index names, if all of them are files of its folder.
pub(super) fn shards(index: &[u8]) -> Option<Vec<String>> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let index: Index = serde_json::from_slice(index).ok()?;
    let all: BTreeSet<String> = index.weight_map.into_values().collect();
    let good = |name: &String| is_relative(name) && !name.contains('/');
    (!all.is_empty() && all.iter().all(good)).then(|| all.into_iter().collect())
}
