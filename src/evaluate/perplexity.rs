//! Perplexity of one text under one model.

use super::mean::mean_and_error;
use super::protocol::Text;
use crate::backend::Backend;
use crate::error::Result;
use crate::model::session::Reference;
use crate::model::{Model, Scored, Scorer, Segment};
use crate::ranks::{One, Ranks, share};
use serde::Serialize;

/// What a model says of all counted tokens of a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// Scores of the counted tokens, in order.
    pub scores: Vec<Scored>,
    /// Counted tokens of each window.
    pub windows: Vec<usize>,
    /// What the sum of losses is divided by: at least the number of scores.
    pub count: usize,
    /// Tokens of the whole text for each of its bytes.
    tokens_per_byte: f64,
}

/// Perplexity and what belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    /// Tokens over which the mean is taken.
    pub tokens: usize,
    /// Mean negative log-likelihood of a token, in nats.
    pub mean_nll: f64,
    /// Standard error of the mean, tokens taken as independent of each other; null for a single token.
    pub standard_error: Option<f64>,
    /// `exp(mean_nll)`.
    pub ppl: f64,
    /// Standard error of the perplexity, to first order: `ppl * standard_error`.
    pub ppl_standard_error: Option<f64>,
    /// Bits that the model needs for a byte of the text: `mean_nll / ln 2` times the tokens per byte of the whole text.
    /// Comparable between models with different tokenizers.
    pub bits_per_byte: f64,
    /// Share of the counted tokens that the model takes for the most likely ones.
    pub top1: f64,
}

impl Measured {
    /// Scores of a text from the number of tokens that each of its windows counts, if every counted token has a score.
    #[cfg(test)]
    pub(super) fn new(scores: Vec<Scored>, windows: Vec<usize>) -> Self {
        Self {
            count: scores.len(),
            scores,
            windows,
            tokens_per_byte: f64::NAN,
        }
    }

    /// Mean, errors and perplexity.
    pub fn summary(&self) -> Summary {
        let nll = self.scores.iter().map(|s| f64::from(s.nll));
        // Tokens that count without having a loss (what follows an end, for the papers) are zeros in the mean.
        let zeros = self.count.saturating_sub(self.scores.len());
        let all = nll.chain(std::iter::repeat_n(0.0, zeros));
        let (mean, error) = mean_and_error(all, self.count);
        let error = Some(error).filter(|e| e.is_finite());
        let ppl = mean.exp();
        Summary {
            tokens: self.count,
            mean_nll: mean,
            standard_error: error,
            ppl,
            ppl_standard_error: error.map(|e| ppl * e),
            bits_per_byte: mean / std::f64::consts::LN_2 * self.tokens_per_byte,
            top1: self.hits() as f64 / self.scores.len().max(1) as f64,
        }
    }

    /// Counted tokens that are the most likely ones.
    fn hits(&self) -> usize {
        self.scores.iter().filter(|s| s.best == s.target).count()
    }
}

/// Scores every counted token of `text`, beside a reference if there is one. `progress` hears how many tokens have gone
/// through the model, after every few windows.
///
/// # Errors
/// [`crate::Error::Context`] for windows beyond the model's context, [`crate::Error::Usage`] for a reference with another
/// vocabulary, [`crate::Error::Device`].
pub async fn perplexity<B: Backend>(
    model: &Model<B>,
    reference: Option<&Model<B>>,
    text: &Text,
    progress: &mut dyn FnMut(usize),
) -> Result<Measured> {
    perplexity_among(model, reference, text, &One, progress).await
}

