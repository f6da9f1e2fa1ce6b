//! Fixed-point arithmetic that gives the same bits on every device.
//!
//! WGSL floats may round either way, be fused and re-associated; integers may not. So everything between
//! the integer activations and the float result of a quantized linear is done in integers: scales become
//! mantissas with a shared exponent ([`Mantissas`]), the products are summed exactly in 64 bits, and one
//! rounding ([`to_f32`]) makes the result. Sums of magnitudes for the scales are exact the same way
//! ([`magnitude`], [`mean`]). The shaders' twin of this file is `shaders/lib/fixed.wgsl`.

/// Fraction bits of a fixed-point magnitude: `|x| < 2^exponent` becomes an integer below 2^36, which leaves
/// 28 bits for the number of terms.
pub const MAGNITUDE_BITS: i32 = 36;

/// Bits of a scale mantissa: with sums below 2^31 and at most 16 terms, 64 bits never overflow.
pub const MANTISSA_BITS: i32 = 28;

/// Smallest exponent of a tensor's magnitudes: residuals may grow to the scale's minimum (1e-5 at most).
pub const MIN_EXPONENT: i32 = -15;

/// Smallest `e` with `|x| < 2^e` for all `x`, and at least [`MIN_EXPONENT`]. Non-finite values are ignored.
pub fn exponent_of(values: impl IntoIterator<Item = f32>) -> i32 {
    let top = values
        .into_iter()
        .map(|x| x.to_bits() & 0x7fff_ffff)
        .filter(|&b| b < 0x7f80_0000)
        .max()
        .unwrap_or(0);
    ((top >> 23) as i32 - 126).max(MIN_EXPONENT)
}

/// `floor(|x| 2^(36 - exponent))`, for `|x| < 2^exponent`; 0 for subnormal, infinite and NaN values.
pub fn magnitude(x: f32, exponent: i32) -> u64 {
    let bits = x.to_bits() & 0x7fff_ffff;
    let e = (bits >> 23) as i32;
    if e == 0 || e == 255 {
        return 0;
    }
    let mantissa = u64::from(bits & 0x7f_ffff | 0x80_0000);
    let shift = (e - 127) - 23 + MAGNITUDE_BITS - exponent;
    match shift {
        0..=40 => mantissa << shift,
        -31..0 => mantissa >> -shift,
        _ => 0,
    }
}

/// `floor(floor(|x| 2^(32 - exponent))^2 / 2^18)`, for `|x| < 2^exponent`: 2^18 of them add up within 64 bits.
pub fn square(x: f32, exponent: i32) -> u64 {
    let root = magnitude(x, exponent) >> (MAGNITUDE_BITS - 32);
    (root * root) >> SQUARE_SHIFT
}

/// Bits cut off a square so that 2^18 of them fit.
pub const SQUARE_SHIFT: i32 = 18;

/// `sum / count` of magnitudes as f32, rounded once to nearest even, but at least `least`; `least` if empty.
pub fn mean(sum: u64, count: u32, exponent: i32, least: f32) -> f32 {
    if count == 0 || sum == 0 {
        return least;
    }
    // 60 more bits of quotient than the integer part: far beyond f32, so truncation plus a sticky bit is exact.
    let numerator = u128::from(sum) << 60;
    let quotient = numerator / u128::from(count);
    let sticky = u128::from(numerator % u128::from(count) != 0);
    let value = round_to_f32(quotient << 1 | sticky, exponent - MAGNITUDE_BITS - 61);
    value.max(least)
}

/// `value * 2^exponent`, rounded once to nearest even; results below 2^-126 become 0.
fn round_to_f32(value: u128, exponent: i32) -> f32 {
    if value == 0 {
        return 0.0;
    }
    let top = 127 - value.leading_zeros() as i32;
    let mut unit = top - 23;
    let mut mantissa = if unit <= 0 {
        (value << -unit) as u64
    } else {
        let kept = (value >> unit) as u64;
        let rest = value & ((1 << unit) - 1);
        let half = 1 << (unit - 1);
        kept + u64::from(rest > half || rest == half && kept & 1 == 1)
    };
    if top + exponent < -126 {
        return 0.0;
    }
    if mantissa == 1 << 24 {
        mantissa >>= 1;
        unit += 1;
    }
    let e = unit + exponent + 23 + 127;
    if e >= 255 {
        return f32::MAX;
    }
    f32::from_bits((e as u32) << 23 | mantissa as u32 & 0x7f_ffff)
}

