//! Loops of the CPU backend that the compiler turns into vector instructions, for whichever the CPU has.
//!
//! Plain loops over arrays of [`LANES`], compiled once per instruction set by `dispatch!` and inlined into it: hence
//! `inline(always)`, and no closures handed to arrays, which would not be.

use fearless_simd::{Level, Simd, dispatch, f32x16, prelude::*};

mod dots;
mod wide;
pub(in crate::ops) use dots::dots;
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

/// `y = silu(gate) * up`.
pub(in crate::ops) fn gated(gate: &[f32], up: &[f32], y: &mut [f32]) {
    dispatch!(Level::new(), _ => gated_lanes(gate, up, y));
}

#[inline(always)]
fn gated_lanes(gate: &[f32], up: &[f32], y: &mut [f32]) {
    for ((y, &g), &u) in y.iter_mut().zip(gate).zip(up) {
        *y = g / (1.0 + exp(-g)) * u;
    }
}

/// Gradient of [`gated`]: `gate` and `up` become their own gradients.
pub(in crate::ops) fn gated_backward(d_y: &[f32], gate: &mut [f32], up: &mut [f32]) {
    dispatch!(Level::new(), _ => gated_backward_lanes(d_y, gate, up));
}

#[inline(always)]
fn gated_backward_lanes(d_y: &[f32], gate: &mut [f32], up: &mut [f32]) {
    for ((gate, up), &d) in gate.iter_mut().zip(up).zip(d_y) {
        let g = *gate;
        let magnitude = if g < 0.0 { -g } else { g };
        let e = exp(-magnitude);
        let (near, far) = (1.0 / (1.0 + e), e / (1.0 + e));
        let (s, rest) = if g < 0.0 { (far, near) } else { (near, far) };
        *gate = d * *up * s * (1.0 + g * rest);
        *up = d * g * s;
    }
}

/// `y = conj(a) * up` on complex values with `a = (re(gate)^2, im(gate)^2)`, 0 where both parts of the gate are negative; all are
/// real parts before imaginary parts.
pub(in crate::ops) fn squared_gated(gate: &[f32], up: &[f32], y: &mut [f32]) {
    dispatch!(Level::new(), _ => squared_gated_lanes(gate, up, y));
}

#[inline(always)]
fn squared_gated_lanes(gate: &[f32], up: &[f32], y: &mut [f32]) {
    let half = y.len() / 2;
    let (y_re, y_im) = y.split_at_mut(half);
    let (gate, up) = (gate.split_at(half), up.split_at(half));
    let gates = gate.0.iter().zip(gate.1);
    let ups = up.0.iter().zip(up.1);
    let ys = y_re.iter_mut().zip(y_im);
    for (((y_re, y_im), (&g_re, &g_im)), (&u_re, &u_im)) in ys.zip(gates).zip(ups) {
        let zero = g_re < 0.0 && g_im < 0.0;
        let a_re = if zero { 0.0 } else { g_re * g_re };
        let a_im = if zero { 0.0 } else { g_im * g_im };
        *y_re = a_re * u_re + a_im * u_im;
        *y_im = a_re * u_im - a_im * u_re;
    }
}

/// Gradient of [`squared_gated`]: `gate` and `up` become their own gradients.
pub(in crate::ops) fn squared_gated_backward(d_y: &[f32], gate: &mut [f32], up: &mut [f32]) {
    dispatch!(Level::new(), _ => squared_gated_backward_lanes(d_y, gate, up));
}

#[inline(always)]
fn squared_gated_backward_lanes(d_y: &[f32], gate: &mut [f32], up: &mut [f32]) {
    let half = d_y.len() / 2;
    let d_y = d_y.split_at(half);
    let (gate, up) = (gate.split_at_mut(half), up.split_at_mut(half));
    let gates = gate.0.iter_mut().zip(gate.1);
    let ups = up.0.iter_mut().zip(up.1);
    let ds = d_y.0.iter().zip(d_y.1);
    for (((gate_re, gate_im), (up_re, up_im)), (&d_re, &d_im)) in gates.zip(ups).zip(ds) {
        let zero = *gate_re < 0.0 && *gate_im < 0.0;
        let g_re = if zero { 0.0 } else { *gate_re };
        let g_im = if zero { 0.0 } else { *gate_im };
        let (u_re, u_im) = (*up_re, *up_im);
        let (a_re, a_im) = (g_re * g_re, g_im * g_im);
        *gate_re = 2.0 * g_re * (u_re * d_re + u_im * d_im);
        *gate_im = 2.0 * g_im * (u_im * d_re - u_re * d_im);
        *up_re = a_re * d_re - a_im * d_im;
        *up_im = a_im * d_re + a_re * d_im;
    }
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

/// Rotates the pairs `(j, j + half)` of every `2 half` values of `heads` by the angles whose cosines and sines lie
/// side by side in `angles`.
pub(in crate::ops) fn rotated(angles: &[f32], heads: &mut [f32]) {
    dispatch!(Level::new(), _ => rotated_lanes(angles, heads));
}

#[inline(always)]
fn rotated_lanes(angles: &[f32], heads: &mut [f32]) {
    let angles = angles.as_chunks::<2>().0;
    for head in heads.chunks_exact_mut(2 * angles.len().max(1)) {
        let (a, b) = head.split_at_mut(angles.len());
        for ((a, b), [cos, sin]) in a.iter_mut().zip(b).zip(angles) {
            (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
        }
    }
}

/// Attention of `q` over positions whose keys and values are rows `stride` apart, with scores multiplied by `scale`: the largest
/// score and the sum of weights are returned, the weighted values (not yet divided by that sum) are left in `out`.
pub(in crate::ops) fn attended(
    q: &[f32],
    scale: f32,
    [k, v]: [&[f32]; 2],
    stride: usize,
    out: &mut [f32],
) -> (f32, f32) {
    dispatch!(Level::new(), simd => attended_lanes(simd, q, scale, [k, v], stride, out))
}

#[inline(always)]
fn attended_lanes<S: Simd>(
    simd: S,
    q: &[f32],
    scale: f32,
    [k, v]: [&[f32]; 2],
    stride: usize,
    out: &mut [f32],
) -> (f32, f32) {
    let mut weights = Vec::with_capacity(k.len().div_ceil(stride));
    let mut top = f32::NEG_INFINITY;
    for k in k.chunks(stride) {
        let score = dot_lanes(simd, q, &k[..q.len()]) * scale;
        top = top.max(score);
        weights.push(score);
    }
    if weights.is_empty() {
        top = 0.0;
    }
    for w in &mut weights {
        *w = exp(*w - top);
    }
    out.fill(0.0);
    let mut total = 0.0f64;
    for (&w, v) in weights.iter().zip(v.chunks(stride)) {
        total += f64::from(w);
        for (out, v) in out.iter_mut().zip(v) {
            *out += w * v;
        }
    }
    (top, total as f32)
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
