//! Scores of known tokens beside those that follow from logits.

use super::{PHASE, TOKENS, common, options, stories};
use fairy2i_gpu::backend::{Backend, block_on};
use fairy2i_gpu::model::session::IGNORED;
use fairy2i_gpu::model::{Granularity, LoadOptions, Method, Model, Scored, Scorer, Segment};
use fairy2i_gpu::ops::quantize::Activations;

const FULL: Method = Method::Full;

/// Logarithms of the probabilities in each row of logits.
fn log_probabilities(logits: &[f32], vocab: usize) -> Vec<Vec<f64>> {
    let row = |row: &[f32]| {
        let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let total: f64 = row.iter().map(|&v| f64::from(v - top).exp()).sum();
        row.iter()
            .map(|&v| f64::from(v - top) - total.ln())
            .collect()
    };
    logits.chunks_exact(vocab).map(row).collect()
}

async fn probabilities<B: Backend>(
    model: &Model<B>,
    tokens: &[u32],
) -> fairy2i_gpu::Result<Vec<Vec<f64>>> {
    let logits = model.session()?.feed_all(tokens).await?;
    Ok(log_probabilities(&logits, model.config().vocab))
}

/// Two continuations of a prefix that goes through the model once, and a sequence of its own between other batches.
fn sequences() -> [Vec<u32>; 3] {
    let (a, mut b) = (TOKENS.to_vec(), TOKENS[..13].to_vec());
    b.extend([265, 282, 295, 433, 426, 385, 328, 432]);
    let c = TOKENS.iter().rev().copied().collect();
    [a, b, c]
}

fn targets(tokens: &[u32]) -> Vec<u32> {
    // one of the tokens in the middle does not count
    let next = tokens[1..].iter().enumerate();
    let all = next.map(|(i, &t)| if i == 5 { IGNORED } else { t });
    all.chain([IGNORED]).collect()
}

/// The scores of all sequences; the second one goes on from the 13th token of the first one.
async fn scores<B: Backend>(
    model: &Model<B>,
    reference: Option<&Model<B>>,
) -> fairy2i_gpu::Result<Vec<Scored>> {
    let sequences = sequences();
    let targets: Vec<_> = sequences.iter().map(|s| targets(s)).collect();
    let segment = |i: usize, position: usize| Segment {
        position,
        tokens: &sequences[i][position..],
        targets: &targets[i][position..],
    };
    let segments = [segment(0, 0), segment(1, 12), segment(2, 0)];
    let mut scorer = Scorer::new(model, reference, 40)?;
    scorer.prepare(&segments).await?;
    scorer.score(&segments).await
}

/// What the scores must be, from logits of each sequence by itself.
async fn expected<B: Backend>(model: &Model<B>) -> fairy2i_gpu::Result<Vec<(u32, Vec<f64>)>> {
    let mut all = Vec::new();
    for (i, tokens) in sequences().iter().enumerate() {
        let rows = probabilities(model, tokens).await?;
        let from = if i == 1 { 12 } else { 0 };
        let pairs = rows.into_iter().zip(targets(tokens)).skip(from);
        all.extend(pairs.filter(|p| p.1 != IGNORED).map(|(row, t)| (t, row)));
    }
    Ok(all)
}

fn best(row: &[f64]) -> u32 {
    let start = (0, f64::NEG_INFINITY);
    let better =
        |best: (usize, f64), (i, &v): (usize, &f64)| if v > best.1 { (i, v) } else { best };
    row.iter().enumerate().fold(start, better).0 as u32
}

fn load<B: Backend>(device: &B, options: LoadOptions) -> Model<&B> {
    let opened = stories();
    let mut quiet = |_: &str| {};
    let weights = &*opened.weights;
    let load = Model::load(device, &opened.config, weights, options, &mut quiet);
    block_on(&device, load).expect("the model loads")
}

