//! Checkpoints among ranks.
//!
//! Where all ranks see the folder of the run, each reads the files itself, and with sharded masters and moments writes those
//! of what it owns. Elsewhere the leading rank alone has the files: the others get theirs from it, and give it.

use super::steps::Running;
use crate::backend::{Backend, block_on};
use crate::error::{Error, Result};
use crate::files::checkpoint::Spec;
use crate::files::run::folder::RECORD;
use crate::files::run::{Checkpoints, Piece, RunState, Saved, Saving, Step};
use crate::ranks::{Ranks, broadcast_bytes, receive_bytes, send_bytes, sum_u64};
use crate::train::Event;
use crate::train::step::{Part, Progress, Trainer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;

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

/// Whether all ranks see the folder of the run: they have the same record there as the rank that leads, which wrote it.
pub(super) fn all_see(ranks: &dyn Ranks, out: &Path) -> Result<bool> {
    if ranks.size() == 1 {
        return Ok(true);
    }
    let read = || std::fs::read(out.join(RECORD)).unwrap_or_default();
    let own = if ranks.rank() == 0 {
        read()
    } else {
        Vec::new()
    };
    let of_lead = broadcast_bytes(ranks, own)?;
    // Only now others may look: what they are told was written before.
    let sees = !of_lead.is_empty() && read() == of_lead;
    Ok(sum_u64(ranks, sees.into())? == ranks.size() as u64)
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
        let followed = Checkpoints::of_follower(&self.run.out);
        let saved = match saved {
            None if self.seen => Some(followed.known_whole(self.state.step)?),
            saved => saved,
        };
        let trainer = &mut self.trainer;
        match saved {
            // What other ranks have is not read: the files are mapped.
            Some(saved) if self.seen => {
                saved.trained(&layouts, |part, i, words| trainer.set_words(part, i, words))?;
            }
            Some(saved) => tell(trainer, ranks, &saved, &layouts)?,
            None => follow(trainer, ranks, &layouts)?,
        }
        (self.events)(Event::Resumed(self.state.step));
        Ok(())
    }

    /// Writes a checkpoint, on the rank that leads, or this rank's part of it.
    pub(super) fn save_among(&mut self) -> Result<()> {
        let progress = self.trainer.progress();
        self.state.updates = progress.updates;
        self.state.loss_scale = progress.loss_scale;
        let (ranks, step) = (self.run.ranks, self.state.step);
        let by_owners = self.seen && self.run.settings.shard;
        let Some(checkpoints) = self.checkpoints else {
            if !by_owners {
                return self.give_checkpoint();
            }
            let followed = Checkpoints::of_follower(&self.run.out);
            let mut saving = followed.join(step);
            self.write_owned(&mut saving)?;
            return send_bytes(ranks, 0, &saving.hand_over()?);
        };
        let mut saving = checkpoints.save(step)?;
        if by_owners {
            self.write_owned(&mut saving)?;
            for rank in 1..ranks.size() {
                saving.take_over(&receive_bytes(ranks, rank)?)?;
            }
        } else {
            let layouts = Part::ALL.map(|part| self.trainer.layouts(part));
            saving.trained(layouts, Piece::WHOLE, |part, i| {
                let words = self.trainer.words_among(ranks, part, i);
                Ok(block_on(self.backend, words)?.unwrap_or_default())
            })?;
        }
        saving.state(&self.state)?;
        saving.commit()
    }

    /// Writes what this rank owns, when the leading rank has made the folder.
    fn write_owned(&self, saving: &mut Saving<'_>) -> Result<()> {
        let ranks = self.run.ranks;
        ranks.barrier()?;
        let owners = self.trainer.owners();
        let piece = Piece {
            rank: ranks.rank(),
            ranks: ranks.size(),
            owners: &owners,
        };
        let layouts = Part::ALL.map(|part| self.trainer.layouts(part));
        saving.trained(layouts, piece, |part, i| {
            block_on(self.backend, self.trainer.words(part, i))
        })
    }

    /// Gives the rank that leads what a checkpoint holds, in the order in which it asks.
    fn give_checkpoint(&self) -> Result<()> {
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
fn tell<B: Backend>(
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
