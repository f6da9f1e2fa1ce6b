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

/// `count` sequences of `length` tokens, at temperature 1, of the model's 256 likeliest tokens. Every other group of them
/// begins with the begin token alone: a chat model whose turns open with that token then writes both sides of a chat, in
/// the form that it was trained on (Magpie, arXiv 2406.08464). The others, and all of a model that has no begin token,
/// have a random token after it, so that sequences are of many kinds. A token that ends a text does not end a sequence.
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
    let together = model.most_sessions().min(TOGETHER).min(count.div_ceil(2));
    let mut chats = false;
    let mut all = Vec::new();
    while all.len() < count {
        let together = together.min(count - all.len());
        chats = !chats;
        let begun: Vec<Vec<u32>> = (0..together)
            .map(|_| match bos {
                Some(bos) if chats => vec![bos],
                _ => {
                    let random = (random.next_u64() % vocab) as u32;
                    bos.into_iter().chain([random]).collect()
                }
            })
            .collect();
        let sampling = Sampling {
            temperature: 1.0,
            top_k: MAX_TOP_K,
            top_p: 1.0,
            min_p: 0.0,
            seed: seed.wrapping_add(all.len() as u64),
            ..Sampling::default()
        };
        let samples = group(&model, begun, length, sampling);
        all.extend(block_on(device, samples)?);
        progress(all.len() * length);
    }
    Ok(all)
}

/// Samples that begin with these tokens, equally many of each, and go on together.
async fn group(
    model: &Model<Device>,
    mut all: Vec<Vec<u32>>,
    length: usize,
    sampling: Sampling,
) -> Result<Vec<Vec<u32>>> {
    let mut session = model.sessions_of(all.len(), length)?;
    let begun = all[0].len();
    if begun > 1 {
        let fed: Vec<_> = all.iter().map(|ids| ids[..begun - 1].to_vec()).collect();
        session.feed_each(&fed).await?;
    }
    let mut random = sampling.generators(all.len());
    let mut last: Vec<u32> = all.iter().map(|ids| ids[begun - 1]).collect();
    let mut left = length - begun;
    while left > 0 {
        let steps = left.min(STEPS);
        let choice = Choice::Drawn(&[sampling], &mut random);
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
