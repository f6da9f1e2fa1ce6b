//! A weight on the host: it is checked, and cut into shards that fit a device's bindings.

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::fixed;
use std::borrow::Cow;
use std::ops::Range;

/// Words of device memory that shards of one weight may hold at a time; beyond it they are uploaded again.
const RESIDENT: usize = 1 << 28;

/// A stored weight in shards of neighbouring rows. A shard of complex rows holds its upper real rows (or real parts), then
/// those half the weight below; a last lower row that does not exist is left out.
pub(super) struct Shards<'a, B: Backend> {
    backend: &'a B,
    r: &'a [f32],
    out_features: usize,
    columns: usize,
    complex: bool,
    ranges: Vec<Range<usize>>,
    /// Buffers, and the index of the shard that each holds.
    resident: Vec<(B::Buffer, usize)>,
}

/// How many rows (complex or real) fit one binding of `backend`.
pub(super) fn rows_per_shard<B: Backend>(
    backend: &B,
    columns: usize,
    complex: bool,
) -> Result<usize> {
    let words = columns * if complex { 2 } else { 1 };
    match backend.facts().max_words / words {
        0 => Err(Error::device(
            format!("one row of {words} weights does not fit a binding"),
            "use the CPU backend",
        )),
        rows => Ok(rows),
    }
}

/// `0..rows` in shards of at most `most`, nearly equal, which begin at multiples of `block` if that many fit one.
pub(super) fn ranges(rows: usize, most: usize, block: usize) -> Vec<Range<usize>> {
    let block = if block <= most { block } else { 1 };
    let shards = rows.div_ceil(most / block * block);
    let size = rows.div_ceil(shards).next_multiple_of(block);
    (0..rows)
        .step_by(size)
        .map(|start| start..rows.min(start + size))
        .collect()
}

/// Largest `|x|`, as bits; NaN is beyond infinity.
fn largest(r: &[f32]) -> u32 {
    let top = |r: &[f32]| {
        let bits = r.iter().map(|x| x.to_bits() & 0x7fff_ffff);
        bits.fold(0, u32::max)
    };
    #[cfg(feature = "threads")]
    {
        use rayon::prelude::*;
        r.par_chunks(1 << 16).map(top).max().unwrap_or(0)
    }
    #[cfg(not(feature = "threads"))]
    top(r)
}

/// `r` without NaN and infinity, and its exponent: the one host pass over the weights.
pub(super) fn finite<'a>(name: &str, r: &'a [f32], allow: bool) -> Result<(Cow<'a, [f32]>, i32)> {
    const INFINITY: u32 = 0x7f80_0000;
    let mut r = Cow::Borrowed(r);
    if largest(&r) >= INFINITY {
        let found = r.iter().enumerate().find(|(_, x)| !x.is_finite());
        if let (Some((index, &value)), false) = (found, allow) {
            let tensor = name.to_owned();
            return Err(Error::NonFinite {
                tensor,
                index,
                value,
            });
        }
        for x in r.to_mut() {
            if !x.is_finite() {
                *x = 0.0;
            }
        }
    }
    let bits = largest(&r);
    if fixed::exponent_of([f32::from_bits(bits)]) > 127 {
        let what = format!("tensor `{name}`: weights of 2^127 and more");
        return Err(Error::usage(what, "repair the checkpoint"));
    }
    let exponent = super::exponent(bits, r.len());
    Ok((r, exponent))
}

impl<'a, B: Backend> Shards<'a, B> {
    /// Cuts `r`, into complex rows or real ones; those of a block stay together if that many fit a shard.
    pub(super) fn new(
        backend: &'a B,
        r: &'a [f32],
        out_features: usize,
        columns: usize,
        complex: bool,
        block: usize,
    ) -> Result<Self> {
        let rows = out_features.div_ceil(if complex { 2 } else { 1 });
        let most = rows_per_shard(backend, columns, complex)?;
        Ok(Self {
            backend,
            r,
            out_features,
            columns,
            complex,
            ranges: ranges(rows, most, block),
            resident: Vec::new(),
        })
    }

    /// The device that the shards go to.
    pub(super) fn backend(&self) -> &'a B {
        self.backend
    }

    /// Number of shards.
    pub(super) fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Rows of shard `i`; the first shard is the largest.
    pub(super) fn rows(&self, i: usize) -> Range<usize> {
        self.ranges[i].clone()
    }

    /// Piece `i` on the device.
    pub(super) fn get(&mut self, i: usize) -> Result<&B::Buffer> {
        let words = self.rows(0).len() * self.columns * if self.complex { 2 } else { 1 };
        let slot = i % (RESIDENT / words).max(1);
        if slot == self.resident.len() {
            let buffer = self.backend.alloc("weight", words)?;
            self.resident.push((buffer, usize::MAX));
        }
        if self.resident[slot].1 != i {
            self.upload(slot, i)?;
            self.resident[slot].1 = i;
        }
        Ok(&self.resident[slot].0)
    }

    fn upload(&self, slot: usize, i: usize) -> Result<()> {
        let rows = self.rows(i);
        let real = |rows: Range<usize>| -> &[u32] {
            bytemuck::cast_slice(&self.r[rows.start * self.columns..rows.end * self.columns])
        };
        let buffer = &self.resident[slot].0;
        let half = self.out_features.div_ceil(2);
        let upper = real(rows.clone());
        self.backend.upload(buffer, 0, upper)?;
        if self.complex {
            let end = self.out_features.min(half + rows.end);
            let lower = real((half + rows.start).min(end)..end);
            self.backend.upload(buffer, upper.len(), lower)?;
        }
        Ok(())
    }
}
