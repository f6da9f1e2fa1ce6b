//! Rows of matrices on their way to a device: they are brought into the kernels' layout a few at a time, and split over
//! bindings.

use super::{PackedView, Tensor};
use crate::backend::{Backend, Fill, Write};
use crate::error::Result;
use crate::ops::phase::interleave;

/// Some rows of a matrix, as many as one binding holds.
pub(crate) struct Shard<B: Backend> {
    /// First row.
    pub first: usize,
    /// Number of rows.
    pub rows: usize,
    /// The rows.
    pub buffer: B::Buffer,
}

/// Rows of one layer on their way to a device.
pub(crate) struct Rows<'a> {
    /// How many.
    pub count: usize,
    /// What is in them.
    pub write: Box<Write<'a>>,
}

/// Uploads the rows of stacked layers behind each other, split over as many buffers as bindings allow.
pub(super) fn upload_rows<B: Backend>(
    backend: &B,
    label: &str,
    layers: &[Rows<'_>],
    row_words: usize,
) -> Result<Vec<Shard<B>>> {
    let total: usize = layers.iter().map(|l| l.count).sum();
    let per_shard = (backend.facts().max_words / row_words).max(1);
    let mut shards = Vec::new();
    for first in (0..total).step_by(per_shard) {
        let rows = per_shard.min(total - first);
        shards.push(Shard {
            first,
            rows,
            buffer: backend.alloc(label, rows * row_words)?,
        });
    }
    let mut row = 0;
    for layer in layers {
        let end = row + layer.count;
        for shard in &shards {
            let (start, stop) = (row.max(shard.first), end.min(shard.first + shard.rows));
            if start < stop {
                let write =
                    |first: usize, words: &mut [u32]| (layer.write)(start - row + first, words);
                let fill = Fill::new(stop - start, row_words, &write);
                backend.upload_with(&shard.buffer, (start - shard.first) * row_words, &fill)?;
            }
        }
        row = end;
    }
    Ok(shards)
}

/// The codes of `layer` as the kernels read them.
pub(super) fn code_rows<'a>(layer: &'a PackedView<'_>, row_words: usize) -> Rows<'a> {
    let planes = layer.form.matrices() * layer.stages();
    Rows {
        count: layer.codes.len() / row_words,
        write: Box::new(move |first, dst| {
            let src = &layer.codes[first * row_words..][..dst.len()];
            interleave(src, dst, planes, row_words / planes);
        }),
    }
}

/// Rows of a tensor as they lie in buffers: `row_words` words each, and zeros behind the values.
pub(super) fn padded_rows(tensor: Tensor<'_>, row_words: usize) -> Rows<'_> {
    let columns = tensor.shape.last().copied().unwrap_or(1).max(1);
    let row_bytes = columns * tensor.dtype.bytes();
    Rows {
        count: tensor.elements() / columns,
        write: Box::new(move |first, words| {
            let rows = tensor.bytes[first * row_bytes..].chunks_exact(row_bytes);
            for (src, dst) in rows.zip(words.chunks_exact_mut(row_words)) {
                let dst: &mut [u8] = bytemuck::cast_slice_mut(dst);
                dst[..row_bytes].copy_from_slice(src);
                dst[row_bytes..].fill(0);
            }
        }),
    }
}

/// [`padded_rows`] of a tensor in 16 bits with its values as f32, which represents all of them exactly.
pub(super) fn float_rows(tensor: Tensor<'_>, row_words: usize) -> Rows<'_> {
    let columns = tensor.shape.last().copied().unwrap_or(1).max(1);
    Rows {
        count: tensor.elements() / columns,
        write: Box::new(move |first, words| {
            for (row, dst) in words.chunks_exact_mut(row_words).enumerate() {
                let start = (first + row) * columns;
                let values = tensor.to_f32(start..start + columns);
                dst[..columns].copy_from_slice(bytemuck::cast_slice(&values));
                dst[columns..].fill(0);
            }
        }),
    }
}

/// Rows of `row_words` words that are in memory already.
pub(super) fn host_rows(words: Vec<u32>, row_words: usize) -> Rows<'static> {
    Rows {
        count: words.len() / row_words,
        write: Box::new(move |first, dst| {
            dst.copy_from_slice(&words[first * row_words..][..dst.len()]);
        }),
    }
}
