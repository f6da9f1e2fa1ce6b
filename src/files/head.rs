//! Whether the head that a configuration ties to the embedding matrix really is that matrix.

use super::safetensors::Entry;
use super::shards::Shards;
use crate::model::{Config, Dtype, Tensor};
use ::safetensors::Dtype as Stored;

const HEAD: &str = Config::HEAD_WEIGHT;

/// The element type of a dense tensor, if it is one that models are read from.
pub(super) fn dtype(stored: Stored) -> Option<Dtype> {
    match stored {
        Stored::F32 => Some(Dtype::F32),
        Stored::F16 => Some(Dtype::F16),
        Stored::BF16 => Some(Dtype::BF16),
        Stored::U32 => Some(Dtype::U32),
        _ => None,
    }
}

/// Whether the head of a model that is configured to be tied is the embedding matrix: not if `shards` hold one with
/// other values, as transformers 5 decides it. What is not needed then is taken out of `shards`; `packed` heads are
/// stored otherwise, and leave no place for another one.
pub(super) fn is_tied(
    shards: &mut Shards,
    embed_name: &str,
    packed: bool,
    notes: &mut Vec<String>,
) -> bool {
    let empty = |bytes: usize| bytes == 0;
    if shards.unreadable.get(HEAD).is_some_and(|t| empty(t.1)) {
        shards.unreadable.remove(HEAD);
        notes.push(format!("`{HEAD}` holds nothing and is ignored"));
    }
    let Some(head) = shards.tensors.get(HEAD) else {
        return true;
    };
    let Some(embed) = shards.tensors.get(embed_name) else {
        // Tied means one matrix, whichever of its names it was saved under.
        if !packed {
            shards.rename(HEAD, embed_name);
            notes.push(format!("`{HEAD}` is read as the embedding as well"));
        }
        return true;
    };
    let shared = head.0 == embed.0 && head.1.range == embed.1.range;
    let note = if shared {
        None
    } else if empty(head.1.range.len()) {
        Some("holds nothing and is ignored")
    } else if same(shards, head, embed) {
        Some("is ignored: the head is the embedding matrix")
    } else {
        if !packed {
            notes.push(format!(
                "`{HEAD}` has other values than the embedding: the head is not tied"
            ));
        }
        return packed; // beside a packed head it is a tensor too many
    };
    notes.extend(note.map(|note| format!("`{HEAD}` {note}")));
    shards.tensors.remove(HEAD);
    true
}

/// Whether two tensors have the same shape and values. Those that cannot be read have not; who needs them hears why.
fn same(shards: &Shards, a: &(usize, Entry), b: &(usize, Entry)) -> bool {
    const PIECE: usize = 1 << 16;
    if a.1.shape != b.1.shape {
        return false;
    }
    let tensor = |t: &'_ (usize, Entry)| {
        Some(Tensor {
            dtype: dtype(t.1.dtype)?,
            shape: t.1.shape.clone(),
            bytes: shards.bytes(t).ok()?,
        })
    };
    if a.1.dtype == b.1.dtype {
        return match (shards.bytes(a), shards.bytes(b)) {
            (Ok(a), Ok(b)) => a == b,
            _ => false,
        };
    }
    let (Some(a), Some(b)) = (tensor(a), tensor(b)) else {
        return false;
    };
    let elements = a.elements();
    let mut starts = (0..elements).step_by(PIECE);
    starts.all(|start| {
        let range = start..elements.min(start + PIECE);
        a.to_f32(range.clone()) == b.to_f32(range)
    })
}
