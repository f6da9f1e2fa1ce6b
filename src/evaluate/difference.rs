//! Whether one model is better than another on a text, or only luckier.

use super::perplexity::Measured;
use serde::Serialize;

/// Standard errors beyond which a difference is taken for more than noise: 95 of 100 that are noise stay below.
const SIGNIFICANT: f64 = 1.96;

/// What a model loses against another one on the same tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Difference {
    /// Mean of the differences of negative log-likelihood, in nats a token; positive if the model is worse.
    pub mean_nll: f64,
    /// Standard error of that mean. Differences are paired token by token, and summed by window: tokens of one window
    /// are not independent.
    pub standard_error: f64,
    /// Whether the difference is more than noise: beyond 1.96 standard errors.
    pub significant: bool,
}

impl Difference {
    /// What `model` loses against `base`; `None` if they did not score the same tokens, or only one window.
    pub fn of(model: &Measured, base: &Measured) -> Option<Self> {
        let same = model.windows == base.windows && model.scores.len() == base.scores.len();
        let pairs = || model.scores.iter().zip(&base.scores);
        if !same || pairs().any(|(a, b)| a.target != b.target) || model.windows.len() < 2 {
            return None;
        }
        let mut differences = pairs().map(|(a, b)| f64::from(a.nll) - f64::from(b.nll));
        let sums: Vec<(f64, f64)> = model
            .windows
            .iter()
            .map(|&n| (differences.by_ref().take(n).sum(), n as f64))
            .collect();
        let count: f64 = sums.iter().map(|s| s.1).sum();
        let mean = sums.iter().map(|s| s.0).sum::<f64>() / count;
        // The variance of a ratio of sums over windows (Cochran, Sampling Techniques, section 6.3).
        let windows = sums.len() as f64;
        let squares: f64 = sums.iter().map(|(sum, n)| (sum - mean * n).powi(2)).sum();
        let error = (squares * windows / (windows - 1.0)).sqrt() / count;
        Some(Self {
            mean_nll: mean,
            standard_error: error,
            significant: mean.abs() > SIGNIFICANT * error,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Scored;

    fn measured(nll: &[f32], windows: &[usize]) -> Measured {
        let score = |(i, &nll): (usize, &f32)| Scored {
            nll,
            target: i as u32,
            best: 0,
            reference: None,
        };
        Measured::new(
            nll.iter().enumerate().map(score).collect(),
            windows.to_vec(),
        )
    }

    #[test]
    fn a_steady_loss_is_more_than_noise_and_a_wavering_one_is_not() {
        let base = measured(&[3.0, 1.0, 5.0, 2.0, 0.5, 4.0], &[2, 2, 2]);
        let worse = measured(&[3.1, 1.1, 5.1, 2.1, 0.6, 4.2], &[2, 2, 2]);
        let d = Difference::of(&worse, &base).expect("pairs");
        assert!(
            (d.mean_nll - 0.7 / 6.0).abs() < 1e-6 && d.significant,
            "{d:?}"
        );
        let luck = measured(&[4.0, 1.0, 4.0, 2.0, 0.6, 4.0], &[2, 2, 2]);
        let d = Difference::of(&luck, &base).expect("pairs");
        assert!(!d.significant && d.standard_error > 0.1, "{d:?}");
        assert!(!Difference::of(&base, &base).expect("pairs").significant);
    }

    #[test]
    fn tokens_of_one_window_count_as_one() {
        let (base, n) = (measured(&[0.0; 8], &[4, 4]), [4, 4]);
        let shifted = measured(&[0.1, 0.1, 0.1, 0.1, -0.1, -0.1, -0.1, -0.1], &n);
        let d = Difference::of(&shifted, &base).expect("pairs");
        assert!((d.standard_error - 0.1).abs() < 1e-6, "{d:?}");
    }

    #[test]
    fn only_the_same_tokens_are_paired() {
        let base = measured(&[1.0, 2.0], &[1, 1]);
        assert_eq!(Difference::of(&measured(&[1.0, 2.0], &[2]), &base), None);
        let mut other = base.clone();
        other.scores[1].target = 7;
        assert_eq!(Difference::of(&other, &base), None);
    }
}
