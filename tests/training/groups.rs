//! Groups of micro-batches: each is summed by itself, and their sums are added in order.

use super::{W2, common::devices, config, one_at_a_time, options, trainer};
use fairy2i_gpu::Result;
use fairy2i_gpu::backend::{Backend, block_on};
use fairy2i_gpu::ranks::{Dealt, One};
use fairy2i_gpu::train::step::{Among, Batch, Trainer};

const GROUPS: usize = 4;
const LENGTH: usize = 7;

/// Micro-batches of one sequence, each with as many labels.
fn sequences(vocab: u32) -> Vec<(Vec<u32>, Vec<i32>)> {
    let sequence = |seed: u32| {
        let id = |i: u32| fairy2i_gpu::ops::hash32(i, seed) % vocab;
        let tokens: Vec<u32> = (0..LENGTH as u32).map(id).collect();
        let labels = tokens.iter().map(|&t| t as i32).collect();
        (tokens, labels)
    };
    (0..2 * GROUPS as u32).map(sequence).collect()
}

fn gradients<B: Backend>(backend: &B, trainer: &Trainer<&B>) -> Result<Vec<Vec<f32>>> {
    let all = 0..trainer.parameters().len();
    all.map(|i| block_on(backend, trainer.gradient(i)))
        .collect()
}

fn step<B: Backend>(
    backend: &B,
    groups: usize,
    batches: &[Batch<'_>],
) -> Result<(f64, Vec<Vec<f32>>)> {
    let among = Among {
        ranks: &One,
        dealt: Dealt::new(batches.len(), groups, 1)?,
    };
    let mut trainer = trainer(backend, &config(), W2, true)?;
    let report = block_on(backend, trainer.step_among(among, batches, 1e-2, 0.0))?;
    Ok((report.loss, gradients(backend, &trainer)?))
}

#[test]
fn sums_of_groups_are_added_in_their_order() -> Result<()> {
    let _one = one_at_a_time();
    let sequences = sequences(config().vocab as u32);
    let batches: Vec<_> = sequences
        .iter()
        .map(|(tokens, labels)| Batch {
            tokens,
            labels,
            length: LENGTH,
        })
        .collect();
    for device in devices() {
        let (loss, together) = step(&device, GROUPS, &batches)?;
        // A group by itself is a step whose mean is over a quarter of the tokens: its gradients are exactly four times as
        // large.
        let (mut losses, mut sums) = (0.0, Vec::<Vec<f32>>::new());
        for group in batches.chunks(2) {
            let (loss, alone) = step(&device, 1, group)?;
            losses += loss / GROUPS as f64;
            let alone = alone
                .into_iter()
                .map(|g| g.into_iter().map(|v| v / GROUPS as f32));
            if sums.is_empty() {
                sums = alone.map(Iterator::collect).collect();
                continue;
            }
            for (sum, alone) in sums.iter_mut().zip(alone) {
                sum.iter_mut().zip(alone).for_each(|(sum, v)| *sum += v);
            }
        }
        assert_eq!(together, sums, "{}", device.name());
        assert!((loss / losses - 1.0).abs() < 1e-12);
        let (all, in_one) = step(&device, 1, &batches)?;
        assert!((all / loss - 1.0).abs() < 1e-12);
        assert_ne!(in_one, together, "another order has other bits");
    }
    Ok(())
}

#[test]
fn other_micro_batches_than_are_dealt_are_refused() -> Result<()> {
    let device = fairy2i_gpu::backend::Cpu::new();
    let sequences = sequences(config().vocab as u32);
    let (tokens, labels) = &sequences[0];
    let batch = Batch {
        tokens,
        labels,
        length: LENGTH,
    };
    let mut trainer = Trainer::from_scratch(&device, &config(), options(W2, true), 42)?;
    let among = Among {
        ranks: &One,
        dealt: Dealt::new(2, 2, 1)?,
    };
    let refused = block_on(&device, trainer.step_among(among, &[batch], 1e-2, 0.0));
    assert_eq!(refused.expect_err("one of two").exit_code(), 2);
    Ok(())
}
