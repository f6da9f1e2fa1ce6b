//! From the sums of a panel to its results: exact products with the scales, one rounding.

use crate::fixed;
use std::ops::Range;

/// Sums of one panel and token: per lane the activations where bit 0 of the code is set, where bit 1 is set; of
/// the real parts, then of the imaginary parts.
pub(super) type BitSums<const L: usize> = [[i32; L]; 4];

/// Scales of a group of columns, per lane.
#[derive(Clone, Copy)]
pub(super) struct Scales<const L: usize> {
    re: [i32; L],
    im: [i32; L],
    /// Negated for the planes of W, which are multiplied with the conjugate.
    conj_re: [i32; L],
    conj_im: [i32; L],
}

impl<const L: usize> Scales<L> {
    /// All zero.
    pub(super) const EMPTY: Self = Self {
        re: [0; L],
        im: [0; L],
        conj_re: [0; L],
        conj_im: [0; L],
    };

    /// Sets the mantissas of a lane, which have 28 bits; `conj` says that its plane belongs to W.
    pub(super) fn set(&mut self, lane: usize, re: i32, im: i32, conj: bool) {
        let sign = if conj { -1 } else { 1 };
        (self.re[lane], self.im[lane]) = (re, im);
        self.conj_re[lane] = re.wrapping_mul(sign);
        self.conj_im[lane] = im.wrapping_mul(sign);
    }
}

/// What the results of a panel and a token are made of.
pub(super) struct Totals<'a, const L: usize> {
    /// Sums, `[groups, stride]`.
    pub sums: &'a [BitSums<L>],
    /// Index of the token in a group of `sums`.
    pub token: usize,
    /// Sums from group to group.
    pub stride: usize,
    /// Sums of all activations per group.
    pub all: &'a [[i32; 2]],
    /// Scales per group.
    pub scales: &'a [Scales<L>],
    /// Planes of codes: U and W in all stages.
    pub planes: usize,
    /// Whether the lanes of a plane are neighbours, instead of those of a row.
    pub by_plane: bool,
    /// The token's factor of its results.
    pub factor: f32,
    /// Exponents of two that the results of each row are multiplied by.
    pub powers: &'a [i32; L],
    /// Those powers of two, if all exponents are in [`PLAIN`].
    pub steps: &'a [f64; L],
    /// Whether all exponents are in [`PLAIN`].
    pub plain: bool,
}

impl<const L: usize> Totals<'_, L> {
    /// Writes the results of the rows to the beginning of `out`: real parts, imaginary parts.
    #[inline(always)]
    pub(super) fn values(&self, out: &mut [[f32; L]; 2]) {
        let mut sums = [[0i64; L]; 2];
        for (group, (all, scales)) in self.all.iter().zip(self.scales).enumerate() {
            let bit_sums = &self.sums[group * self.stride + self.token];
            scaled(bit_sums, *all, scales, &mut sums);
        }
        for (sums, out) in sums.iter_mut().zip(out) {
            match self.planes {
                2 => self.rounded::<2>(sums, out),
                4 => self.rounded::<4>(sums, out),
                6 => self.rounded::<6>(sums, out),
                _ => self.rounded::<8>(sums, out),
            }
        }
    }

    /// Sums over the `T` planes of each row, rounded.
    #[inline(always)]
    fn rounded<const T: usize>(&self, sums: &mut [i64; L], out: &mut [f32; L]) {
        let rows = L / T;
        if self.by_plane {
            let (first, others) = sums.split_at_mut(rows);
            for plane in others.chunks_exact(rows) {
                for (row, plane) in first.iter_mut().zip(plane) {
                    *row = row.wrapping_add(*plane);
                }
            }
        } else {
            for row in 0..rows {
                let of_row = &sums[T * row..][..T];
                sums[row] = of_row.iter().fold(0, |a, &b| a.wrapping_add(b));
            }
        }
        let all = sums.iter().zip(out).take(rows);
        if self.plain && self.factor.is_normal() {
            for ((sum, out), step) in all.zip(self.steps) {
                *out = round(*sum, self.factor, *step);
            }
        } else {
            for ((sum, out), power) in all.zip(self.powers) {
                *out = fixed::to_f32(*sum, self.factor, *power);
            }
        }
    }
}

/// Adds the sums of a group times its scales, per lane: to the real and to the imaginary part.
#[inline(always)]
fn scaled<const L: usize>(
    bit_sums: &BitSums<L>,
    all: [i32; 2],
    s: &Scales<L>,
    sums: &mut [[i64; L]; 2],
) {
    for lane in 0..L {
        let [p, q] = [bit_sums[0][lane], bit_sums[1][lane]];
        let [pi, qi] = [bit_sums[2][lane], bit_sums[3][lane]];
        // bit planes to sums of Re(i^k) x and Im(i^k) x: see crate::codebook
        let re_re = all[0].wrapping_sub(p.wrapping_add(q));
        let re_im = all[1].wrapping_sub(pi.wrapping_add(qi));
        let (im_re, im_im) = (p.wrapping_sub(q), pi.wrapping_sub(qi));
        let mul = |a: i32, b: i32| i64::from(a) * i64::from(b);
        let re = mul(re_re, s.re[lane]).wrapping_sub(mul(im_im, s.conj_im[lane]));
        let im = mul(re_im, s.conj_re[lane]).wrapping_add(mul(im_re, s.im[lane]));
        sums[0][lane] = sums[0][lane].wrapping_add(re);
        sums[1][lane] = sums[1][lane].wrapping_add(im);
    }
}

/// Exponents for which [`round`] is right: outside, the product would be rounded in f64 too.
pub(super) const PLAIN: Range<i32> = -600..600;

/// [`fixed::to_f32`] by the CPU's own roundings: the sum to 24 bits, an exact product in f64, that to 24 bits.
/// `step` is two to the power of an exponent in [`PLAIN`], `factor` a normal number.
#[inline(always)]
pub(super) fn round(sum: i64, factor: f32, step: f64) -> f32 {
    let exact = f64::from(sum as f32) * f64::from(factor) * step;
    let value = (exact as f32).clamp(-f32::MAX, f32::MAX);
    if exact.abs() < f64::from(f32::MIN_POSITIVE) {
        return 0f32.copysign(value);
    }
    value
}

/// `2^power`, for a power in [`PLAIN`].
pub(super) fn power_of_two(power: i32) -> f64 {
    f64::from_bits(((1023 + i64::from(power)) as u64) << 52)
}
