//! What the device reaches at its best, measured in the same run: results are given as shares of it.

use crate::backend::{Backend, block_on, kernel_for};
use crate::cli::timing::{Samples, measure, sync};
use crate::error::Result;
use crate::ops::MatrixDtype;
use crate::ops::Op;
use crate::ops::matmul::{Dense, MatmulGemm};
use crate::ops::matmul::{MatmulGemmCoop, MatmulGemmCoopTall};
use crate::ops::memory::Copy;
use crate::ops::memory::Noise;
use std::time::{Duration, Instant};

/// Most words that are copied: far more than any cache holds.
const COPIED: usize = 64 << 20;
/// Fewest, for slow devices.
const LEAST_COPIED: usize = 16 << 20;
/// Largest and smallest square matrices that are multiplied.
const MATRIX: usize = 4096;
const LEAST_MATRIX: usize = 256;
/// A run shorter than this on the size tried is followed by one of twice the size.
const ENOUGH: Duration = Duration::from_millis(4);

/// A device's ceilings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ceilings {
    /// Bytes per second of a large copy, read and written.
    pub copy: f64,
    /// Words that were copied.
    pub copied: usize,
    /// Spread of the copies' times.
    pub copy_spread: f64,
    /// Operations per second of a large dense matrix product.
    pub matmul: f64,
}

impl Ceilings {
    /// Measures both, with sizes for which the device takes long enough: seconds in all.
    pub(crate) fn measure<B: Backend>(backend: &B) -> Result<Self> {
        let (copied, seconds) = copy(backend)?;
        let bytes = Copy { quads: copied / 4 }.cost().bytes;
        Ok(Self {
            copy: bytes / seconds.median,
            copied,
            copy_spread: seconds.spread,
            matmul: matmul(backend)?,
        })
    }
}

/// Operations per second of the device's best product of large dense matrices.
pub(crate) fn matmul<B: Backend>(backend: &B) -> Result<f64> {
    if kernel_for::<MatmulGemmCoop>(backend.facts().features).is_some() {
        let tall = |dense| MatmulGemmCoopTall(MatmulGemmCoop::plain(dense));
        let (work, seconds) = product(backend, MatrixDtype::F16, tall)?;
        return Ok(work / seconds.median);
    }
    let mut best = 0f64;
    for stored in [MatrixDtype::F16, MatrixDtype::F32] {
        let (work, seconds) = product(backend, stored, MatmulGemm)?;
        best = best.max(work / seconds.median);
    }
    Ok(best)
}

/// Words of a copy and its seconds.
fn copy<B: Backend>(backend: &B) -> Result<(usize, Samples)> {
    let most = COPIED.min(backend.facts().max_words);
    let mut words = LEAST_COPIED.min(most);
    loop {
        let op = Copy { quads: words / 4 };
        let buffers = [
            backend.alloc("copied", words)?,
            backend.alloc("copy", words)?,
        ];
        let buffers: Vec<_> = buffers.iter().collect();
        if words * 2 > most || once(backend, &op, &buffers)? > ENOUGH {
            return Ok((words, repeat(backend, &op, &buffers)?));
        }
        words *= 2;
    }
}

/// Operations of a product and its seconds.
fn product<B: Backend, O: Op>(
    backend: &B,
    dtype: MatrixDtype,
    op: impl Fn(Dense) -> O,
) -> Result<(f64, Samples)> {
    let mut n = LEAST_MATRIX;
    loop {
        let op = op(Dense::whole(n, n, n, dtype));
        let buffers = op.lengths().into_iter().map(|words| {
            let buffer = backend.alloc("matrix", words)?;
            // zeros would let the chip save power and run faster than on anything real
            let noise = Noise {
                words,
                seed: 5,
                keep: 0x83ff_83ff,
                put: 0x2400_2400,
            };
            block_on(backend, backend.run(&noise, &[&buffer]))?;
            Ok(buffer)
        });
        let buffers = buffers.collect::<Result<Vec<_>>>()?;
        let buffers: Vec<_> = buffers.iter().collect();
        let larger = op
            .lengths()
            .iter()
            .all(|l| 4 * l <= backend.facts().max_words);
        if n * 2 > MATRIX || !larger || once(backend, &op, &buffers)? > ENOUGH {
            return Ok((op.cost().ops, repeat(backend, &op, &buffers)?));
        }
        n *= 2;
    }
}

fn once<B: Backend, O: Op>(backend: &B, op: &O, buffers: &[&B::Buffer]) -> Result<Duration> {
    let mut took = Duration::MAX;
    for _ in 0..2 {
        // the first one compiles
        sync(backend)?;
        let start = Instant::now();
        block_on(backend, backend.run(op, buffers))?;
        sync(backend)?;
        took = took.min(start.elapsed());
    }
    Ok(took)
}

fn repeat<B: Backend, O: Op>(backend: &B, op: &O, buffers: &[&B::Buffer]) -> Result<Samples> {
    measure(backend, async || backend.run(op, buffers).await)
}
