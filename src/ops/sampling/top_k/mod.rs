//! The best few elements of each row of logits.

use super::order::by_value;
use crate::ops::*;

mod cases;

/// Most elements [`TopK`] selects: one invocation for each.
pub const LARGEST_K: usize = 256;

/// The `k` largest elements of each row, best first, the lower index first among equals; exact.
///
/// Bindings: `x` `[rows, n]` f32; `indices` `[rows, k]` u32, each counted within its row; `values` `[rows, k]` f32 (the
/// elements, bit for bit).
#[derive(Debug, Clone)]
pub struct TopK {
    /// Rows.
    pub rows: usize,
    /// Elements of a row.
    pub n: usize,
    /// Elements to choose of each row, 1 to [`LARGEST_K`], at most `n`.
    pub k: usize,
}

params! {
    /// Uniform block of [`TopK`].
    pub struct TopKParams {
        rows: u32,
        n: u32,
        k: u32,
    }
}

impl Op for TopK {
    const NAME: &'static str = "top_k";
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, sampling / "top_k", "key")];
    const BINDINGS: &'static [Binding] = &[
        read("x", Elem::F32),
        write("indices", Elem::U32),
        write("values", Elem::F32),
    ];
    const AGREE: Agree = Agree::Bits;
    type Params = TopKParams;

    fn shape(&self) -> String {
        format!("rows={},n={},k={}", self.rows, self.n, self.k)
    }

    fn params(&self) -> TopKParams {
        TopKParams {
            rows: self.rows as u32,
            n: self.n as u32,
            k: self.k as u32,
        }
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: self.rows as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        let best = self.rows * self.k;
        vec![self.rows * self.n, best, best]
    }

    fn cost(&self) -> Cost {
        Cost {
            bytes: 4.0 * (self.rows * (self.n + 2 * self.k)) as f64,
            ops: (self.rows * self.n) as f64,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let x: &[f32] = b.read(0);
        let (indices, values): (&mut [u32], &mut [f32]) = (b.write(1), b.write(2));
        for row in 0..self.rows {
            let x = &x[row * self.n..][..self.n];
            let mut order: Vec<u32> = (0..self.n as u32).collect();
            // This sort is stable: the lower index stays first among equals.
            order.sort_by(|&i, &j| by_value(x[i as usize], x[j as usize]));
            for (rank, &i) in order[..self.k].iter().enumerate() {
                indices[row * self.k + rank] = i;
                values[row * self.k + rank] = x[i as usize];
            }
        }
    }

    fn host(&self, b: &mut Bindings<'_>) {
        let x: &[f32] = b.read(0);
        let (indices, values): (&mut [u32], &mut [f32]) = (b.write(1), b.write(2));
        let out = indices
            .chunks_exact_mut(self.k)
            .zip(values.chunks_exact_mut(self.k));
        let rows = out.take(self.rows).enumerate().collect();
        // An element takes about 3 ns, most of them for the selection.
        cpu::each_worth(rows, 3 * self.n, |(row, (indices, values))| {
            let x = &x[row * self.n..][..self.n];
            let better =
                |&i: &u32, &j: &u32| by_value(x[i as usize], x[j as usize]).then(i.cmp(&j));
            let mut order: Vec<u32> = (0..self.n as u32).collect();
            if self.k < self.n {
                order.select_nth_unstable_by(self.k, better);
            }
            order.truncate(self.k);
            order.sort_unstable_by(better);
            for ((index, value), i) in indices.iter_mut().zip(values).zip(order) {
                (*index, *value) = (i, x[i as usize]);
            }
        });
    }

    fn cases() -> Vec<Case<Self>> {
        cases::cases()
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        cases::bench_cases()
    }
}
