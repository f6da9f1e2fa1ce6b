//! The real weight of a layer `y = W conj(x)`, as the ops that make it and take its gradient apart see it.

use crate::ops::*;

/// `R = (Re W, Im W; Im W, -Re W)`, whose rows are the layer's real outputs in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConjugateWeight {
    /// Complex rows of W; R has twice as many.
    pub rows: usize,
    /// Complex columns of W; R has twice as many.
    pub columns: usize,
    /// Complex rows whose real rows of R lie together: first those that give real parts, then those that give imaginary
    /// parts. A divisor of [`Self::rows`], or 0: all rows that give real parts come first.
    pub half_run: usize,
}

params! {
    /// Uniform block of the ops on a [`ConjugateWeight`].
    pub struct ConjugateWeightParams {
        rows: u32,
        columns: u32,
        run: u32,
    }
}

impl ConjugateWeight {
    /// Complex rows of a run, all of them where runs are not asked for.
    pub(super) fn run(&self) -> usize {
        match self.half_run {
            0 => self.rows,
            run => run,
        }
    }

    /// The rows of R that give the real and the imaginary part of complex row `row`.
    pub(super) fn real_rows(&self, row: usize) -> [usize; 2] {
        let run = self.run();
        let re = row / run * 2 * run + row % run;
        [re, re + run]
    }

    /// Complex weights.
    pub(super) fn len(&self) -> usize {
        self.rows * self.columns
    }

    pub(super) fn shape(&self) -> String {
        let mut shape = format!("m={},k={}", 2 * self.rows, 2 * self.columns);
        if self.half_run > 0 {
            shape += &format!(",half_run={}", self.half_run);
        }
        shape
    }

    pub(super) fn params(&self) -> ConjugateWeightParams {
        debug_assert!(self.rows.is_multiple_of(self.run()), "{}", self.shape());
        ConjugateWeightParams {
            rows: self.rows as u32,
            columns: self.columns as u32,
            run: self.run() as u32,
        }
    }

    /// Weights that the ops are checked on: odd sizes, one run and several, several workgroups.
    pub(super) fn samples() -> Vec<Self> {
        let weight = |rows, columns, half_run| Self {
            rows,
            columns,
            half_run,
        };
        vec![
            weight(1, 1, 0),
            weight(7, 9, 0),
            weight(24, 64, 0),
            weight(24, 64, 8),
            weight(15, 33, 5),
            weight(6, 700, 1),
            weight(12, 50, 12),
        ]
    }

    /// The attention's and the widest weight of the 700M model of arXiv 2508.05571.
    pub(super) fn bench_samples() -> [Self; 2] {
        let weight = |rows, half_run| Self {
            rows,
            columns: 1536,
            half_run,
        };
        [weight(1536, 96), weight(4096, 0)]
    }

    /// Values with zeros and subnormals among them, which devices may flush in sums but not when bits are copied.
    pub(super) fn values(seed: u32, len: usize) -> Vec<f32> {
        let mut values = noise(seed, len, 0.1);
        for (i, v) in values.iter_mut().enumerate() {
            match hash32(i as u32, seed ^ 0x5eed) % 13 {
                0 => *v = 1e-41,
                1 => *v = -f32::MIN_POSITIVE,
                2 => *v = 0.0,
                3 => *v *= 1e-9,
                _ => {}
            }
        }
        values
    }
}
