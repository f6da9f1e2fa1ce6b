//! Short training of the whole model with learned scales and the full-precision model as the teacher.

use super::room::{options, told};
use super::snapshot::{self, Snapshots, State};
use super::tuning::Tuning;
use super::weights::Dense;
use super::{CalibratedBlock, Step};
use crate::backend::{Backend, Device, block_on};
use crate::error::{Error, Result};
use crate::model::{Config, Packed, Recipe, Weights};
use crate::train::step::{Batch, Given, Kind, Part, StepReport, TrainOptions, Trainer};
use std::collections::BTreeMap;

/// The factor on the learning rate in step `step` of `steps`, from 0: a short warm-up, and a decay over the last 70 %.
pub(super) fn factor(step: u64, steps: u64) -> f64 {
    let (n, i) = (steps as f64, step as f64);
    let warm_up = (n / 10.0).min(10.0);
    1f64.min((i + 1.0) / warm_up).min((n - i) / (0.7 * n))
}

/// What tuning leaves.
pub(super) struct Tuned {
    /// Quantized layers, by their names without `.weight`.
    pub layers: BTreeMap<String, Packed>,
    /// All other tensors.
    pub dense: BTreeMap<String, Dense>,
    /// Losses of the first step and the last.
    pub losses: [f64; 2],
    /// How it was done: with the moments that were chosen.
    pub how: Tuning,
    /// Sequences at once.
    pub micro_batch: usize,
    /// Blocks that were trained by themselves, in forward order.
    pub blocks: Vec<CalibratedBlock>,
}

/// Skipped steps in a row after which it is given up.
const MOST_SKIPPED: usize = 20;