/// `f32(f32(sum) * factor * 2^exponent)`: `sum` is rounded to 24 bits, then the product is, both to nearest even.
/// Results below 2^-126 become 0, results beyond f32 its largest value. `factor` must be positive and normal.
pub fn to_f32(sum: i64, factor: f32, exponent: i32) -> f32 {
    let rounded = round_to_f32(sum.unsigned_abs().into(), 0);
    let product = f64::from(rounded) * f64::from(factor); // 24 x 24 bits: exact
    let bits = product.to_bits();
    if product == 0.0 {
        return 0.0;
    }
    let mantissa = bits & ((1 << 52) - 1) | 1 << 52;
    let e = (bits >> 52) as i32 - 1075 + exponent;
    let value = round_to_f32(mantissa.into(), e);
    if sum < 0 { -value } else { value }
}

/// Below it a vector counts as zero in [`inverse_rms`]: 2^-100.
pub const FAINT: f32 = f32::from_bits(27 << 23);

/// Constants of a norm over `n` values: what [`inverse_rms`] takes, rounded once.
pub fn norm_constants(n: usize, eps: f32) -> (f32, f32) {
    let eps_n = (n as f64 * f64::from(eps)) as f32;
    (eps_n, (n as f64).sqrt() as f32)
}

/// `1 / sqrt(mean(x^2) + eps)` to 24 bits, the same on every device: squares of magnitudes rounded to 22 bits are
/// summed as integers, and the root is the largest 24-bit integer whose square is not too large. `eps_n`, `root_n`:
/// [`norm_constants`].
pub fn inverse_rms(x: &[f32], eps_n: f32, root_n: f32) -> f32 {
    let top = x.iter().map(|v| v.to_bits() & 0x7fff_ffff).max();
    let squares = |twice| x.iter().map(|&v| rms_square(v, twice)).sum();
    inverse_rms_of(top.unwrap_or(0), squares, (eps_n, root_n))
}

/// [`inverse_rms`] for those who have loops of their own: `top` has the bits of the largest magnitude, and `squares` adds up
/// [`rms_square`] of all values, given its second argument.
pub fn inverse_rms_of(
    top: u32,
    squares: impl FnOnce(f32) -> u64,
    (eps_n, root_n): (f32, f32),
) -> f32 {
    let mut sum = 0.0;
    if top >= FAINT.to_bits() {
        let e = (top >> 23) as i32 - 126;
        let twice = f32::from_bits(((150 - e) as u32) << 23); // 2^(23 - e)
        sum = to_f32(squares(twice) as i64, 1.0, 2 * e - 44);
    }
    root_inverse(sum + eps_n) * root_n
}

/// The square of a magnitude of 22 bits: half of `|x| twice`, rounded up.
#[inline(always)]
pub fn rms_square(x: f32, twice: f32) -> u64 {
    let magnitude = u64::from(((x.abs() * twice) as u32).div_ceil(2));
    magnitude * magnitude
}

/// 24 bits of `1 / sqrt(a)`, rounded down, for a positive normal `a`.
fn root_inverse(a: f32) -> f32 {
    let bits = a.to_bits();
    let e = (bits >> 23) as i32 - 127;
    let odd = e & 1;
    let m = u64::from(bits & 0x7f_ffff | 0x80_0000) << odd;
    let r = ((1u128 << 71) / u128::from(m)).isqrt();
    r as f32 * 2f32.powi(-24 - (e - odd) / 2)
}

/// Scales of one cell (tensor, row) as integers with a common exponent: `scale = mantissa * 2^exponent`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mantissas {
    /// Common exponent of the cell.
    pub exponent: i32,
    /// One mantissa per scale, below 2^28.
    pub values: Vec<u32>,
}

