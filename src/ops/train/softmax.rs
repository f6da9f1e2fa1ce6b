//! Causal attention weights from scores, and the gradient back.
//!
//! Training keeps the scores of some heads in memory: products with them are plain matrix products
//! ([`super::matmul`]), which the device's matrix units take.

use super::*;
use bytemuck::Zeroable;

/// Shape of the scores of one step: `batch` heads, `rows` positions each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scores {
    /// Heads (of all texts of the step).
    pub batch: usize,
    /// Positions: row `i` sees columns `0..=i`.
    pub rows: usize,
    /// Values from row to row, at least `rows`; those beyond `rows` are left alone.
    pub stride: usize,
    /// Values per head: scores are divided by its root.
    pub head_dim: usize,
}

impl Scores {
    /// Values of the buffer.
    pub fn words(&self) -> usize {
        self.batch * self.rows * self.stride
    }

    fn scale(&self) -> f64 {
        (self.head_dim as f64).powf(-0.5)
    }

    fn params(&self) -> SoftmaxParams {
        SoftmaxParams {
            rows: self.rows as u32,
            stride: self.stride as u32,
            scale: self.scale() as f32,
        }
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: self.rows as u32,
            batch: self.batch as u32,
        }
    }

    fn cost(&self, passes: f64) -> Cost {
        let n = (self.batch * self.rows * self.rows) as f64;
        Cost {
            bytes: 4.0 * passes * n,
            ops: 3.0 * n,
        }
    }

    fn shapes() -> Vec<(&'static str, Self)> {
        let of = |batch, rows, stride, head_dim| Self {
            batch,
            rows,
            stride,
            head_dim,
        };
        vec![
            ("one position", of(3, 1, 1, 4)),
            ("several heads", of(4, 37, 37, 64)),
            ("padded rows", of(2, 70, 72, 16)),
            ("rows wider than a workgroup", of(1, 300, 300, 128)),
        ]
    }
}

/// Uniform block of [`Softmax`] and [`SoftmaxBackward`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct SoftmaxParams {
    rows: u32,
    stride: u32,
    scale: f32,
}

/// Attention weights: each row of scores, scaled by `head_dim^-1/2`, becomes its softmax over the positions up to
/// its own, and 0 beyond.
///
/// Binding: `x` [batch, rows, stride] f32, in place.
#[derive(Debug, Clone)]
pub struct Softmax(pub Scores);

impl Op for Softmax {
    const NAME: &'static str = "softmax";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        train / "softmax",
        "reduce",
        "reduce_max"
    )];
    const BINDINGS: &'static [Binding] = &[write("x", Elem::F32)];
    // exponents up to 60 are off by as many roundings, and exp by 3 + 2 |x| ULP; weights that count are off by less
    const AGREE: Agree = Agree::Nmse(1e-11);
    type Params = SoftmaxParams;

    fn params(&self) -> SoftmaxParams {
        self.0.params()
    }

    fn grid(&self) -> Grid {
        self.0.grid()
    }

    fn lengths(&self) -> Vec<usize> {
        vec![self.0.words()]
    }

    fn cost(&self) -> Cost {
        self.0.cost(2.0)
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let x: &mut [f32] = b.write(0);
        let s = &self.0;
        for (i, row) in x
            .chunks_exact_mut(s.stride)
            .take(s.batch * s.rows)
            .enumerate()
        {
            let seen = i % s.rows + 1;
            let scaled: Vec<f64> = row[..seen]
                .iter()
                .map(|&v| f64::from(v) * s.scale())
                .collect();
            let top = scaled.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = scaled.iter().map(|v| (v - top).exp()).sum();
            row[..s.rows].fill(0.0);
            for (to, v) in row.iter_mut().zip(scaled) {
                *to = ((v - top).exp() / total) as f32;
            }
        }
    }

    fn host(&self, b: &mut Bindings<'_>) {
        let x: &mut [f32] = b.write(0);
        let (s, scale) = (&self.0, self.0.scale() as f32);
        let rows = x.chunks_exact_mut(s.stride).take(s.batch * s.rows);
        let rows = rows.enumerate().collect();
        cpu::each_worth(rows, 2 * s.rows, |(i, row): (usize, &mut [f32])| {
            let (seen, hidden) = row[..s.rows].split_at_mut(i % s.rows + 1);
            hidden.fill(0.0);
            cpu::softmax(scale, seen);
        });
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |name: &str, s: Scores, amplitude| {
            let data = vec![Data::f32(&noise(81, s.words(), amplitude))];
            Case::new(name, Self(s), data)
        };
        let mut cases: Vec<_> = Scores::shapes()
            .into_iter()
            .map(|(name, s)| case(name, s, 9.0))
            .collect();
        let sharp = Scores::shapes()[1].1;
        cases.push(case("sharp", sharp, 400.0));
        cases
    }
}

