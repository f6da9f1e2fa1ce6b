//! From documents to blocks of equal length, as the papers' scripts do it (`tests/data/packing.json`).
//!
//! Training: documents end with eos; their bos is dropped; those of a batch are joined and cut into blocks, and what
//! is left over is thrown away. The label after every bos and eos is masked. Evaluation: blocks start with bos and
//! hold whole documents.

use serde::{Deserialize, Serialize};

/// The label of a position that no loss is taken at.
pub const IGNORED: i32 = -100;

/// What happens with the tokens that fill no block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Packing {
    /// As in the papers: thrown away at the end of every batch of documents.
    Papers {
        /// Documents of a batch; Hugging Face's `datasets.map` takes 1000.
        batch: u64,
    },
    /// The next block begins with them; only the end of the corpus is thrown away.
    Stream,
}

/// Cuts a stream of documents into blocks. All of its state can be written down and taken up again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packer {
    packing: Packing,
    block: usize,
    eos: u32,
    /// Tokens of a block that is not full yet.
    carry: Vec<u32>,
    /// Documents of the current batch.
    in_batch: u64,
    /// Whether a document has begun and not ended.
    open: bool,
    /// Tokens of all documents, eos included.
    pub tokens: u64,
    /// Tokens that were thrown away.
    pub dropped: u64,
    /// Documents that have ended.
    pub documents: u64,
}

impl Packer {
    /// An empty packer for blocks of `block` tokens (at least 1).
    pub fn new(packing: Packing, block: usize, eos: u32) -> Self {
        Self {
            packing,
            block: block.max(1),
            eos,
            carry: Vec::new(),
            in_batch: 0,
            open: false,
            tokens: 0,
            dropped: 0,
            documents: 0,
        }
    }

    /// Takes the next tokens of a document, without bos and eos. Full blocks go to `full`, in order.
    pub fn push<E>(
        &mut self,
        mut ids: &[u32],
        full: &mut impl FnMut(&[u32]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.tokens += ids.len() as u64;
        self.open |= !ids.is_empty();
        while !ids.is_empty() {
            let room = self.block - self.carry.len();
            let (now, later) = ids.split_at(room.min(ids.len()));
            self.carry.extend_from_slice(now);
            ids = later;
            if self.carry.len() == self.block {
                full(&self.carry)?;
                self.carry.clear();
            }
        }
        Ok(())
    }

    /// Ends a document; one without tokens is none.
    pub fn end<E>(&mut self, full: &mut impl FnMut(&[u32]) -> Result<(), E>) -> Result<(), E> {
        if !self.open {
            return Ok(());
        }
        self.push(&[self.eos], full)?;
        self.open = false;
        self.documents += 1;
        self.in_batch += 1;
        if let Packing::Papers { batch } = self.packing
            && self.in_batch >= batch
        {
            self.finish();
        }
        Ok(())
    }

    /// Throws away what fills no block: the end of a batch or of everything.
    pub fn finish(&mut self) {
        self.dropped += self.carry.len() as u64;
        self.carry.clear();
        self.in_batch = 0;
    }
}

/// The labels of a block: its own ids, but [`IGNORED`] after every bos and eos, where the next document begins. They
/// are not shifted: the model at position i is judged by label i + 1.
pub fn labels(ids: &[u32], bos: Option<u32>, eos: u32) -> Vec<i32> {
    let ends = |id: u32| id == eos || Some(id) == bos;
    let mut masked = false;
    let label = |&id: &u32| {
        let label = if masked { IGNORED } else { id as i32 };
        masked = ends(id);
        label
    };
    ids.iter().map(label).collect()
}

/// The papers' blocks for perplexity: bos, then whole documents (without bos, with eos) while they fit into `block`
/// tokens. A document of more than `block` tokens is left out; one of exactly that many fills a block of its own, which
/// bos makes one longer, as in the papers' code. The last block may be short.
pub fn evaluation<'a>(
    documents: impl IntoIterator<Item = &'a [u32]>,
    bos: u32,
    block: usize,
) -> Vec<Vec<u32>> {
    let mut blocks = Vec::new();
    let mut current = vec![bos];
    for document in documents {
        if document.len() > block {
            continue;
        }
        if current.len() > 1 && current.len() + document.len() > block {
            blocks.push(std::mem::replace(&mut current, vec![bos]));
        }
        current.extend_from_slice(document);
    }
    if current.len() > 1 {
        blocks.push(current);
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(packing: Packing, documents: &[&[u32]]) -> (Vec<Vec<u32>>, Packer) {
        let mut packer = Packer::new(packing, 4, 9);
        let mut blocks = Vec::new();
        let mut full = |block: &[u32]| -> Result<(), ()> {
            blocks.push(block.to_vec());
            Ok(())
        };
        for document in documents {
            packer.push(document, &mut full).unwrap();
            packer.end(&mut full).unwrap();
        }
        packer.finish();
        (blocks, packer)
    }

    #[test]
    fn batches_drop_their_rest_and_streams_go_on() {
        let documents: [&[u32]; 3] = [&[1, 2, 3, 4, 5], &[6], &[7, 8]];
        let (blocks, packer) = pack(Packing::Papers { batch: 1 }, &documents);
        assert_eq!(blocks, [[1, 2, 3, 4]]);
        assert_eq!(
            (packer.tokens, packer.dropped, packer.documents),
            (11, 7, 3)
        );
        let (blocks, packer) = pack(Packing::Stream, &documents);
        assert_eq!(blocks, [[1, 2, 3, 4], [5, 9, 6, 9]]);
        assert_eq!(packer.dropped, 3);
    }

    #[test]
    fn a_document_as_long_as_a_block_has_one_of_its_own() {
        let documents: [&[u32]; 4] = [&[5, 2], &[6, 7, 8, 2], &[3, 2], &[4, 4, 4, 4, 2]];
        let blocks = evaluation(documents, 1, 4);
        assert_eq!(blocks, [&[1, 5, 2][..], &[1, 6, 7, 8, 2], &[1, 3, 2]]);
    }

    #[test]
    fn the_first_label_of_a_block_counts() {
        assert_eq!(
            labels(&[5, 2, 6, 1, 7, 8], Some(1), 2),
            [5, 2, -100, 1, -100, 8]
        );
        assert_eq!(labels(&[5, 2, 6, 1, 7], None, 2), [5, 2, -100, 1, 7]);
    }
}