/// Batches of 5 cut every sequence, batches of 64 take all of them in one pass.
#[test]
fn scores_are_those_of_logits() {
    let _one = common::one_at_a_time();
    for device in common::devices() {
        for (method, batch) in [(FULL, 5), (FULL, 64), (PHASE, 64), (PHASE, 7)] {
            let options = LoadOptions {
                batch,
                exact: true, // the same sums whatever is processed together
                ..options(method, Granularity::Tensor, Activations::Int16)
            };
            let model = load(&device, options);
            let got = block_on(&device, scores(&model, None)).expect("scores");
            let want = block_on(&device, expected(&model)).expect("logits");
            assert_eq!(got.len(), want.len());
            for (got, (target, row)) in got.iter().zip(&want) {
                let id = format!("{}, {method:?}, {batch}: {got:?}", device.name());
                let nll = -row[*target as usize];
                assert_eq!((got.target, got.reference), (*target, None), "{id}");
                assert!((f64::from(got.nll) - nll).abs() < 2e-4, "{id}, not {nll}");
                let likely = (row[got.best as usize] - row[best(row) as usize]).abs();
                assert!(likely < 2e-4, "{id}, not {}", best(row));
            }
        }
    }
}

#[test]
fn divergences_are_those_of_the_distributions() {
    let _one = common::one_at_a_time();
    for device in common::devices() {
        let options = |method| LoadOptions {
            exact: true,
            batch: 64,
            ..options(method, Granularity::Tensor, Activations::Float)
        };
        let (model, reference) = (load(&device, options(PHASE)), load(&device, options(FULL)));
        let got = block_on(&device, scores(&model, Some(&reference))).expect("scores");
        let ours = block_on(&device, expected(&model)).expect("logits");
        let theirs = block_on(&device, expected(&reference)).expect("logits");
        for ((got, (target, p)), (_, q)) in got.iter().zip(&ours).zip(&theirs) {
            let id = format!("{}: {got:?}", device.name());
            let other = got.reference.expect("a reference");
            let divergence: f64 = q.iter().zip(p).map(|(q, p)| q.exp() * (q - p)).sum();
            assert!(
                (f64::from(other.divergence) - divergence).abs() < 2e-4,
                "{id}, not {divergence}"
            );
            assert!(
                (f64::from(other.nll) + q[*target as usize]).abs() < 2e-4,
                "{id}"
            );
            assert!(
                (f64::from(got.nll) + p[*target as usize]).abs() < 2e-4,
                "{id}"
            );
        }
        // A model has no distance from itself.
        let itself = block_on(
            &device,
            scores(&reference, Some(&load(&device, options(FULL)))),
        );
        for score in itself.expect("scores") {
            let other = score.reference.expect("a reference");
            assert_eq!((score.nll, score.best), (other.nll, other.best));
            assert!(other.divergence.abs() < 1e-5, "{score:?}");
        }
    }
}

#[test]
fn segments_that_cannot_be_scored_are_refused() {
    let device = common::Device::cpu();
    let model = load(
        &device,
        options(PHASE, Granularity::Tensor, Activations::Int16),
    );
    let refused = |segments: &[Segment<'_>]| {
        let mut scorer = Scorer::new(&model, None, 20).expect("a scorer");
        let error = block_on(&device, scorer.score(segments)).expect_err("refused");
        error.to_string()
    };
    let segment = |position, tokens, targets| Segment {
        position,
        tokens,
        targets,
    };
    assert!(refused(&[segment(1, &[1, 2], &[2, 3])]).contains("position 1"));
    assert!(refused(&[segment(0, &[1, 2], &[2])]).contains("2 tokens and 1 targets"));
    assert!(refused(&[segment(0, &[], &[])]).contains("0 tokens"));
    assert!(refused(&[segment(0, &[1], &[512])]).contains("512"));
    assert!(refused(&[segment(0, &[600], &[1])]).contains("600"));
    let long = [1; 21];
    assert!(refused(&[segment(0, &long, &long)]).contains("20"));
    // What came before counts as what is continued.
    let mut scorer = Scorer::new(&model, None, 20).expect("a scorer");
    let both = [
        segment(0, &[1, 403], &[IGNORED; 2]),
        segment(2, &[407], &[261]),
    ];
    assert_eq!(
        block_on(&device, scorer.score(&both))
            .expect("a score")
            .len(),
        1
    );
}
