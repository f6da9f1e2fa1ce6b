//! Loops of the CPU backend that the compiler turns into vector instructions, for whichever the CPU has.
//!
//! Plain loops over arrays of [`LANES`], compiled once per instruction set by `dispatch!` and inlined into it: hence
//! `inline(always)`, and no closures handed to arrays, which would not be.

use fearless_simd::{Level, Simd, dispatch, f32x16, prelude::*};

mod attend;
mod dots;
mod gates;
mod wide;
pub(in crate::ops) use attend::{CachedRows, Scores, Seen, attended};
pub(in crate::ops) use dots::dots;
pub(in crate::ops) use gates::{gated, gated_backward, squared_gated, squared_gated_backward};
pub(in crate::ops) use wide::{TILE, wide_tile};

/// Independent sums of a reduction: enough for any vector unit.
const LANES: usize = 16;

/// `e^x` to about 2 ULP; 0 and infinity where f32 ends. The scheme of Cephes: a power of two, a polynomial for the rest.
#[inline(always)]
pub(in crate::ops) fn exp(x: f32) -> f32 {
    const ROUND: f32 = (3 << 22) as f32;
    // ln 2 as a sum whose first summand has few bits, so that its multiples are exact
    const LN2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    const POLYNOMIAL: [f32; 6] = [
        1.987_569_1e-4,
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        0.5,
    ];
    // comparisons that let NaN pass
    let x = if x < -104.0 { -104.0 } else { x };
    let x = if x > 89.0 { 89.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN2[0] - n * LN2[1];
    let mut p = POLYNOMIAL[0];
    let mut i = 1;
    while i < POLYNOMIAL.len() {
        p = p * r + POLYNOMIAL[i];
        i += 1;
    }
    let p = p * r * r + r + 1.0;
    // in two steps, since 2^128 and 2^-150 are not f32
    let n = shifted.to_bits().wrapping_sub(ROUND.to_bits()) as i32;
    let (first, second) = (n >> 1, n - (n >> 1));
    let power = |n: i32| f32::from_bits(((n + 127) << 23) as u32);
    p * power(first) * power(second)
}

/// `sum a[i] * b[i]` in f32.
pub(in crate::ops) fn dot(a: &[f32], b: &[f32]) -> f32 {
    dispatch!(Level::new(), simd => dot_lanes(simd, a, b))
}

#[inline(always)]
fn dot_lanes<S: Simd>(simd: S, a: &[f32], b: &[f32]) -> f32 {
    let mut sums = f32x16::splat(simd, 0.0);
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (f32x16::from_slice(simd, a), f32x16::from_slice(simd, b));
        sums = a.mul_add(b, sums);
    }
    let mut rest = 0.0;
    for (a, b) in a_rest.iter().zip(b_rest) {
        rest += a * b;
    }
    sums.reduce_sum() + rest
}

/// `x = exp(scale * x) / sum exp(scale * x)`; the logarithm of the sum is returned.
pub(in crate::ops) fn softmax(scale: f32, x: &mut [f32]) -> f32 {
    dispatch!(Level::new(), _ => softmax_lanes(scale, x))
}

#[inline(always)]
fn softmax_lanes(scale: f32, x: &mut [f32]) -> f32 {
    let top = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for v in x.iter_mut() {
        *v = exp(scale * (*v - top));
    }
    let mut sums = [0.0f64; LANES];
    let (blocks, rest) = x.as_chunks::<LANES>();
    for block in blocks {
        for i in 0..LANES {
            sums[i] += f64::from(block[i]);
        }
    }
    let mut total: f64 = sums.iter().sum();
    for &v in rest {
        total += f64::from(v);
    }
    let share = (1.0 / total) as f32;
    for v in x.iter_mut() {
        *v *= share;
    }
    (total.ln() + f64::from(scale) * f64::from(top)) as f32
}

/// `log sum exp(x)`.
pub(in crate::ops) fn log_sum_exp(x: &[f32]) -> f32 {
    dispatch!(Level::new(), _ => log_sum_exp_lanes(x))
}

#[inline(always)]
fn log_sum_exp_lanes(x: &[f32]) -> f32 {
    let top = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sums = [0.0f64; LANES];
    let (blocks, rest) = x.as_chunks::<LANES>();
    for block in blocks {
        for i in 0..LANES {
            sums[i] += f64::from(exp(block[i] - top));
        }
    }
    let mut total: f64 = sums.iter().sum();
    for &v in rest {
        total += f64::from(exp(v - top));
    }
    (total.ln() + f64::from(top)) as f32
}

/// `y = x / sqrt(sum(x^2) / count + eps) * weight`.
pub(in crate::ops) fn normed(x: &[f32], weight: &[f32], count: usize, eps: f32, y: &mut [f32]) {
    dispatch!(Level::new(), _ => normed_lanes(x, weight, count, eps, y));
}

