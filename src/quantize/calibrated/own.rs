//! A model's own samples.

use crate::backend::{Device, block_on};
use crate::error::Result;
use crate::generate::{ModelFiles, Options};
use crate::model::{Choice, MAX_TOP_K, Model, Sampling};
use crate::random::SplitMix64;

/// Samples that are drawn together, at most.
const TOGETHER: usize = 64;

/// Tokens between two reports of progress.
const STEPS: usize = 64;

/// `count` sequences of `length` tokens: a begin token if the model has one, a random token, and what the model makes of
/// them at temperature 1, of its 256 likeliest tokens. A token that ends a text does not end a sequence.
pub(super) fn sample(
    files: &ModelFiles,
    device: &Device,
    (count, length, seed): (usize, usize, u64),
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<Vec<u32>>> {
    let options = Options {
        context: Some(length),
        batch: TOGETHER.min(count),
        ..Options::default()
    };
    let mut quiet = |_: &str| {};
    let model = block_on(device, files.weights_on(device, options, &mut quiet))?;
    let bos = files.tokenizer().and_then(|t| t.bos());
    let mut random = SplitMix64::new(seed);
    let vocab = files.config().vocab as u64;
    let mut all = Vec::new();
    while all.len() < count {
        let together = model.most_sessions().min(TOGETHER).min(count - all.len());
        let first: Vec<u32> = (0..together)
            .map(|_| (random.next_u64() % vocab) as u32)
            .collect();
        let sampling = Sampling {
            temperature: 1.0,
            top_k: MAX_TOP_K,
            top_p: 1.0,
            min_p: 0.0,
            seed: seed.wrapping_add(all.len() as u64),
            ..Sampling::default()
        };
        let samples = group(&model, (bos, first), length, sampling);
        all.extend(block_on(device, samples)?);
        progress(all.len() * length);
    }
    Ok(all)
}

/// Samples that begin with these tokens and go on together.
async fn group(
    model: &Model<Device>,
    (bos, first): (Option<u32>, Vec<u32>),
    length: usize,
    sampling: Sampling,
) -> Result<Vec<Vec<u32>>> {
    let mut session = model.sessions_of(first.len(), length)?;
    if let Some(bos) = bos {
        session.feed_each(&vec![vec![bos]; first.len()]).await?;
    }
    let begun = |&id| bos.into_iter().chain([id]).collect::<Vec<u32>>();
    let mut all: Vec<_> = first.iter().map(begun).collect();
    let mut random = sampling.generators(first.len());
    let mut last = first;
    let mut left = length - all[0].len();
    while left > 0 {
        let steps = left.min(STEPS);
        let choice = Choice::Drawn(&sampling, &mut random);
        let ids = session.decode(&last, steps, choice).await?;
        for step in ids.chunks_exact(last.len()) {
            for (sequence, &id) in all.iter_mut().zip(step) {
                sequence.push(id);
            }
        }
        last = ids[ids.len() - last.len()..].to_vec();
        left -= steps;
    }
    Ok(all)
}
