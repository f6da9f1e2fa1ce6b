//! From the sums of a panel to its results: exact products with the scales, one rounding.

use crate::fixed;
use crate::ops::quantize::Form;
use std::ops::Range;

/// Sums of one panel and token: per lane the activations where bit 0 of the code is set, where bit 1 is set; of
/// the real parts, then of the imaginary parts.
pub(super) type BitSums<const L: usize> = [[i32; L]; 4];

/// Scales of a group of columns, per lane.
#[derive(Clone, Copy)]
pub(super) struct Scales<const L: usize> {
    re: [i32; L],
    im: [i32; L],
    /// Negated for planes that are multiplied with the conjugate.
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

    /// Sets the mantissas of a lane, which have 28 bits; `conj` says that its plane acts on the conjugate.
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
    /// Planes of codes.
    pub planes: usize,
    /// Whether what the real and what the imaginary inputs add is rounded together, or apart with factors of their own.
    pub form: Form,
    /// The token's factor of its results; in the conjugate form that of what the real inputs add, then that of what the
    /// imaginary ones add.
    pub factors: &'a [f32],
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
        match self.form {
            Form::WidelyLinear => self.values_together(out),
            Form::Conjugate => self.values_apart(out),
        }
    }

    /// What real and imaginary inputs add is rounded together.
    #[inline(always)]
    fn values_together(&self, out: &mut [[f32; L]; 2]) {
        let mut sums = [[0i64; L]; 2];
        for (group, (all, scales)) in self.all.iter().zip(self.scales).enumerate() {
            let bit_sums = &self.sums[group * self.stride + self.token];
            scaled(bit_sums, *all, scales, &mut sums);
        }
        let factor = self.factors[0];
        for (sums, out) in sums.iter_mut().zip(out) {
            match self.planes {
                2 => self.rounded::<2, false>(sums, factor, out),
                4 => self.rounded::<4, false>(sums, factor, out),
                6 => self.rounded::<6, false>(sums, factor, out),
                _ => self.rounded::<8, false>(sums, factor, out),
            }
        }
    }

    /// What real and what imaginary inputs add is rounded apart, then added.
    #[inline(always)]
    fn values_apart(&self, out: &mut [[f32; L]; 2]) {
        let mut sums = [[0i64; L]; 4];
        for (group, (all, scales)) in self.all.iter().zip(self.scales).enumerate() {
            let bit_sums = &self.sums[group * self.stride + self.token];
            scaled_apart(bit_sums, *all, scales, &mut sums);
        }
        let mut by_im = [0.0; L];
        for (sums, out) in sums.chunks_exact_mut(2).zip(out) {
            let (by, outs) = (self.factors, [&mut *out, &mut by_im]);
            for ((sums, factor), out) in sums.iter_mut().zip(by).zip(outs) {
                match self.planes {
                    1 => self.rounded::<1, true>(sums, *factor, out),
                    2 => self.rounded::<2, true>(sums, *factor, out),
                    3 => self.rounded::<3, true>(sums, *factor, out),
                    _ => self.rounded::<4, true>(sums, *factor, out),
                }
            }
            for (out, by_im) in out.iter_mut().zip(&by_im) {
                *out += by_im;
            }
        }
    }

    /// Sums over the `T` planes of each row, rounded; `MANY`: there are so many that it pays to look whether all are small.
    #[inline(always)]
    fn rounded<const T: usize, const MANY: bool>(
        &self,
        sums: &mut [i64; L],
        factor: f32,
        out: &mut [f32; L],
    ) {
        let rows = L / T;
        let (first, others) = sums.split_at_mut(rows);
        for plane in others.chunks_exact(rows) {
            for (row, plane) in first.iter_mut().zip(plane) {
                *row = row.wrapping_add(*plane);
            }
        }
        let small = MANY && are_small(&sums[..rows]);
        let all = sums.iter().zip(out).take(rows);
        match self.plain && factor.is_normal() {
            true if small => {
                for ((sum, out), step) in all.zip(self.steps) {
                    *out = round_small(*sum, factor, *step);
                }
            }
            true => {
                for ((sum, out), step) in all.zip(self.steps) {
                    *out = round(*sum, factor, *step);
                }
            }
            false => {
                for ((sum, out), power) in all.zip(self.powers) {
                    *out = fixed::to_f32(*sum, factor, *power);
                }
            }
        }
    }
}

