//! Binary and ternary weights, shard by shard.

use super::shards::{self, Shards};
use super::{Method, Packed, Quantized, Shape, add_errors};
use crate::backend::{Backend, upload_new};
use crate::error::Result;
use crate::ops::quantize::{
    BaselineMean, BaselinePack, BaselineShard, BaselineSum, BaselineUnpack,
};
use std::ops::Range;

/// Quantizes a weight to two or three values.
pub(super) async fn pack<B: Backend>(
    backend: &B,
    r: &[f32],
    shape: Shape,
    ternary: bool,
) -> Result<Quantized> {
    let (out, columns) = (shape.out_features, shape.in_features);
    let mut shards = Shards::new(backend, r, out, columns, false, 1)?;
    let whole = BaselineShard::whole(ternary, out, columns, shape.exponent);
    let shard_of = |rows: Range<usize>| BaselineShard {
        first_row: rows.start,
        rows: rows.len(),
        ..whole
    };
    let largest = shard_of(shards.rows(0));
    let sums = backend.alloc("sums", 4 * out)?;
    let stats = backend.alloc("stats", 2)?;
    let packed = backend.alloc("codes", largest.rows * largest.words())?;
    let error = backend.alloc("errors", 4 * largest.rows)?;
    for i in 0..shards.len() {
        let op = BaselineSum(shard_of(shards.rows(i)));
        backend.run(&op, &[shards.get(i)?, &sums]).await?;
    }
    backend.run(&BaselineMean(whole), &[&sums, &stats]).await?;
    let (mut codes, mut errors) = (Vec::new(), [0.0; 2]);
    for i in 0..shards.len() {
        let shard = shard_of(shards.rows(i));
        let buffers = [shards.get(i)?, &stats, &packed, &error];
        backend.run(&BaselinePack(shard), &buffers).await?;
        let words = shard.rows * shard.words();
        codes.extend(backend.download(&packed, 0, words).await?);
        add_errors(
            &mut errors,
            &backend.download(&error, 0, 4 * shard.rows).await?,
        );
    }
    let scale = f32::from_bits(backend.download(&stats, 0, 1).await?[0]);
    Ok((codes, vec![scale], errors))
}

/// The dense weight of codes, into `r`.
pub(super) async fn unpack<B: Backend>(backend: &B, packed: &Packed, r: &mut [f32]) -> Result<()> {
    let (out, columns) = (packed.out_features, packed.in_features);
    let whole = BaselineShard::whole(packed.method == Method::Ternary, out, columns, 0);
    let scale = upload_new(backend, "scales", bytemuck::cast_slice(&packed.scales))?;
    let per_shard = shards::rows_per_shard(backend, columns, false)?;
    for rows in shards::ranges(out, per_shard, 1) {
        let shard = BaselineShard {
            rows: rows.len(),
            ..whole
        };
        let codes = &packed.codes[rows.start * whole.words()..rows.end * whole.words()];
        let codes = upload_new(backend, "codes", codes)?;
        let dense = backend.alloc("weight", shard.reals())?;
        let op = BaselineUnpack(shard);
        backend.run(&op, &[&codes, &scale, &dense]).await?;
        let words = backend.download(&dense, 0, shard.reals()).await?;
        let dense = &mut r[rows.start * columns..rows.end * columns];
        dense.copy_from_slice(bytemuck::cast_slice(&words));
    }
    Ok(())
}
