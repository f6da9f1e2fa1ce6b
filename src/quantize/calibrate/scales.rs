//! The small systems of equations that scales are solved from, on the host in f64.

use crate::ops::quantize::LEAST_SCALE;

/// Moves scales to the minimum of `(s - s_0) A (s - s_0) / 2 - b (s - s_0)`, a little damped; `a` [n, n] and `b` [n] are
/// overwritten.
pub(super) fn refit(scales: &mut [f32], a: &mut [f64], b: &mut [f64]) {
    let n = b.len();
    let mean = (0..n).map(|i| a[i * n + i]).sum::<f64>() / n as f64;
    for i in 0..n {
        a[i * n + i] += 1e-3 * a[i * n + i] + 1e-6 * mean;
    }
    if !solve(a, b) {
        return; // a scale block that no input reaches keeps its scales
    }
    for (scale, &step) in scales.iter_mut().zip(b.iter()) {
        *scale = ((f64::from(*scale) + step) as f32).max(LEAST_SCALE);
    }
}

/// Solves `A x = b` for a positive definite A by its Cholesky factor; `b` becomes x. `false` where A is not.
fn solve(a: &mut [f64], b: &mut [f64]) -> bool {
    let n = b.len();
    for i in 0..n {
        for j in 0..=i {
            let known: f64 = (0..j).map(|k| a[i * n + k] * a[j * n + k]).sum();
            let rest = a[i * n + j] - known;
            if i == j && !(rest > 0.0 && rest.is_finite()) {
                return false;
            }
            a[i * n + j] = if i == j {
                rest.sqrt()
            } else {
                rest / a[j * n + j]
            };
        }
    }
    for i in 0..n {
        let known: f64 = (0..i).map(|k| a[i * n + k] * b[k]).sum();
        b[i] = (b[i] - known) / a[i * n + i];
    }
    for i in (0..n).rev() {
        let known: f64 = (i + 1..n).map(|k| a[k * n + i] * b[k]).sum();
        b[i] = (b[i] - known) / a[i * n + i];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_is_solved() {
        let (mut a, mut b) = ([4.0, 2.0, 2.0, 5.0], [10.0, 13.0]);
        assert!(solve(&mut a, &mut b));
        assert!((b[0] - 1.5).abs() < 1e-12 && (b[1] - 2.0).abs() < 1e-12);
        assert!(!solve(&mut [1.0, 2.0, 2.0, 1.0], &mut [1.0, 1.0]));
    }
}