/// Adds the sums of a group times its scales, per lane: to the real and to the imaginary part.
#[allow(clippy::needless_range_loop)] // one loop for many arrays
#[inline(always)]
fn scaled<const L: usize>(
    bit_sums: &BitSums<L>,
    all: [i32; 2],
    s: &Scales<L>,
    sums: &mut [[i64; L]; 2],
) {
    for lane in 0..L {
        let [re_re, im_re, re_im, im_im] = code_sums(bit_sums, all, lane);
        let re = mul(re_re, s.re[lane]).wrapping_sub(mul(im_im, s.conj_im[lane]));
        let im = mul(re_im, s.conj_re[lane]).wrapping_add(mul(im_re, s.im[lane]));
        sums[0][lane] = sums[0][lane].wrapping_add(re);
        sums[1][lane] = sums[1][lane].wrapping_add(im);
    }
}

/// The same, but what the real inputs and what the imaginary inputs add to the real part stays apart; then to the imaginary
/// part.
#[allow(clippy::needless_range_loop)] // one loop for many arrays
#[inline(always)]
fn scaled_apart<const L: usize>(
    bit_sums: &BitSums<L>,
    all: [i32; 2],
    s: &Scales<L>,
    sums: &mut [[i64; L]; 4],
) {
    for lane in 0..L {
        let [re_re, im_re, re_im, im_im] = code_sums(bit_sums, all, lane);
        sums[0][lane] = sums[0][lane].wrapping_add(mul(re_re, s.re[lane]));
        sums[1][lane] = sums[1][lane].wrapping_sub(mul(im_im, s.conj_im[lane]));
        sums[2][lane] = sums[2][lane].wrapping_add(mul(im_re, s.im[lane]));
        sums[3][lane] = sums[3][lane].wrapping_add(mul(re_im, s.conj_re[lane]));
    }
}

/// Sums of a lane over the codes i^k: of `Re(i^k) re, Im(i^k) re, Re(i^k) im, Im(i^k) im` (see [`crate::codebook`]).
#[inline(always)]
fn code_sums<const L: usize>(bit_sums: &BitSums<L>, all: [i32; 2], lane: usize) -> [i32; 4] {
    let [p, q] = [bit_sums[0][lane], bit_sums[1][lane]];
    let [pi, qi] = [bit_sums[2][lane], bit_sums[3][lane]];
    [
        all[0].wrapping_sub(p.wrapping_add(q)),
        p.wrapping_sub(q),
        all[1].wrapping_sub(pi.wrapping_add(qi)),
        pi.wrapping_sub(qi),
    ]
}

#[inline(always)]
fn mul(a: i32, b: i32) -> i64 {
    i64::from(a) * i64::from(b)
}

/// Exponents for which [`round`] is right: outside, the product would be rounded in f64 too.
pub(super) const PLAIN: Range<i32> = -600..600;

/// [`fixed::to_f32`] by the CPU's own roundings: the sum to 24 bits, an exact product in f64, that to 24 bits.
/// `step` is two to the power of an exponent in [`PLAIN`], `factor` a normal number.
#[inline(always)]
pub(super) fn round(sum: i64, factor: f32, step: f64) -> f32 {
    times(sum as f32, factor, step)
}

/// Sums of at least `-SMALL` and less than `SMALL` are exact in f64, whose conversions are vector instructions.
const SMALL: i64 = 1 << 51;

/// Whether [`round_small`] may round these.
#[inline(always)]
pub(super) fn are_small(sums: &[i64]) -> bool {
    let moved = sums.iter().map(|sum| sum.wrapping_add(SMALL) as u64);
    moved.fold(0, |all, moved| all | moved) < 2 * SMALL as u64
}

/// [`round`] of a small sum.
#[inline(always)]
pub(super) fn round_small(sum: i64, factor: f32, step: f64) -> f32 {
    // around this number doubles are whole, and an integer that is added to its bits is added to it
    let middle = (3 * SMALL) as f64;
    let exact = f64::from_bits(middle.to_bits().wrapping_add(sum as u64)) - middle;
    times(exact as f32, factor, step)
}

/// A sum that is rounded to 24 bits already, times `factor * step`.
#[inline(always)]
fn times(sum: f32, factor: f32, step: f64) -> f32 {
    let exact = f64::from(sum) * f64::from(factor) * step;
    let value = (exact as f32).clamp(-f32::MAX, f32::MAX);
    let tiny = exact.abs() < f64::from(f32::MIN_POSITIVE);
    if tiny { 0f32.copysign(value) } else { value }
}

/// `2^power`, for a power in [`PLAIN`].
pub(super) fn power_of_two(power: i32) -> f64 {
    f64::from_bits(((1023 + i64::from(power)) as u64) << 52)
}
