//! Requests through a model.

use super::encode::Encoded;
use super::score::Likelihood;
use crate::backend::Backend;
use crate::error::Result;
use crate::model::{Model, Scorer, Segment};

/// Tokens of the longest request.
pub fn longest(requests: &[Encoded]) -> usize {
    requests.iter().map(|r| r.tokens.len()).max().unwrap_or(0)
}

/// The likelihood of every request's continuation. A request that begins as the one before goes on from there.
/// `progress` hears how many requests are done.
///
/// # Errors
/// [`crate::Error::Context`] for requests beyond the model's context, [`crate::Error::Device`].
pub async fn run<B: Backend>(
    model: &Model<B>,
    requests: &[Encoded],
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<Likelihood>> {
    let mut scorer = Scorer::new(model, None, longest(requests).max(1))?;
    let mut before: &[u32] = &[];
    let mut segments = Vec::with_capacity(requests.len());
    for request in requests {
        let position = request.shared(before);
        segments.push(Segment {
            position,
            tokens: &request.tokens[position..],
            targets: &request.targets[position..],
        });
        before = &request.tokens;
    }
    let mut all = Vec::with_capacity(requests.len());
    let mut rest = segments.as_slice();
    let at_once = 4 * model.options().batch;
    scorer.prepare(&rest[..several(rest, at_once)]).await?;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(several(rest, at_once));
        let mut scores = scorer.score(now).await?.into_iter();
        for segment in now {
            let own: Vec<_> = scores.by_ref().take(segment.counted()).collect();
            all.push(Likelihood {
                log_likelihood: own.iter().map(|s| -f64::from(s.nll)).sum(),
                greedy: own.iter().all(|s| s.best == s.target),
            });
        }
        rest = later;
        progress(all.len());
    }
    Ok(all)
}

/// How many of the first segments have about `tokens` tokens together; at least one.
fn several(segments: &[Segment<'_>], tokens: usize) -> usize {
    let mut sum = 0;
    let enough = segments.iter().position(|s| {
        sum += s.tokens.len();
        sum >= tokens
    });
    enough.map_or(segments.len(), |last| last + 1)
}
