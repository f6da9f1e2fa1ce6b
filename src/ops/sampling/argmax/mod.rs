//! The best element of each row of logits.

use super::order::by_value;
use crate::ops::*;
use std::cmp::Ordering;

mod cases;

/// Index of the largest element of each row, the lowest among equals; exact.
///
/// Bindings: `x` [rows, n] f32; `index` [offset + rows] u32, of which the last `rows` are written.
#[derive(Debug, Clone)]
pub struct Argmax {
    /// Rows.
    pub rows: usize,
    /// Elements of a row, at least one.
    pub n: usize,
    /// Where in `index` the first row's result goes.
    pub offset: usize,
}

params! {
    /// Uniform block of [`Argmax`].
    pub struct ArgmaxParams {
        rows: u32,
        n: u32,
        offset: u32,
    }
}

impl Op for Argmax {
    const NAME: &'static str = "argmax";
    const SHADERS: &'static [Shader] = &[
        shader!(Features::SUBGROUP, sampling / "argmax" as "argmax_subgroup", "key", "best_subgroup"),
        shader!(Features::NONE, sampling / "argmax", "key", "best_shared"),
    ];
    const BINDINGS: &'static [Binding] = &[read("x", Elem::F32), write("index", Elem::U32)];
    const AGREE: Agree = Agree::Bits;
    type Params = ArgmaxParams;

    fn shape(&self) -> String {
        format!("rows={},n={},offset={}", self.rows, self.n, self.offset)
    }

    fn params(&self) -> ArgmaxParams {
        ArgmaxParams {
            rows: self.rows as u32,
            n: self.n as u32,
            offset: self.offset as u32,
        }
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        // A lone workgroup has little else to hide the latency of loads with.
        vec![("WIDTH", 1024.0)]
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: self.rows as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        vec![self.rows * self.n, self.offset + self.rows]
    }

    fn cost(&self) -> Cost {
        Cost {
            bytes: 4.0 * (self.rows * (self.n + 1)) as f64,
            ops: (self.rows * self.n) as f64,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (x, index): (&[f32], &mut [u32]) = (b.read(0), b.write(1));
        let rows = x.chunks_exact(self.n).zip(&mut index[self.offset..]);
        for (x, index) in rows.take(self.rows) {
            let mut best = 0;
            for i in 1..self.n {
                if by_value(x[i], x[best]) == Ordering::Less {
                    best = i;
                }
            }
            *index = best as u32;
        }
    }

    fn host(&self, b: &mut Bindings<'_>) {
        let (x, index): (&[f32], &mut [u32]) = (b.read(0), b.write(1));
        let rows = x.chunks_exact(self.n).zip(&mut index[self.offset..]);
        for (x, index) in rows.take(self.rows) {
            *index = cpu::largest(x) as u32;
        }
    }

    fn cases() -> Vec<Case<Self>> {
        cases::cases()
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        cases::bench_cases()
    }
}
