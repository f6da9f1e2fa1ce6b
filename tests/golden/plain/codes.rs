//! Codes and scales in f64, and how near weights are to the borders between codes.

use super::parts::RATE;
use fairy2i_gpu::model::Method;
use std::fmt;

/// What f32 can hold, in spacings of its numbers: every step rounds a master twice, and the distance of a weight from a
/// border is a sum of four masters and of scales, or of a master and a mean.
pub const HELD: f64 = 2.0;

/// A weight as a quantizer sees it: a real one, or a complex one of U or W in a stage.
#[derive(Debug, Clone, PartialEq)]
pub struct Weight {
    layer: String,
    plane: &'static str,
    stage: usize,
    row: usize,
    column: usize,
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (stage, row, column) = (self.stage, self.row, self.column);
        write!(
            f,
            "{} {} [{row}, {column}], stage {stage}",
            self.layer, self.plane
        )
    }
}

/// A weight and its distance from the border between two codes, in spacings of the f32 numbers that hold it.
#[derive(Debug, Clone)]
pub struct Near {
    pub spacings: f64,
    pub weight: Option<Weight>,
}

/// What the weights of a step are told about their borders.
pub struct Borders<'a> {
    pub nearest: Near,
    /// All weights that f32 cannot decide.
    pub undecided: Vec<Weight>,
    /// Which of them take the code beyond the border.
    beyond: &'a [Weight],
}

impl<'a> Borders<'a> {
    pub fn new(beyond: &'a [Weight]) -> Self {
        Self {
            nearest: Near {
                spacings: f64::INFINITY,
                weight: None,
            },
            undecided: Vec::new(),
            beyond,
        }
    }

    /// Meets a weight; whether it takes the code beyond the border.
    fn meet(&mut self, spacings: f64, weight: impl FnOnce() -> Weight) -> bool {
        if spacings >= HELD.max(self.nearest.spacings) {
            return false;
        }
        let weight = weight();
        if spacings < self.nearest.spacings {
            self.nearest = Near {
                spacings,
                weight: Some(weight.clone()),
            };
        }
        if spacings >= HELD {
            return false;
        }
        let beyond = self.beyond.contains(&weight);
        self.undecided.push(weight);
        beyond
    }
}

/// The step between f32 numbers of this magnitude. A master moves by up to [`RATE`] a step, so that one near 0 carries
/// the roundings of numbers of that size.
fn spacing(magnitude: f64) -> f64 {
    (magnitude.max(5.0 * RATE).log2().floor() - 23.0).exp2()
}

/// The values of the codes of `w`, all of which `borders` meet.
pub fn quantized(
    method: Method,
    layer: &str,
    w: &[f64],
    columns: usize,
    borders: &mut Borders<'_>,
) -> Vec<f64> {
    let n = w.len() as f64;
    let absolute = w.iter().map(|w| w.abs()).sum::<f64>() / n;
    // whether weight i lies above a border, `over` it as it is
    let mut above = |i: usize, over: f64| {
        let weight = || Weight {
            layer: layer.to_owned(),
            plane: "R",
            stage: 0,
            row: i / columns,
            column: i % columns,
        };
        (over > 0.0) != borders.meet(over.abs() / spacing(w[i].abs()), weight)
    };
    match method {
        Method::Full | Method::Mixed(_) => w.to_vec(), // no layer is
        Method::Binary => {
            let mean = w.iter().sum::<f64>() / n;
            let code = |(i, w): (usize, &f64)| match above(i, w - mean) {
                true => absolute,
                false => -absolute,
            };
            w.iter().enumerate().map(code).collect()
        }
        Method::Ternary => {
            let threshold = (absolute + 1e-5) / 2.0;
            let code = |(i, w): (usize, &f64)| match above(i, w.abs() - threshold) {
                true => absolute * w.signum(),
                false => 0.0,
            };
            w.iter().enumerate().map(code).collect()
        }
        Method::Phase { stages } => {
            let mut out = vec![0.0; w.len()];
            for (plane, sign) in [("U", 1.0), ("W", -1.0)] {
                let plane = Plane {
                    layer,
                    plane,
                    sign,
                    w,
                    columns,
                };
                plane.add(stages, &mut out, borders);
            }
            out
        }
    }
}

/// U or W, the complex matrices of the widely-linear form of `w`.
struct Plane<'a> {
    layer: &'a str,
    plane: &'static str,
    /// 1 for U, -1 for W.
    sign: f64,
    w: &'a [f64],
    columns: usize,
}

impl Plane<'_> {
    /// Complex columns.
    fn half(&self) -> usize {
        self.columns.div_ceil(2)
    }

    /// The real weights R11, R12, R21 and R22 behind complex weight `e`; `None` is padding.
    fn places(&self, e: usize) -> [Option<usize>; 4] {
        let rows = self.w.len() / self.columns;
        let (i, j) = (e / self.half(), e % self.half());
        let (n, m) = (rows.div_ceil(2), self.half());
        let at =
            |i: usize, j: usize| (i < rows && j < self.columns).then_some(i * self.columns + j);
        [at(i, j), at(i, j + m), at(i + n, j), at(i + n, j + m)]
    }

    fn blocks(&self, e: usize) -> [f64; 4] {
        self.places(e).map(|place| place.map_or(0.0, |i| self.w[i]))
    }

    /// Adds the values of all stages, codes from {1, i, -1, -i} with a scale for either axis, to `out`.
    fn add(&self, stages: usize, out: &mut [f64], borders: &mut Borders<'_>) {
        let all = (self.w.len() / self.columns).div_ceil(2) * self.half();
        let part = |e: usize| {
            let [a, b, c, d] = self.blocks(e);
            [(a + self.sign * d) / 2.0, (c - self.sign * b) / 2.0]
        };
        let mut rest: Vec<[f64; 2]> = (0..all).map(part).collect();
        for stage in 0..stages {
            let axes: Vec<usize> = (0..all)
                .map(|e| self.axis(e, rest[e], stage, borders))
                .collect();
            let mut sums = [[0.0; 2]; 2];
            for (z, &axis) in rest.iter().zip(&axes) {
                sums[axis] = [sums[axis][0] + z[axis].abs(), sums[axis][1] + 1.0];
            }
            let scales = sums.map(|[sum, count]| (sum / count.max(1.0)).max(1e-6));
            for (e, (z, axis)) in rest.iter_mut().zip(axes).enumerate() {
                let value = scales[axis].copysign(z[axis]);
                z[axis] -= value;
                let adds = match axis {
                    0 => [value, 0.0, 0.0, self.sign * value],
                    _ => [0.0, -self.sign * value, value, 0.0],
                };
                for (place, add) in self.places(e).into_iter().zip(adds) {
                    if let Some(place) = place {
                        out[place] += add;
                    }
                }
            }
        }
    }

    /// The axis of the code nearest to `z`: 0 for 1 and -1, 1 for i and -i.
    fn axis(&self, e: usize, z: [f64; 2], stage: usize, borders: &mut Borders<'_>) -> usize {
        let over = z[1].abs() - z[0].abs();
        let largest = self.blocks(e).map(f64::abs).into_iter().fold(0.0, f64::max);
        let weight = || Weight {
            layer: self.layer.to_owned(),
            plane: self.plane,
            stage,
            row: e / self.half(),
            column: e % self.half(),
        };
        usize::from((over > 0.0) != borders.meet(over.abs() / spacing(largest), weight))
    }
}
