//! The widely-linear form of a real matrix, which loses nothing (arXiv 2512.02901).
//!
//! Every element is one addition, rounded once, and an exact halving, so host and shader give the same bits
//! on every device that rounds to nearest (all of them do; WGSL does not say so). Subnormal weights count as 0.

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
pub fn merge(halves: [f32; 4]) -> [f32; 4] {
    let [u_re, u_im, w_re, w_im] = halves.map(flush);
    [u_re + w_re, w_im - u_im, w_im + u_im, u_re - w_re].map(flush)
}

/// The flat indices in `[out, in]` of the four real weights behind complex weight `(row, column)`; `None` is padding.
pub fn indices(
    out_features: usize,
    in_features: usize,
    row: usize,
    column: usize,
) -> [Option<usize>; 4] {
    let (n, m) = (out_features.div_ceil(2), in_features.div_ceil(2));
    let index = |row: usize, column: usize| {
        (row < out_features && column < in_features).then_some(row * in_features + column)
    };
    [
        index(row, column),
        index(row, column + m),
        index(row + n, column),
        index(row + n, column + m),
    ]
}

params! {
    /// Uniform block of both.
    pub struct WidelyLinearParams {
        rows: u32,
        columns: u32,
    }
}

impl WidelyLinearParams {
    pub(super) fn new(out_features: usize, in_features: usize) -> Self {
        Self {
            rows: out_features as u32,
            columns: in_features as u32,
        }
    }
}

/// Complex weights of an `[out, in]` matrix.
pub(super) fn complex(out_features: usize, in_features: usize) -> usize {
    out_features.div_ceil(2) * in_features.div_ceil(2)
}

/// What the split and the merge share.
macro_rules! shared {
    () => {
        const AGREE: Agree = Agree::Bits;
        type Params = super::widely_linear::WidelyLinearParams;

        fn shape(&self) -> String {
            format!("m={},k={}", self.out_features, self.in_features)
        }

        fn params(&self) -> super::widely_linear::WidelyLinearParams {
            super::widely_linear::WidelyLinearParams::new(self.out_features, self.in_features)
        }

        fn grid(&self) -> Grid {
            Grid {
                groups: super::widely_linear::complex(self.out_features, self.in_features)
                    .div_ceil(256) as u32,
                batch: 1,
            }
        }

        fn cost(&self) -> Cost {
            let n = super::widely_linear::complex(self.out_features, self.in_features) as f64;
            Cost {
                bytes: 32.0 * n,
                ops: 8.0 * n,
            }
        }
    };
}

pub(super) use shared;
