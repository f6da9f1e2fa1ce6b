//! Widely-linear split and merge (the lossless form of arXiv 2512.02901).
//!
//! Every element is one addition, rounded once, and an exact halving, so host and shader give the same bits
//! on every device that rounds to nearest (all of them do; WGSL does not say so). Subnormal weights count as 0.

use crate::ops::*;
use bytemuck::Zeroable;

/// `x`, or 0 where it is subnormal: devices may or may not flush those.
pub fn flush(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE { 0.0 } else { x }
}

/// Blocks `[R11, R12, R21, R22]` to `[Re U, Im U, Re W, Im W]`.
pub fn split(blocks: [f32; 4]) -> [f32; 4] {
    let [r11, r12, r21, r22] = blocks.map(flush);
    [r11 + r22, r21 - r12, r11 - r22, r21 + r12].map(|sum| flush(0.5 * sum))
}

/// Inverse of [`split`].
pub fn merge(parts: [f32; 4]) -> [f32; 4] {
    let [u_re, u_im, w_re, w_im] = parts.map(flush);
    [u_re + w_re, w_im - u_im, w_im + u_im, u_re - w_re].map(flush)
}

/// The flat indices in `[out, in]` of the four real weights behind complex weight `(row, column)`; `None` is padding.
pub fn places(
    out_features: usize,
    in_features: usize,
    row: usize,
    column: usize,
) -> [Option<usize>; 4] {
    let (n, m) = (out_features.div_ceil(2), in_features.div_ceil(2));
    let place = |row: usize, column: usize| {
        (row < out_features && column < in_features).then_some(row * in_features + column)
    };
    [
        place(row, column),
        place(row, column + m),
        place(row + n, column),
        place(row + n, column + m),
    ]
}

/// R to its complex parts; odd dimensions are padded with zeros.
///
/// Bindings: `r` [out, in] f32; `parts` [n, 2 (U, W), m, 2 (re, im)] f32.
#[derive(Debug, Clone)]
pub struct WidelyLinearSplit {
    /// Rows of R.
    pub out_features: usize,
    /// Columns of R.
    pub in_features: usize,
}

/// Complex parts to R; the padding of odd dimensions is dropped.
///
/// Bindings: `parts` [n, 2 (U, W), m, 2 (re, im)] f32; `r` [out, in] f32.
#[derive(Debug, Clone)]
pub struct WidelyLinearMerge {
    /// Rows of R.
    pub out_features: usize,
    /// Columns of R.
    pub in_features: usize,
}

/// Uniform block of both.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct WidelyParams {
    rows: u32,
    columns: u32,
}

/// Complex weights of an `[out, in]` matrix.
fn complex(out_features: usize, in_features: usize) -> usize {
    out_features.div_ceil(2) * in_features.div_ceil(2)
}

/// What both ops share.
macro_rules! shared {
    () => {
        const AGREE: Agree = Agree::Bits;
        type Params = WidelyParams;

        fn params(&self) -> WidelyParams {
            WidelyParams {
                rows: self.out_features as u32,
                columns: self.in_features as u32,
            }
        }

        fn grid(&self) -> Grid {
            Grid {
                groups: complex(self.out_features, self.in_features).div_ceil(256) as u32,
                batch: 1,
            }
        }

        fn cost(&self) -> Cost {
            let n = complex(self.out_features, self.in_features) as f64;
            Cost {
                bytes: 32.0 * n,
                ops: 8.0 * n,
            }
        }
    };
}

/// Shapes that every kernel of the family must survive.
const SHAPES: [(usize, usize); 6] = [(2, 2), (1, 1), (7, 9), (64, 48), (33, 70), (120, 31)];

/// Noise with subnormals, tiny and large values in it.
pub(in crate::ops) fn spiced(seed: u32, len: usize, amplitude: f32) -> Vec<f32> {
    let mut values = noise(seed, len, amplitude);
    for (i, v) in values.iter_mut().enumerate() {
        match hash32(i as u32, seed ^ 0x5eed) % 23 {
            0 => *v = 1e-41,
            1 => *v = -f32::MIN_POSITIVE,
            2 => *v *= 1e-9,
            3 => *v = 0.0,
            4 => *v = amplitude * 0.5,
            5 => *v = -amplitude * 0.5,
            _ => {}
        }
    }
    values
}

impl Op for WidelyLinearSplit {
    const NAME: &'static str = "widely_linear_split";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        quantize / "widely_linear_split",
        "widely_linear"
    )];
    const BINDINGS: &'static [Binding] = &[read("r", Elem::F32), write("parts", Elem::F32)];
    shared!();

    fn lengths(&self) -> Vec<usize> {
        vec![
            self.out_features * self.in_features,
            4 * complex(self.out_features, self.in_features),
        ]
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (r, parts): (&[f32], &mut [f32]) = (b.read(0), b.write(1));
        let (n, m) = (self.out_features.div_ceil(2), self.in_features.div_ceil(2));
        for row in 0..n {
            for c in 0..m {
                let blocks = places(self.out_features, self.in_features, row, c);
                let z = split(blocks.map(|place| place.map_or(0.0, |i| r[i])));
                let u = (row * 2 * m + c) * 2;
                parts[u..u + 2].copy_from_slice(&z[..2]);
                parts[u + 2 * m..u + 2 * m + 2].copy_from_slice(&z[2..]);
            }
        }
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        bench::widely_linear_split()
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |(i, &(out_features, in_features)): (usize, &(usize, usize))| {
            let op = Self {
                out_features,
                in_features,
            };
            let r = spiced(i as u32, out_features * in_features, 0.1);
            let parts = Data::Out(op.lengths()[1]);
            Case::new(
                format!("{out_features} x {in_features}"),
                op,
                vec![Data::f32(&r), parts],
            )
        };
        SHAPES.iter().enumerate().map(case).collect()
    }
}

impl Op for WidelyLinearMerge {
    const NAME: &'static str = "widely_linear_merge";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        quantize / "widely_linear_merge",
        "widely_linear"
    )];
    const BINDINGS: &'static [Binding] = &[read("parts", Elem::F32), write("r", Elem::F32)];
    shared!();

    fn lengths(&self) -> Vec<usize> {
        vec![
            4 * complex(self.out_features, self.in_features),
            self.out_features * self.in_features,
        ]
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (parts, r): (&[f32], &mut [f32]) = (b.read(0), b.write(1));
        let (n, m) = (self.out_features.div_ceil(2), self.in_features.div_ceil(2));
        for row in 0..n {
            for c in 0..m {
                let u = (row * 2 * m + c) * 2;
                let w = u + 2 * m;
                let blocks = merge([parts[u], parts[u + 1], parts[w], parts[w + 1]]);
                let places = places(self.out_features, self.in_features, row, c);
                for (place, value) in places.into_iter().zip(blocks) {
                    if let Some(i) = place {
                        r[i] = value;
                    }
                }
            }
        }
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        bench::widely_linear_merge()
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |(i, &(out_features, in_features)): (usize, &(usize, usize))| {
            let op = Self {
                out_features,
                in_features,
            };
            let parts = spiced(i as u32, op.lengths()[0], 2.0);
            let r = Data::Out(op.lengths()[1]);
            Case::new(
                format!("{out_features} x {in_features}"),
                op,
                vec![Data::f32(&parts), r],
            )
        };
        SHAPES.iter().enumerate().map(case).collect()
    }
}