impl Mantissas {
    /// Mantissas of `scales / divisor`; the largest keeps 28 bits, the others what the common exponent leaves.
    pub fn new(scales: &[f32], divisor: u32) -> Self {
        let largest = scales.iter().copied().fold(0.0f32, f32::max);
        if largest <= 0.0 || !largest.is_finite() {
            return Self {
                exponent: 0,
                values: vec![0; scales.len()],
            };
        }
        let wide = f64::from(largest) / f64::from(divisor);
        let exponent = wide.log2().floor() as i32 + 1 - MANTISSA_BITS;
        let unit = 2f64.powi(-exponent) / f64::from(divisor);
        let top = (1u32 << MANTISSA_BITS) - 1;
        let values = scales
            .iter()
            .map(|&s| ((f64::from(s) * unit).round() as u32).min(top))
            .collect();
        Self { exponent, values }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn magnitudes_are_exact_within_the_window() {
        assert_eq!(magnitude(0.5, 0), 1 << 35);
        assert_eq!(magnitude(-0.75, 0), 3 << 34);
        assert_eq!(magnitude(2f32.powi(-36), 0), 1);
        assert_eq!(magnitude(2f32.powi(-37), 0), 0);
        assert_eq!(magnitude(f32::NAN, 0), 0);
    }

    #[test]
    fn means_agree_with_wide_floats() {
        for seed in 1..200u64 {
            let sum = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (seed % 30);
            let count = (seed as u32).wrapping_mul(2_654_435_761) >> (seed % 25) | 1;
            let expected = sum as f64 / f64::from(count) * 2f64.powi(-36);
            let got = f64::from(mean(sum, count, 0, 0.0));
            assert!((got - expected).abs() <= expected * 6e-8, "{sum} / {count}");
        }
        assert_eq!(mean(0, 0, 0, 1e-6), 1e-6);
        assert_eq!(mean(3 << 35, 3, 0, 0.0), 0.5);
    }

    #[test]
    fn to_f32_is_the_rounded_product() {
        for (sum, factor, e) in [
            (3i64, 0.1f32, 0),
            (-(1 << 40) - 1, 1.5, -30),
            (i64::MAX, 3.0, -60),
        ] {
            let want = (sum as f32 * factor) * 2f32.powi(e);
            assert_eq!(to_f32(sum, factor, e), want);
        }
        assert_eq!(to_f32(1, 1.0, -127), 0.0);
        assert_eq!(to_f32(0, 1.0, 0), 0.0);
    }

    #[test]
    fn inverse_rms_is_close() {
        for (i, scale) in [1e-30f32, 1e-6, 0.3, 1.0, 77.0, 1e12]
            .into_iter()
            .enumerate()
        {
            let x: Vec<f32> = (0..500)
                .map(|j| scale * (((i * 500 + j) * 7919 % 1000) as f32 / 500.0 - 1.0))
                .collect();
            let mean = x.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / 500.0;
            let (eps_n, root_n) = norm_constants(500, 1e-5);
            let want = 1.0 / (mean + 1e-5).sqrt();
            let got = f64::from(inverse_rms(&x, eps_n, root_n)) / want;
            assert!((got - 1.0).abs() < 3e-7, "{scale}: {got}");
        }
    }

    #[test]
    fn mantissas_keep_the_scales() {
        let scales = [0.02f32, 0.011, 0.004];
        let m = Mantissas::new(&scales, 32767);
        for (s, v) in scales.iter().zip(&m.values) {
            let back = f64::from(*v) * 2f64.powi(m.exponent) * 32767.0;
            assert!((back / f64::from(*s) - 1.0).abs() < 1e-7);
        }
    }

    #[test]
    fn scales_of_zero_stay_zero() {
        assert_eq!(Mantissas::new(&[0.0; 3], 127).values, [0; 3]);
        let m = Mantissas::new(&[0.0, 0.25, 0.0], 127);
        assert!(m.values[0] == 0 && m.values[2] == 0 && m.values[1] > 1 << 27);
        assert_eq!(to_f32(0, 1.0, m.exponent), 0.0);
    }
}
