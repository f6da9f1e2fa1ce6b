//! The nearest sum of stages: of all sums `i^k_0 s_0 + i^k_1 s_1 + ...` the one nearest to a complex number.

use crate::ops::quantize::{MAX_STAGES, value};

/// Codes of all stages, and the squared distance of their sum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Nearest {
    /// The code of stage t at bits `2 t`.
    pub code: u32,
    /// How far the sum is, squared.
    pub distance: f32,
}

/// Scales `(s_re, s_im)` of the stages of U or of W.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stages {
    scales: [[f32; 2]; MAX_STAGES],
    count: usize,
}

impl Stages {
    /// From `[stages, 2]` values.
    pub(super) fn new(scales: &[f32]) -> Self {
        let mut all = [[0.0; 2]; MAX_STAGES];
        let (pairs, _) = scales.as_chunks::<2>();
        for (scale, &pair) in all.iter_mut().zip(pairs) {
            *scale = pair;
        }
        Self {
            scales: all,
            count: pairs.len(),
        }
    }

    /// Codes of the `index`-th of the `4^stages` sums, the first stage changing slowest, as [`Nearest::code`].
    pub(super) fn code(&self, index: u32) -> u32 {
        (0..self.count as u32).fold(0, |code, t| {
            let digit = index >> (2 * (self.count as u32 - 1 - t)) & 3;
            code | digit << (2 * t)
        })
    }

    /// The sum that codes stand for, of the first `stages` stages.
    pub(super) fn sum(&self, code: u32, stages: usize) -> [f32; 2] {
        let mut sum = [0.0; 2];
        for (t, &s) in self.scales[..stages].iter().enumerate() {
            let q = value((code >> (2 * t) & 3) as u8, s);
            sum = [sum[0] + q[0], sum[1] + q[1]];
        }
        sum
    }

    /// All sums, in the order of [`Stages::code`].
    pub(super) fn sums(&self) -> impl Iterator<Item = (u32, [f32; 2])> {
        (0..1 << (2 * self.count)).map(|index| {
            let code = self.code(index);
            (code, self.sum(code, self.count))
        })
    }

    /// Codes chosen stage by stage, as [`Nearest::code`]: each is the nearest to what the stages before it leave.
    pub(super) fn nested(&self, z: [f32; 2]) -> u32 {
        let (mut e, mut code) = (z, 0);
        for (t, &s) in self.scales[..self.count].iter().enumerate() {
            let gain = [0, 1].map(|i| s[i] * (s[i] - 2.0 * e[i].abs()));
            let k = solved(e, gain[0] <= gain[1]);
            let q = value(k as u8, s);
            e = [e[0] - q[0], e[1] - q[1]];
            code |= k << (2 * t);
        }
        code
    }

    /// The nearest sum. Every choice of the stages before the last is tried in the order of [`Stages::code`], and the first
    /// of equally good ones wins. The last stage is solved: its code lies on the real axis if that is no worse, and has the
    /// sign of what is left.
    pub(super) fn nearest(&self, z: [f32; 2]) -> Nearest {
        let last = self.count - 1;
        let s = self.scales[last];
        let mut best = Nearest {
            code: 0,
            distance: f32::INFINITY,
        };
        for prefix in 0..1u32 << (2 * last) {
            let (mut e, mut code) = (z, 0);
            for t in 0..last {
                let k = prefix >> (2 * (last - 1 - t)) & 3;
                let q = value(k as u8, self.scales[t]);
                e = [e[0] - q[0], e[1] - q[1]];
                code |= k << (2 * t);
            }
            let gain = [0, 1].map(|i| s[i] * (s[i] - 2.0 * e[i].abs()));
            let real = gain[0] <= gain[1];
            let distance = e[0] * e[0] + e[1] * e[1] + if real { gain[0] } else { gain[1] };
            if distance < best.distance {
                let code = code | solved(e, real) << (2 * last);
                best = Nearest { code, distance };
            }
        }
        best
    }
}

/// The code on the real or the imaginary axis that lies on the side of `e`.
fn solved(e: [f32; 2], real: bool) -> u32 {
    match real {
        true if e[0] >= 0.0 => 0,
        true => 2,
        false if e[1] >= 0.0 => 1,
        false => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::noise;

    /// The closed form of the last stage finds what trying everything finds.
    #[test]
    fn the_nearest_of_all_sums_is_found() {
        for stages in 1..=4 {
            let scales = noise(stages as u32, 2 * stages, 1.0)
                .iter()
                .map(|s| s.abs())
                .collect::<Vec<_>>();
            let all = Stages::new(&scales);
            for z in noise(9, 200, 2.0).chunks_exact(2) {
                let far = |sum: [f32; 2]| (z[0] - sum[0]).powi(2) + (z[1] - sum[1]).powi(2);
                let found = all.nearest([z[0], z[1]]);
                let least = all.sums().map(|s| far(s.1)).fold(f32::INFINITY, f32::min);
                assert!((far(all.sum(found.code, stages)) - least).abs() < 1e-5);
                assert!((found.distance - least).abs() < 1e-5);
            }
        }
    }

    /// The first stages are what they would be without the later ones, each the nearest.
    #[test]
    fn nested_codes_are_those_of_fewer_stages() {
        let scales = [0.9, 1.1, 0.5, 0.4, 0.2, 0.3];
        let whole = Stages::new(&scales);
        for z in noise(10, 200, 2.0).chunks_exact(2) {
            let z = [z[0], z[1]];
            let code = whole.nested(z);
            assert_eq!(code & 3, Stages::new(&scales[..2]).nearest(z).code, "{z:?}");
            for stages in 1..3 {
                let first = Stages::new(&scales[..2 * stages]).nested(z);
                assert_eq!(code & ((1 << (2 * stages)) - 1), first, "{z:?}");
                let q = whole.sum(code, stages);
                let next = Stages::new(&scales[2 * stages..][..2]);
                let left = [z[0] - q[0], z[1] - q[1]];
                assert_eq!(code >> (2 * stages) & 3, next.nearest(left).code, "{z:?}");
            }
        }
    }
}
