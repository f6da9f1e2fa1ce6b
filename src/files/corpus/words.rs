//! Tokens of words, shared by all workers.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{PoisonError, RwLock};

type Map = HashMap<Box<str>, Box<[u32]>>;

/// Parts with a lock each, so that workers seldom wait for each other.
const PARTS: usize = 64;

/// Words and their tokens; about 100 bytes each.
pub struct Words {
    parts: Vec<RwLock<Map>>,
    state: RandomState,
    most: usize,
}

impl Words {
    /// No words yet, and `most` at most; a part that is full forgets its words.
    pub fn new(most: usize) -> Self {
        Self {
            parts: (0..PARTS).map(|_| RwLock::default()).collect(),
            state: RandomState::new(),
            most: most.div_ceil(PARTS),
        }
    }

    /// Appends the tokens of `word`; false when they are not known.
    pub(super) fn find(&self, word: &str, out: &mut Vec<u32>) -> bool {
        let part = self.part(word).read();
        let part = part.unwrap_or_else(PoisonError::into_inner);
        let ids = part.get(word);
        out.extend(ids.into_iter().flatten());
        ids.is_some()
    }

    /// Remembers the tokens of `word`.
    pub(super) fn insert(&self, word: &str, ids: &[u32]) {
        let part = self.part(word).write();
        let mut part = part.unwrap_or_else(PoisonError::into_inner);
        if part.len() >= self.most {
            part.clear();
        }
        part.insert(word.into(), ids.into());
    }

    fn part(&self, word: &str) -> &RwLock<Map> {
        &self.parts[self.state.hash_one(word) as usize % PARTS]
    }
}