/// [`perplexity`] by several ranks: each scores its share of the windows, and all get all scores, which are those of one rank,
/// since windows that go through the weights together are dealt together.
///
/// # Errors
/// As [`perplexity`], and those of the carrier.
pub async fn perplexity_among<B: Backend>(
    model: &Model<B>,
    reference: Option<&Model<B>>,
    text: &Text,
    ranks: &dyn Ranks,
    progress: &mut dyn FnMut(usize),
) -> Result<Measured> {
    let longest = text.windows.iter().map(|w| w.tokens.len()).max();
    let longest = longest.unwrap_or(0);
    let mut scorer = Scorer::new(model, reference, longest)?;
    let segments: Vec<Segment<'_>> = text
        .windows
        .iter()
        .map(|window| Segment {
            position: 0,
            tokens: &window.tokens,
            targets: &window.targets,
        })
        .collect();
    // Windows that keep the device busy while results are on their way, and people informed.
    let group = (4 * model.options().batch).div_ceil(longest.max(1));
    scorer
        .prepare(&segments[..group.min(segments.len())])
        .await?;
    let groups: Vec<_> = segments.chunks(group.max(1)).collect();
    let (mut scores, mut seen) = (Vec::new(), 0);
    for group in &groups[share(groups.len(), ranks.size(), ranks.rank())] {
        scores.extend(scorer.score(group).await?);
        seen += group.iter().map(|s| s.tokens.len()).sum::<usize>();
        progress(seen);
    }
    let counted = |segments: &[Segment<'_>]| segments.iter().map(Segment::counted).sum();
    let each = groups.iter().map(|group| counted(group));
    let each: Vec<usize> = each.collect();
    let of_rank = |rank| each[share(groups.len(), ranks.size(), rank)].iter().sum();
    let counts: Vec<usize> = (0..ranks.size()).map(of_rank).collect();
    Ok(Measured {
        scores: of_all(ranks, scores, &counts, reference.is_some())?,
        windows: segments.iter().map(Segment::counted).collect(),
        count: text.count,
        tokens_per_byte: text.tokens as f64 / text.bytes.max(1) as f64,
    })
}

/// Words of one score on its way to other ranks.
const WORDS: usize = 6;

/// The scores of all ranks in their order; rank r has `counts[r]` of them.
fn of_all(
    ranks: &dyn Ranks,
    mine: Vec<Scored>,
    counts: &[usize],
    referred: bool,
) -> Result<Vec<Scored>> {
    if ranks.size() == 1 {
        return Ok(mine);
    }
    let apart = |s: Scored| {
        let reference = s.reference.map_or([0; 3], |r| {
            [r.nll.to_bits(), r.best, r.divergence.to_bits()]
        });
        let [nll, best, divergence] = reference;
        [s.target, s.nll.to_bits(), s.best, nll, best, divergence]
    };
    let joined = |&[target, nll, best, ref_nll, ref_best, divergence]: &[u32; WORDS]| Scored {
        target,
        nll: f32::from_bits(nll),
        best,
        reference: referred.then(|| Reference {
            nll: f32::from_bits(ref_nll),
            best: ref_best,
            divergence: f32::from_bits(divergence),
        }),
    };
    let words: Vec<u32> = mine.into_iter().flat_map(apart).collect();
    let counts: Vec<usize> = counts.iter().map(|n| WORDS * n).collect();
    let mut all = vec![0; counts.iter().sum()];
    ranks.all_gather(&words, &mut all, &counts)?;
    Ok(all.as_chunks().0.iter().map(joined).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(nll: &[f32], count: usize) -> Measured {
        let score = |&nll| Scored {
            nll,
            target: 3,
            best: if nll < 0.5 { 3 } else { 4 },
            reference: None,
        };
        Measured {
            scores: nll.iter().map(score).collect(),
            windows: vec![nll.len()],
            count,
            tokens_per_byte: 0.25,
        }
    }

    #[test]
    fn the_mean_has_its_error() {
        let s = measured(&[1.0, 2.0, 3.0, 0.25], 4).summary();
        assert_eq!(s.mean_nll, 1.5625);
        let squares: f64 = [0.5625, -0.4375, -1.4375, 1.3125]
            .iter()
            .map(|d: &f64| d * d)
            .sum();
        assert!((s.standard_error.expect("an error") - (squares / 3.0 / 4.0).sqrt()).abs() < 1e-12);
        assert!((s.ppl - 1.5625f64.exp()).abs() < 1e-12);
        assert!((s.bits_per_byte - 1.5625 / 2f64.ln() / 4.0).abs() < 1e-12);
        assert_eq!(s.top1, 0.25);
    }

    #[test]
    fn masked_tokens_are_in_the_count_alone() {
        let s = measured(&[2.0, 4.0], 3).summary();
        assert_eq!((s.tokens, s.mean_nll), (3, 2.0));
        assert_eq!(measured(&[2.0], 1).summary().standard_error, None);
    }
}
