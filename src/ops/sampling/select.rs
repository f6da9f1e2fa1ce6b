//! The best elements of logits, chosen on the device. -0 equals +0, NaN is worse than everything.

use crate::ops::*;
use bytemuck::Zeroable;
use std::cmp::Ordering;

/// Most elements [`TopK`] selects: one invocation each.
pub const LARGEST_K: usize = 256;

/// Best first.
fn by_value(a: f32, b: f32) -> Ordering {
    let known = a.is_nan().cmp(&b.is_nan());
    known.then(b.partial_cmp(&a).unwrap_or(Ordering::Equal))
}

/// Index of the largest element of each row, the lowest among equals; exact.
///
/// Bindings: `x` [rows, n] f32; `index` [to + rows] u32.
#[derive(Debug, Clone)]
pub struct Argmax {
    /// Rows.
    pub rows: usize,
    /// Elements of a row, at least one.
    pub n: usize,
    /// Place of the first row's index in `index`.
    pub to: usize,
}

/// Uniform block of [`Argmax`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct ArgmaxParams {
    rows: u32,
    n: u32,
    to: u32,
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

    fn params(&self) -> ArgmaxParams {
        ArgmaxParams {
            rows: self.rows as u32,
            n: self.n as u32,
            to: self.to as u32,
        }
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        // one workgroup has little else to hide the latency of loads with
        vec![("WIDTH", 1024.0)]
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: self.rows as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        vec![self.rows * self.n, self.to + self.rows]
    }

    fn cost(&self) -> Cost {
        Cost {
            bytes: 4.0 * (self.rows * (self.n + 1)) as f64,
            ops: (self.rows * self.n) as f64,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (x, index): (&[f32], &mut [u32]) = (b.read(0), b.write(1));
        for (x, index) in x
            .chunks_exact(self.n)
            .zip(&mut index[self.to..])
            .take(self.rows)
        {
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
        for (x, index) in x
            .chunks_exact(self.n)
            .zip(&mut index[self.to..])
            .take(self.rows)
        {
            *index = crate::ops::cpu::largest(x) as u32;
        }
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        bench::argmax()
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |name: &str, rows, x: &[f32]| {
            let n = x.len() / rows;
            Case::new(
                name,
                Self { rows, n, to: 0 },
                vec![Data::f32(x), Data::Out(rows)],
            )
        };
        let mut tie = noise(71, 3 * 1000, 1.0);
        for at in [700, 301, 1999, 1257, 2000] {
            tie[at] = 2.0;
        }
        let all_negative: Vec<f32> = noise(72, 600, 1.0).iter().map(|v| v - 3.0).collect();
        vec![
            case("several rows", 5, &noise(70, 5 * 288, 9.0)),
            case("wide", 1, &noise(73, 32000, 9.0)),
            case("ties", 3, &tie),
            case("all equal", 2, &[-7.5; 900]),
            case("negative", 2, &all_negative),
            case(
                "zeros of both signs",
                3,
                &[-1.0, -0.0, 0.0, 0.0, -0.0, -2.0, -0.0, -0.0, -0.0],
            ),
            case("one element", 4, &[1.0, -1.0, 0.0, f32::MIN]),
            case(
                "infinities and NaN",
                3,
                &[
                    f32::NAN,
                    f32::NEG_INFINITY,
                    f32::NEG_INFINITY,
                    f32::MAX,
                    f32::NAN,
                    f32::INFINITY,
                    f32::NAN,
                    f32::NAN,
                    f32::NAN,
                ],
            ),
            case(
                "subnormal",
                1,
                &[
                    0.0,
                    f32::from_bits(1),
                    f32::from_bits(2),
                    -f32::from_bits(3),
                ],
            ),
        ]
    }
}

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

/// Uniform block of [`TopK`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct TopKParams {
    rows: u32,
    n: u32,
    k: u32,
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
            // stable: the lower index stays first among equals
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
        // about 3 ns for an element, most of them for the selection
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

    fn bench_cases() -> Vec<BenchCase<Self>> {
        bench::top_k()
    }

    fn cases() -> Vec<Case<Self>> {
        let rows_of = |name: &str, rows, k, x: &[f32]| {
            let n = x.len() / rows;
            let data = vec![Data::f32(x), Data::Out(rows * k), Data::Out(rows * k)];
            Case::new(name, Self { rows, n, k }, data)
        };
        let case = |name: &str, k, x: &[f32]| rows_of(name, 1, k, x);
        let logits = noise(81, 32000, 12.0);
        let coarse: Vec<f32> = noise(82, 5000, 4.0).iter().map(|v| v.round()).collect();
        let signs: Vec<f32> = (0..700)
            .map(|i| if i % 3 == 0 { 0.0 } else { -0.0 })
            .collect();
        let near: Vec<f32> = (0..3000)
            .map(|i| f32::from_bits(0xc100_0000 + (i * 7919) % 3001))
            .collect();
        let mut infinite = noise(83, 300, 1.0);
        (infinite[7], infinite[290]) = (f32::NEG_INFINITY, f32::INFINITY);
        vec![
            case("logits, 40", 40, &logits),
            case("logits, 256", 256, &logits[..20011]),
            case("the best", 1, &logits[..999]),
            case("ties", 100, &coarse),
            case("all equal", 200, &[-3.25; 3000]),
            case("all of them", 77, &logits[..77]),
            case("all 256 of them", 256, &coarse[..256]),
            case("zeros of both signs", 250, &signs),
            case("neighbours", 64, &near),
            case("infinities", 300.min(LARGEST_K), &infinite),
            case("one element", 1, &[-1.0]),
            case("large vocabulary", 50, &noise(84, 131_073, 20.0)),
            rows_of("several rows", 5, 40, &noise(85, 5 * 3001, 12.0)),
            rows_of("rows of ties", 3, 256, &coarse[..3 * 1500]),
            rows_of("rows of one element", 7, 1, &noise(86, 7, 1.0)),
            rows_of("all of each row", 2, 77, &logits[..2 * 77]),
        ]
    }
}
