//! Rows of matrices on their way to a device: they are brought into the kernels' layout a few at a time, and split over
//! bindings.

use super::{PackedView, Tensor};
use crate::backend::{Backend, Fill, Write};
use crate::codebook::words_for;
use crate::error::Result;
use crate::ops::memory::Noise;
use crate::ops::phase::CodeLayout;

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

/// Uploads the codes of stacked layers as the kernels read them. `first` and `rows` of shards count complex rows.
pub(super) fn upload_codes<B: Backend>(
    backend: &B,
    label: &str,
    layers: &[PackedView<'_>],
    layout: CodeLayout,
) -> Result<Vec<Shard<B>>> {
    let Some(first) = layers.first() else {
        return Ok(Vec::new());
    };
    let planes = first.form.matrices() * first.stages();
    let words = words_for(first.in_features.div_ceil(2));
    let panels = |layer| code_panels(layer, planes, words, layout);
    let panels: Vec<_> = layers.iter().map(panels).collect();
    let shards = upload_rows(backend, label, &panels, layout.panel_words(planes, words))?;
    let rows = layers
        .iter()
        .map(|layer| layer.codes.len() / (planes * words));
    let rows: Vec<_> = rows.collect();
    Ok(in_rows(shards, &rows, layout.panel_rows(planes)))
}

/// The codes of `layer` in panels.
fn code_panels<'a>(
    layer: &'a PackedView<'_>,
    planes: usize,
    words: usize,
    layout: CodeLayout,
) -> Rows<'a> {
    let (row_words, panel_rows) = (planes * words, layout.panel_rows(planes));
    Rows {
        count: (layer.codes.len() / row_words).div_ceil(panel_rows),
        write: Box::new(move |first, dst| {
            let panels = dst.chunks_exact_mut(layout.panel_words(planes, words));
            let rows = layer.codes.chunks(panel_rows * row_words).skip(first);
            for (panel, rows) in panels.zip(rows) {
                panel.fill(0);
                for (row, codes) in rows.chunks_exact(row_words).enumerate() {
                    layout.lay(codes, planes, row, panel);
                }
            }
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

/// Codes of stacked layers of `rows` complex rows each, made on the device from noise.
pub(super) async fn noise_codes<B: Backend>(
    backend: &B,
    label: &str,
    rows: &[usize],
    (planes, words): (usize, usize),
    layout: CodeLayout,
) -> Result<Vec<Shard<B>>> {
    let panel_words = layout.panel_words(planes, words);
    let panel_rows = layout.panel_rows(planes);
    let panels = rows.iter().map(|rows| rows.div_ceil(panel_rows)).sum();
    let per_shard = (backend.facts().max_words / panel_words).max(1);
    let mut shards = Vec::new();
    for first in (0..panels).step_by(per_shard) {
        let count = per_shard.min(panels - first);
        let buffer = backend.alloc(label, count * panel_words)?;
        let noise = Noise::bits(count * panel_words, first as u32 + 1);
        backend.run(&noise, &[&buffer]).await?;
        shards.push(Shard {
            first,
            rows: count,
            buffer,
        });
    }
    Ok(in_rows(shards, rows, panel_rows))
}

/// Shards that count panels, counting rows instead: those of stacked layers of `rows` rows each, each of which begins with a
/// panel of its own.
fn in_rows<B: Backend>(shards: Vec<Shard<B>>, rows: &[usize], panel_rows: usize) -> Vec<Shard<B>> {
    let before = |panels: usize| {
        let (mut all, mut rest) = (0, panels);
        for &rows in rows {
            let here = rest.min(rows.div_ceil(panel_rows));
            all += rows.min(here * panel_rows);
            rest -= here;
        }
        all
    };
    let of = |shard: Shard<B>| {
        let first = before(shard.first);
        Shard {
            first,
            rows: before(shard.first + shard.rows) - first,
            ..shard
        }
    };
    shards.into_iter().map(of).collect()
}
