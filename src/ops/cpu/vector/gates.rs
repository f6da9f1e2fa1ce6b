//! Gates of feed-forward layers, and their gradients.

use super::exp;
use crate::ops::activation;
use fearless_simd::{Level, dispatch};

/// `y = silu(gate) * up`.
pub(in crate::ops) fn gated(gate: &[f32], up: &[f32], y: &mut [f32], gelu: bool) {
    match gelu {
        true => dispatch!(Level::new(), _ => gated_lanes::<true>(gate, up, y)),
        false => dispatch!(Level::new(), _ => gated_lanes::<false>(gate, up, y)),
    }
}

/// What the logistic function is applied to in a gate, and its derivative.
#[inline(always)]
fn gelu_argument<const GELU: bool>(g: f32) -> (f32, f32) {
    if !GELU {
        return (g, 1.0);
    }
    let (factor, cube) = (activation::GELU as f32, activation::GELU_CUBE as f32);
    let square = g * g;
    (
        factor * g * (1.0 + cube * square),
        factor * (1.0 + 3.0 * cube * square),
    )
}

#[inline(always)]
fn gated_lanes<const GELU: bool>(gate: &[f32], up: &[f32], y: &mut [f32]) {
    for ((y, &g), &u) in y.iter_mut().zip(gate).zip(up) {
        let (t, _) = gelu_argument::<GELU>(g);
        *y = g / (1.0 + exp(-t)) * u;
    }
}

/// Gradient of [`gated`]: `gate` and `up` become their own gradients.
pub(in crate::ops) fn gated_backward(d_y: &[f32], gate: &mut [f32], up: &mut [f32], gelu: bool) {
    match gelu {
        true => dispatch!(Level::new(), _ => gated_backward_lanes::<true>(d_y, gate, up)),
        false => dispatch!(Level::new(), _ => gated_backward_lanes::<false>(d_y, gate, up)),
    }
}

#[inline(always)]
fn gated_backward_lanes<const GELU: bool>(d_y: &[f32], gate: &mut [f32], up: &mut [f32]) {
    for ((gate, up), &d) in gate.iter_mut().zip(up).zip(d_y) {
        let g = *gate;
        let (t, slope) = gelu_argument::<GELU>(g);
        let magnitude = if t < 0.0 { -t } else { t };
        let e = exp(-magnitude);
        let (near, far) = (1.0 / (1.0 + e), e / (1.0 + e));
        let (s, rest) = if t < 0.0 { (far, near) } else { (near, far) };
        *gate = d * *up * s * (1.0 + g * slope * rest);
        *up = d * g * s;
    }
}

/// `y = conj(a) * up` on complex values with `a = (re(gate)^2, im(gate)^2)`, 0 where both parts of the gate are negative; all
/// are real parts before imaginary parts.
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
