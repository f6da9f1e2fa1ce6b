//! Means and their errors.

/// The mean of `values`, `n` of them, and its standard error, sample standard deviation over `sqrt(n)`.
pub(super) fn mean_and_error(values: impl Iterator<Item = f64> + Clone, n: usize) -> (f64, f64) {
    let count = n as f64;
    let mean = values.clone().sum::<f64>() / count;
    let squares: f64 = values.map(|v| (v - mean) * (v - mean)).sum();
    // With one value nothing is known of the error.
    let error = (squares / (count - 1.0).max(0.0) / count).sqrt();
    (mean, if n > 1 { error } else { f64::NAN })
}
