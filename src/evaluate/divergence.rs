//! What rounding did to a model's predictions, without the noise of a text: distance from a reference.

use super::mean::mean_and_error;
use super::perplexity::Measured;
use crate::model::Scored;
use crate::model::session::Reference;
use serde::Serialize;

/// Distance of a model from a reference on the same tokens, in the terms of llama.cpp's `--kl-divergence`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Divergence {
    /// Mean Kullback-Leibler divergence from the reference's distributions, in nats a token.
    pub mean: f64,
    /// Standard error of the mean.
    pub standard_error: Option<f64>,
    /// The divergence that a token of a hundred stays below: `[percent, nats]`.
    pub percentiles: Vec<(f64, f64)>,
    /// The largest one.
    pub max: f64,
    /// Share of tokens for which both take the same one for the most likely.
    pub top1_agreement: f64,
    /// Standard error of that share.
    pub top1_standard_error: Option<f64>,
    /// Perplexity of the reference.
    pub reference_ppl: f64,
    /// `ln(ppl / reference_ppl)`, from the paired losses.
    pub ln_ppl_ratio: f64,
    /// Standard error of that logarithm.
    pub ln_ppl_ratio_standard_error: Option<f64>,
    /// Mean change of the probability of the token that came.
    pub mean_delta_p: f64,
    /// Root of the mean square of that change.
    pub rms_delta_p: f64,
}

/// Percentiles that are told.
const PERCENT: [f64; 7] = [1.0, 5.0, 50.0, 90.0, 95.0, 99.0, 99.9];

impl Divergence {
    /// The distance that `measured` has from its reference, if there was one.
    pub fn of(measured: &Measured) -> Option<Self> {
        let pair = |s: &Scored| Some((*s, s.reference?));
        let pairs: Option<Vec<_>> = measured.scores.iter().map(pair).collect();
        let pairs = pairs.filter(|pairs| !pairs.is_empty())?;
        let mean = |f: &dyn Fn(&(Scored, Reference)) -> f64| {
            let (mean, error) = mean_and_error(pairs.iter().map(f), pairs.len());
            (mean, Some(error).filter(|e| e.is_finite()))
        };
        let divergence = |p: &(Scored, Reference)| f64::from(p.1.divergence);
        let mut sorted: Vec<f64> = pairs.iter().map(divergence).collect();
        sorted.sort_by(f64::total_cmp);
        let (average, standard_error) = mean(&divergence);
        let (top1_agreement, top1_standard_error) =
            mean(&|(own, other)| f64::from(u8::from(own.best == other.best)));
        let (ln_ppl_ratio, ln_error) =
            mean(&|(own, other)| f64::from(own.nll) - f64::from(other.nll));
        let delta = |(own, other): &(Scored, Reference)| {
            (-f64::from(own.nll)).exp() - (-f64::from(other.nll)).exp()
        };
        Some(Self {
            mean: average,
            standard_error,
            percentiles: PERCENT.map(|p| (p, percentile(&sorted, p))).to_vec(),
            max: sorted[sorted.len() - 1],
            top1_agreement,
            top1_standard_error,
            reference_ppl: mean(&|p| f64::from(p.1.nll)).0.exp(),
            ln_ppl_ratio,
            ln_ppl_ratio_standard_error: ln_error,
            mean_delta_p: mean(&delta).0,
            rms_delta_p: mean(&|p| delta(p).powi(2)).0.sqrt(),
        })
    }
}

/// Linear between neighbours, as llama.cpp and NumPy do.
fn percentile(sorted: &[f64], percent: f64) -> f64 {
    let place = percent / 100.0 * (sorted.len() - 1) as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (sorted[above] - sorted[below]) * (place - below as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_lie_between_neighbours() {
        assert_eq!(percentile(&[1.0, 2.0, 4.0], 50.0), 2.0);
        assert_eq!(percentile(&[1.0, 2.0, 4.0], 75.0), 3.0);
        assert_eq!(percentile(&[3.0], 99.0), 3.0);
    }

    #[test]
    fn every_number_follows_from_the_pairs() {
        let score = |nll: f32, best, theirs: f32, divergence| Scored {
            nll,
            target: 0,
            best,
            reference: Some(Reference {
                nll: theirs,
                best: 1,
                divergence,
            }),
        };
        let scores = vec![score(1.0, 1, 0.5, 0.25), score(2.0, 3, 2.5, 0.75)];
        let d = Divergence::of(&Measured::new(scores, vec![2])).expect("a reference");
        assert_eq!((d.mean, d.max, d.top1_agreement), (0.5, 0.75, 0.5));
        assert_eq!(d.ln_ppl_ratio, 0.0);
        assert!((d.reference_ppl - 1.5f64.exp()).abs() < 1e-12);
        let changes = [
            (-1f64).exp() - (-0.5f64).exp(),
            (-2f64).exp() - (-2.5f64).exp(),
        ];
        assert!((d.mean_delta_p - (changes[0] + changes[1]) / 2.0).abs() < 1e-12);
        assert!(
            (d.rms_delta_p.powi(2) - (changes[0].powi(2) + changes[1].powi(2)) / 2.0).abs() < 1e-12
        );
        let alone = Scored {
            reference: None,
            ..score(1.0, 1, 0.5, 0.25)
        };
        assert_eq!(Divergence::of(&Measured::new(vec![alone], vec![1])), None);
    }
}
