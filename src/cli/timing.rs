//! Timing work on a device: warm, in batches, medians.

use crate::backend::{Backend, block_on};
use crate::error::Result;
use serde::Serialize;
use std::time::{Duration, Instant};

/// The very work is run this long before it is timed: GPUs lower their clocks within a second of light load
/// and then measure several times too slow.
pub(super) const WARM_UP: Duration = Duration::from_millis(350);
/// Time of one batch: long against the clock's and the submission's jitter.
const BATCH: Duration = Duration::from_millis(20);
/// Batches whose median counts, unless they take longer than [`LONG`] together.
const BATCHES: usize = 15;
const LONG: Duration = Duration::from_secs(2);

/// What repeated measurements of one thing say.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Samples {
    /// Middle one.
    pub median: f64,
    /// (largest - smallest) / median.
    pub spread: f64,
    /// All of them, in the order of measurement.
    pub samples: Vec<f64>,
}

impl Samples {
    /// Statistics of `samples`, at least one.
    pub(super) fn new(samples: Vec<f64>) -> Self {
        let mut sorted = samples.clone();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len();
        let median = (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0;
        Self {
            median,
            spread: (sorted[n - 1] - sorted[0]) / median,
            samples,
        }
    }
}

/// Waits until the device has done everything.
pub(super) fn sync<B: Backend>(backend: &B) -> Result<()> {
    backend.flush()?;
    backend.wait()
}

/// Seconds per call of `once`, which hands one unit of work to `backend` without waiting for it.
pub(super) fn measure<B: Backend>(
    backend: &B,
    mut once: impl AsyncFnMut() -> Result<()>,
) -> Result<Samples> {
    let mut batch = |count: usize| -> Result<Duration> {
        let start = Instant::now();
        for _ in 0..count {
            block_on(backend, once())?;
        }
        sync(backend)?;
        Ok(start.elapsed())
    };
    batch(1)?; // compiles pipelines
    let started = Instant::now();
    let mut count = 1;
    while started.elapsed() < WARM_UP {
        let took = batch(count)?;
        let fitting = count as f64 * BATCH.as_secs_f64() / took.as_secs_f64().max(1e-9);
        count = (fitting as usize).clamp(1, 10_000);
    }
    let started = Instant::now();
    let mut samples = Vec::new();
    while samples.len() < BATCHES && (samples.len() < 3 || started.elapsed() < LONG) {
        samples.push(batch(count)?.as_secs_f64() / count as f64);
    }
    Ok(Samples::new(samples))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        let s = Samples::new(vec![3.0, 1.0, 2.0]);
        assert_eq!((s.median, s.spread), (2.0, 1.0));
        assert_eq!(Samples::new(vec![4.0, 2.0]).median, 3.0);
    }
}
