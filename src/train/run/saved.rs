//! Checkpoints among ranks: the leading rank reads and writes them, and the others get theirs from there, and give it.

use super::steps::Running;
use crate::backend::{Backend, block_on};
use crate::error::{Error, Result};
use crate::files::checkpoint::Spec;
use crate::files::run::{RunState, Saved, Step};
use crate::ranks::{Ranks, broadcast_bytes};
use crate::train::Event;
use crate::train::step::{Part, Progress, Trainer};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What rank 0 knows, on every rank.
pub(super) fn of_lead<T: Serialize + DeserializeOwned>(ranks: &dyn Ranks, value: T) -> Result<T> {
    if ranks.size() == 1 {
        return Ok(value);
    }
    let bug = |e: serde_json::Error| Error::usage(e.to_string(), "please report this as a bug");
    let bytes = broadcast_bytes(ranks, serde_json::to_vec(&value).map_err(bug)?)?;
    match ranks.rank() {
        0 => Ok(value),
        _ => serde_json::from_slice(&bytes).map_err(bug),
    }
}

impl<B: Backend> Running<'_, B> {
    /// Goes on from a checkpoint, if the rank that leads has one, with the records of the steps up to there.
    pub(super) fn restore(&mut self, saved: Option<Saved>) -> Result<()> {
        let ranks = self.run.ranks;
        let state = saved.as_ref().map(Saved::state::<RunState>).transpose()?;
        let Some(state) = of_lead(ranks, state)? else {
            return Ok(());
        };
        self.state = state;
        let progress = Progress {
            updates: self.state.updates,
            loss_scale: self.state.loss_scale,
        };
        self.trainer.set_progress(progress)?;
        let layouts = Part::ALL.map(|part| self.trainer.layouts(part));
        match saved {
            Some(saved) => lead(&mut self.trainer, ranks, &saved, &layouts)?,
            None => follow(&mut self.trainer, ranks, &layouts)?,
        }
        (self.events)(Event::Resumed(self.state.step));
        Ok(())
    }

    /// Gives the rank that leads what a checkpoint holds, in the order in which it asks.
    pub(super) fn give_checkpoint(&self) -> Result<()> {
        for part in Part::ALL {
            for i in 0..self.trainer.parameters().len() {
                let words = self.trainer.words_among(self.run.ranks, part, i);
                block_on(self.backend, words)?;
            }
        }
        Ok(())
    }

    /// The records of all steps that were made, which say what a usual gradient is.
    pub(super) fn know(&mut self, steps: Vec<Step>) -> Result<()> {
        self.steps = of_lead(self.run.ranks, steps)?;
        Ok(())
    }
}

/// Takes all tensors of a checkpoint, and tells the other ranks.
fn lead<B: Backend>(
    trainer: &mut Trainer<B>,
    ranks: &dyn Ranks,
    saved: &Saved,
    layouts: &[Vec<Spec>; Part::ALL.len()],
) -> Result<()> {
    saved.trained(layouts, |part, i, words| {
        if ranks.size() > 1 {
            ranks.broadcast(0, &mut words.to_vec())?;
        }
        trainer.set_words(part, i, words)
    })
}

/// Takes the tensors that the leading rank tells of, in the same order.
fn follow<B: Backend>(
    trainer: &mut Trainer<B>,
    ranks: &dyn Ranks,
    layouts: &[Vec<Spec>; Part::ALL.len()],
) -> Result<()> {
    for (part, layouts) in Part::ALL.into_iter().zip(layouts) {
        for (i, of) in layouts.iter().enumerate() {
            let mut words = vec![0; of.shape.iter().product()];
            ranks.broadcast(0, &mut words)?;
            trainer.set_words(part, i, &words)?;
        }
    }
    Ok(())
}