/// Gradient of [`Softmax`]: `d_x = scale y (d_y - sum y d_y)` per row, 0 beyond the row's own position.
///
/// Bindings: `y` [batch, rows, stride] f32, the weights; `d_y` the same, in place: it becomes the gradient of the
/// scores. Of both, what lies beyond a row's position is not read.
#[derive(Debug, Clone)]
pub struct SoftmaxBackward(pub Scores);

impl Op for SoftmaxBackward {
    const NAME: &'static str = "softmax_backward";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        train / "softmax_backward",
        "reduce"
    )];
    const BINDINGS: &'static [Binding] = &[read("y", Elem::F32), write("d_y", Elem::F32)];
    // the difference from the mean loses what they have in common: a few bits in the cases
    const AGREE: Agree = Agree::Nmse(1e-11);
    type Params = SoftmaxParams;

    fn params(&self) -> SoftmaxParams {
        self.0.params()
    }

    fn grid(&self) -> Grid {
        self.0.grid()
    }

    fn lengths(&self) -> Vec<usize> {
        vec![self.0.words(); 2]
    }

    fn cost(&self) -> Cost {
        self.0.cost(3.0)
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (y, d): (&[f32], &mut [f32]) = (b.read(0), b.write(1));
        let s = &self.0;
        let rows = y.chunks_exact(s.stride).zip(d.chunks_exact_mut(s.stride));
        for (i, (y, d)) in rows.take(s.batch * s.rows).enumerate() {
            let seen = i % s.rows + 1;
            let pairs = y[..seen].iter().zip(&d[..seen]);
            let mean: f64 = pairs.map(|(&y, &d)| f64::from(y) * f64::from(d)).sum();
            for j in 0..s.rows {
                let gradient = s.scale() * f64::from(y[j]) * (f64::from(d[j]) - mean);
                d[j] = if j < seen { gradient as f32 } else { 0.0 };
            }
        }
    }

    fn host(&self, b: &mut Bindings<'_>) {
        let (y, d): (&[f32], &mut [f32]) = (b.read(0), b.write(1));
        let (s, scale) = (&self.0, self.0.scale() as f32);
        let rows = y.chunks_exact(s.stride).zip(d.chunks_exact_mut(s.stride));
        let rows = rows.take(s.batch * s.rows).enumerate().collect();
        cpu::each_worth(
            rows,
            s.rows / 2,
            |(i, (y, d)): (usize, (&[f32], &mut [f32]))| {
                let (seen, hidden) = d[..s.rows].split_at_mut(i % s.rows + 1);
                hidden.fill(0.0);
                let mean = cpu::dot(&y[..seen.len()], seen);
                for (d, y) in seen.iter_mut().zip(y) {
                    *d = scale * y * (*d - mean);
                }
            },
        );
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |(name, s): (&'static str, Scores)| {
            let mut y = noise(82, s.words(), 1.0);
            for row in y.chunks_mut(s.stride) {
                let total: f32 = row.iter().map(|v| v.abs()).sum();
                row.iter_mut().for_each(|v| *v = v.abs() / total);
            }
            let data = vec![Data::f32(&y), Data::f32(&noise(83, s.words(), 3.0))];
            Case::new(name, Self(s), data)
        };
        Scores::shapes().into_iter().map(case).collect()
    }
}
