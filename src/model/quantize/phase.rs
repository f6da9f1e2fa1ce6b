//! Codes of the phase quantizer, shard by shard.

use super::shards::{self, Shards};
use super::{Granularity, Packed, Quantized, Shape, add_errors};
use crate::backend::{Backend, upload_new};
use crate::error::Result;
use crate::ops::quantize::{PhaseMean, PhasePack, PhaseScale, PhaseUnpack, WeightShard};
use std::ops::Range;

/// Quantizes a weight in `stages` residual stages.
pub(super) async fn pack<B: Backend>(
    backend: &B,
    r: &[f32],
    shape: Shape,
    stages: usize,
    granularity: Granularity,
) -> Result<Quantized> {
    let (form, out) = (shape.form, shape.out_features);
    let columns = form.columns(shape.in_features);
    let whole = WeightShard {
        form,
        ..WeightShard::whole(out, columns, granularity, stages, shape.exponent)
    };
    let block_rows = whole.block_rows();
    let mut shards = Shards::new(backend, r, out, columns, true, block_rows)?;
    // Shards that share no scales are quantized as weights of their own.
    let together = match shards.rows(0).len().is_multiple_of(block_rows) {
        true => 1,
        false => shards.len(),
    };
    let mut result = (Vec::new(), Vec::new(), [0.0; 2]);
    for run in shards::ranges(shards.len(), together, 1) {
        let first = shards.rows(run.start).start;
        let total_rows = shards.rows(run.end - 1).end - first;
        let shapes: Vec<WeightShard> = run
            .clone()
            .map(|i| shards.rows(i))
            .map(|rows| WeightShard {
                total_rows,
                first_row: rows.start - first,
                rows: rows.len(),
                lower_rows: lower_rows(out, &rows),
                ..whole
            })
            .collect();
        pack_run(&mut shards, run.start, &shapes, &mut result).await?;
    }
    Ok(result)
}

/// Scales and codes of a weight that is on the device as a whole, as the papers quantize it. The buffers are the weight,
/// scales, sums, codes and errors; the errors stay as they are.
pub(crate) async fn encode<B: Backend>(
    backend: &B,
    shard: WeightShard,
    [r, scales, sums, codes, errors]: [&B::Buffer; 5],
) -> Result<()> {
    for stage in 0..shard.stages {
        let sum = PhaseScale { shard, stage };
        backend.run(&sum, &[r, scales, sums]).await?;
        let mean = PhaseMean {
            shard,
            stage,
            least: shard.form.least_scale(),
        };
        backend.run(&mean, &[sums, scales]).await?;
    }
    let pack = PhasePack {
        shard,
        measure: false,
    };
    backend.run(&pack, &[r, scales, codes, errors]).await
}

/// Lower real rows that belong to complex rows `rows`, or their imaginary parts.
fn lower_rows(out_features: usize, rows: &Range<usize>) -> usize {
    rows.end.min(out_features / 2) - rows.start
}

/// Shards from number `first` on, which share one buffer of scales.
async fn pack_run<B: Backend>(
    shards: &mut Shards<'_, B>,
    first: usize,
    shapes: &[WeightShard],
    (codes, scales, errors): &mut Quantized,
) -> Result<()> {
    let backend = shards.backend();
    let largest = shapes[0];
    let sums = backend.alloc("sums", largest.sums())?;
    let scale = backend.alloc("scales", largest.scales())?;
    let packed = backend.alloc("codes", largest.codes())?;
    let error = backend.alloc("errors", 4 * largest.rows)?;
    for stage in 0..largest.stages {
        for (i, &shard) in shapes.iter().enumerate() {
            let buffers = [shards.get(first + i)?, &scale, &sums];
            backend.run(&PhaseScale { shard, stage }, &buffers).await?;
        }
        let mean = PhaseMean {
            shard: largest,
            stage,
            least: largest.form.least_scale(),
        };
        backend.run(&mean, &[&sums, &scale]).await?;
    }
    for (i, &shard) in shapes.iter().enumerate() {
        let buffers = [shards.get(first + i)?, &scale, &packed, &error];
        let pack = PhasePack {
            shard,
            measure: true,
        };
        backend.run(&pack, &buffers).await?;
        codes.extend(backend.download(&packed, 0, shard.codes()).await?);
        add_errors(errors, &backend.download(&error, 0, 4 * shard.rows).await?);
    }
    let words = backend.download(&scale, 0, largest.scales()).await?;
    scales.extend(words.into_iter().map(f32::from_bits));
    Ok(())
}

/// The weight of codes as it is stored, into `r`.
pub(super) async fn unpack<B: Backend>(
    backend: &B,
    packed: &Packed,
    stages: usize,
    r: &mut [f32],
) -> Result<()> {
    let (form, out) = (packed.form, packed.out_features);
    let columns = form.columns(packed.in_features);
    let whole = WeightShard {
        form,
        ..WeightShard::whole(out, columns, packed.granularity, stages, 0)
    };
    let row_codes = whole.codes() / whole.rows;
    let per_shard = shards::rows_per_shard(backend, columns, true)?;
    for rows in shards::ranges(whole.rows, per_shard, 1) {
        // The scales of a shard begin with those of the block of its first row.
        let block_rows = whole.block_rows();
        let first_row = rows.start % block_rows;
        let shard = WeightShard {
            total_rows: first_row + rows.len(),
            first_row,
            rows: rows.len(),
            lower_rows: lower_rows(out, &rows),
            ..whole
        };
        let block = whole.scales() / whole.scale_blocks();
        let scales = &packed.scales[rows.start / block_rows * block..][..shard.scales()];
        let codes = &packed.codes[rows.start * row_codes..rows.end * row_codes];
        let codes = upload_new(backend, "codes", codes)?;
        let scales = upload_new(backend, "scales", bytemuck::cast_slice(scales))?;
        let dense = backend.alloc("weight", shard.reals())?;
        let op = PhaseUnpack { shard };
        backend.run(&op, &[&codes, &scales, &dense]).await?;
        let words = backend.download(&dense, 0, shard.reals()).await?;
        let (upper, lower) = words.split_at(shard.rows * columns);
        for (words, row) in [(upper, rows.start), (lower, whole.rows + rows.start)] {
            let rows = &mut r[row * columns..][..words.len()];
            rows.copy_from_slice(bytemuck::cast_slice(words));
        }
    }
    Ok(())
}