/// Trains `weights` for `tuning.steps` steps on the sequences that are as long as the longest, in an order that `seed`
/// says, from the newest of `snapshots` on.
///
/// # Errors
/// [`Error::Device`] when memory does not suffice for one sequence, failures of the device.
pub(super) fn tune(
    device: &Device,
    (config, weights): (&Config, &dyn Weights),
    sequences: &[Vec<u32>],
    recipe: Recipe,
    (tuning, seed): (Tuning, u64),
    snapshots: &mut Snapshots,
    progress: &mut dyn FnMut(Step<'_>),
) -> Result<Tuned> {
    let length = sequences.iter().map(Vec::len).max().unwrap_or(0);
    let options = match snapshots.state() {
        // what the bits follow from stays, whatever else is on the device by now
        Some(begun) => TrainOptions {
            moments: begun.moments,
            masters: begun.masters,
            n_seqs: begun.micro_batch,
            ..told(recipe, &tuning, length)
        },
        None => options(device, config, recipe, &tuning, length)?,
    };
    let options = TrainOptions { seed, ..options };
    let mut trainer = Trainer::load(device, config, weights, options)?;
    if tuning.distill > 0.0 {
        trainer.teach(weights)?;
    }
    let mut state = State::new(seed, &options);
    if let Some(begun) = snapshots.restore(&mut trainer)? {
        progress(Step::Continued(begun.step));
        state = begun;
    }
    let whole: Vec<_> = sequences.iter().filter(|s| s.len() == length).collect();
    let steps = (&tuning, &whole[..]);
    train(steps, &mut trainer, &mut state, snapshots, progress)?;
    let layers = block_on(device, trainer.packed())?.into_iter().collect();
    Ok(Tuned {
        dense: dense(device, &trainer, &layers)?,
        layers,
        losses: state.losses,
        how: Tuning {
            moments: Some(options.moments),
            ..tuning
        },
        micro_batch: options.n_seqs,
        blocks: Vec::new(),
    })
}

/// The steps that are left behind `state`, each on the next of these sequences.
fn train(
    (tuning, sequences): (&Tuning, &[&Vec<u32>]),
    trainer: &mut Trainer<&Device>,
    state: &mut State,
    snapshots: &mut Snapshots,
    progress: &mut dyn FnMut(Step<'_>),
) -> Result<()> {
    let (device, length) = (*trainer.backend(), trainer.options().length);
    let (mut keep, every) = (true, snapshot::every(tuning, trainer));
    while state.step < tuning.steps {
        let order = &mut state.order;
        let chosen = (0..tuning.batch).filter_map(|_| order.next(sequences.len() as u64));
        let ids: Vec<u32> = chosen
            .flat_map(|i| sequences[i as usize].iter().copied())
            .collect();
        let lr = tuning.lr * factor(state.step, tuning.steps);
        let texts = Chosen {
            ids: &ids,
            length,
            inputs: Vec::new(),
            teacher: Vec::new(),
        };
        let report = one(device, trainer, &texts, lr)?;
        state.losses[usize::from(state.step > 0)] = report.loss;
        state.step += 1;
        progress(Step::Tuned {
            step: state.step,
            of: tuning.steps,
            loss: report.loss,
        });
        if keep
            && state.step.is_multiple_of(every)
            && state.step < tuning.steps
            && let Err(error) = snapshots.save(trainer, state)
        {
            // a full disk must not end a training that needs no snapshot
            keep = false;
            progress(Step::NotKept(&error));
        }
    }
    Ok(())
}

/// The sequences of a step.
pub(super) struct Chosen<'a> {
    /// Tokens of all sequences.
    pub ids: &'a [u32],
    /// Tokens of a sequence.
    pub length: usize,
    /// Residual streams, as [`Given`] has them.
    pub inputs: Vec<&'a <Device as Backend>::Buffer>,
    /// Those of the teacher.
    pub teacher: Vec<&'a <Device as Backend>::Buffer>,
}

/// One step on sequences whose tokens are predicted from those before.
pub(super) fn one(
    device: &Device,
    trainer: &mut Trainer<&Device>,
    texts: &Chosen<'_>,
    lr: f64,
) -> Result<StepReport> {
    let (ids, length) = (texts.ids, texts.length);
    let labels: Vec<i32> = ids.iter().map(|&id| id as i32).collect();
    let tokens = trainer.options().n_tokens();
    let batches = ids.chunks(tokens).zip(labels.chunks(tokens));
    let batches: Vec<_> = batches
        .map(|(tokens, labels)| Batch {
            tokens,
            labels,
            length,
        })
        .collect();
    repeated(&mut || {
        let given = Given {
            inputs: &texts.inputs,
            teacher: &texts.teacher,
        };
        block_on(device, trainer.step_given(&batches, given, lr, 0.0))
    })
}

/// A step; one whose gradient overflows half precision is made again with another loss scale.
pub(super) fn repeated(step: &mut dyn FnMut() -> Result<StepReport>) -> Result<StepReport> {
    for _ in 0..MOST_SKIPPED {
        let report = step()?;
        if !report.skipped {
            return Ok(report);
        }
    }
    Err(Error::usage(
        format!("{MOST_SKIPPED} steps in a row had a loss or gradient that is not finite"),
        "lower the learning rate",
    ))
}

/// Everything that is not in quantized layers.
fn dense(
    device: &Device,
    trainer: &Trainer<&Device>,
    layers: &BTreeMap<String, Packed>,
) -> Result<BTreeMap<String, Dense>> {
    let mut all = BTreeMap::new();
    for (i, p) in trainer.parameters().iter().enumerate() {
        if p.kind == Kind::Scales || layers.contains_key(p.layer()) {
            continue;
        }
        let values = block_on(device, trainer.read(Part::Master, i))?;
        if values.iter().any(|v| !v.is_finite()) {
            return Err(Error::usage(
                format!("`{}` is not finite after tuning", p.name),
                "lower the learning rate",
            ));
        }
        all.insert(p.name.clone(), (p.shape(), values));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_rise_shortly_and_fall_for_long() {
        assert_eq!(factor(0, 100), 0.1);
        assert_eq!(factor(20, 100), 1.0);
        assert!((factor(65, 100) - 0.5).abs() < 1e-12);
        assert!(factor(99, 100) > 0.0);
        assert_eq!(factor(0, 1), 1.0);
    }
}