#[inline(always)]
fn normed_lanes(x: &[f32], weight: &[f32], count: usize, eps: f32, y: &mut [f32]) {
    let mut sums = [0.0f64; LANES];
    let (blocks, rest) = x.as_chunks::<LANES>();
    for block in blocks {
        for i in 0..LANES {
            sums[i] += f64::from(block[i]) * f64::from(block[i]);
        }
    }
    let mut squares: f64 = sums.iter().sum();
    for &x in rest {
        squares += f64::from(x) * f64::from(x);
    }
    let scale = 1.0 / (squares / count as f64 + f64::from(eps)).sqrt();
    for ((y, &x), &w) in y.iter_mut().zip(x).zip(weight) {
        *y = (f64::from(x) * scale * f64::from(w)) as f32;
    }
}

/// Rotates the pairs of the first values of every `head_dim` values of `heads`, as many as there are `angles`, by the angles
/// whose cosines and sines lie side by side there. A pair is `(j, j + angles.len() / 2)`, or `(2 j, 2 j + 1)` of
/// `neighbours`.
pub(in crate::ops) fn rotated(
    angles: &[f32],
    neighbours: bool,
    head_dim: usize,
    heads: &mut [f32],
) {
    dispatch!(Level::new(), _ => match neighbours {
        false => rotated_halves(angles, head_dim, heads),
        true => rotated_neighbours(angles, head_dim, heads),
    });
}

#[inline(always)]
fn rotated_halves(angles: &[f32], head_dim: usize, heads: &mut [f32]) {
    let angles = angles.as_chunks::<2>().0;
    for head in heads.chunks_exact_mut(head_dim) {
        let (a, b) = head.split_at_mut(angles.len());
        for ((a, b), [cos, sin]) in a.iter_mut().zip(b).zip(angles) {
            (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
        }
    }
}

#[inline(always)]
fn rotated_neighbours(angles: &[f32], head_dim: usize, heads: &mut [f32]) {
    let angles = angles.as_chunks::<2>().0;
    for head in heads.chunks_exact_mut(head_dim) {
        let pairs = head.as_chunks_mut::<2>().0;
        for ([a, b], [cos, sin]) in pairs.iter_mut().zip(angles) {
            (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
        }
    }
}

/// `cap * tanh(x / cap)`.
#[inline(always)]
fn capped(cap: f32, x: f32) -> f32 {
    let x = x / cap;
    let magnitude = if x < 0.0 { -x } else { x };
    let squares = x * x;
    let slope = squares
        * (squares * (squares * (squares * 0.021_869_488 - 0.053_968_254) + 0.133_333_33)
            - 0.333_333_33);
    let e = exp(-2.0 * magnitude);
    let far = (1.0 - e) / (1.0 + e);
    let far = if x < 0.0 { -far } else { far };
    cap * if squares < 0.09 { x + x * slope } else { far }
}

/// `x = cap * tanh(scale * x / cap)`.
pub(in crate::ops) fn soft_capped(scale: f32, cap: f32, x: &mut [f32]) {
    dispatch!(Level::new(), _ => soft_capped_lanes(scale, cap, x));
}

#[inline(always)]
fn soft_capped_lanes(scale: f32, cap: f32, x: &mut [f32]) {
    for x in x {
        *x = capped(cap, scale * *x);
    }
}

/// Index of the largest element, the lowest among equals, NaN below everything; 0 if there is nothing else.
pub(in crate::ops) fn largest(x: &[f32]) -> usize {
    dispatch!(Level::new(), _ => largest_lanes(x))
}

#[inline(always)]
fn largest_lanes(x: &[f32]) -> usize {
    let mut maxima = [f32::NEG_INFINITY; LANES];
    let (blocks, rest) = x.as_chunks::<LANES>();
    for block in blocks {
        for i in 0..LANES {
            maxima[i] = if block[i] > maxima[i] {
                block[i]
            } else {
                maxima[i]
            };
        }
    }
    let max = maxima
        .iter()
        .chain(rest)
        .copied()
        .fold(f32::NEG_INFINITY, f32::max);
    // block by block first: a search for one element stops at every one
    let block = blocks.iter().position(|block| block.contains(&max));
    let start = block.unwrap_or(blocks.len()) * LANES;
    let first = x[start..].iter().position(|&x| x == max);
    first.map_or(0, |i| start + i)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_three_ulp() {
        for i in -1_040_000..=886_000 {
            let x = i as f32 * 1e-4;
            let (got, want) = (f64::from(exp(x)), f64::from(x).exp());
            let unit = f64::from((want as f32).max(f32::MIN_POSITIVE)) * 2f64.powi(-23);
            assert!((got - want).abs() <= 3.0 * unit, "{x}: {got} {want}");
        }
        assert_eq!(exp(-200.0), 0.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(100.0), f32::INFINITY);
        assert_eq!(exp(0.0), 1.0);
    }

    #[test]
    fn a_dot_of_any_length_is_a_dot() {
        for len in 0..70 {
            let a: Vec<f32> = (0..len).map(|i| (i % 7) as f32 - 3.0).collect();
            let expected: f32 = a.iter().map(|v| v * (v + 1.0)).sum();
            let b: Vec<f32> = a.iter().map(|v| v + 1.0).collect();
            assert_eq!(dot(&a, &b), expected, "{len}");
        }
    }
}
