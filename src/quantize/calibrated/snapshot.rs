//! Snapshots of a short training: one that is killed goes on from the newest, and ends with the same bytes.
//!
//! They lie beside the folder that is made, like the finished layers of error feedback, in the form of the checkpoints of
//! a training run. A run with another key begins anew.

use super::tuning::Tuning;
use crate::backend::{Backend, Device, block_on};
use crate::error::{Error, Result};
use crate::files::corpus::Order;
use crate::files::layers::Layers;
use crate::files::run::{Checkpoints, LossScale, Piece, Saved};
use crate::train::step::{Masters, Memory, Moments, Part, Progress, TrainOptions, Trainer};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Where a training stands, beside its tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    /// Steps made.
    pub step: u64,
    /// Losses of the first step and of the last one.
    pub losses: [f64; 2],
    /// Which sequences come next.
    pub order: Order,
    /// Sequences at once: sums of others would be rounded in another way.
    pub micro_batch: usize,
    /// What moments are held in.
    pub moments: Moments,
    /// What masters are held in.
    pub masters: Masters,
    updates: u64,
    loss_scale: LossScale,
}

impl State {
    /// Before the first step.
    pub(super) fn new(seed: u64, options: &TrainOptions) -> Self {
        Self {
            step: 0,
            losses: [0.0; 2],
            order: Order::new(seed),
            micro_batch: options.n_seqs,
            moments: options.moments,
            masters: options.masters,
            updates: 0,
            loss_scale: LossScale::default(),
        }
    }
}

/// The snapshots of one training.
pub(super) struct Snapshots {
    layers: Layers,
    folder: PathBuf,
    checkpoints: Checkpoints,
    found: Option<(Saved, State)>,
}

impl Snapshots {
    /// Those beside `out` of a training with the same key. Whoever calls holds the lock of `out`. One that is damaged
    /// counts as none.
    ///
    /// # Errors
    /// [`Error::Occupied`] when something of that name is not ours, [`Error::Io`].
    pub(super) fn open(out: &Path, key: &str) -> Result<Self> {
        let layers = Layers::open(out, key)?;
        let folder = layers.folder().join("training");
        let checkpoints = Checkpoints::open(&folder, 1)?;
        let found = match checkpoints.newest(&mut |_| ()) {
            Ok(found) => found.and_then(|saved| {
                let state = saved.state().ok()?;
                Some((saved, state))
            }),
            Err(Error::File { .. }) => None,
            Err(error) => return Err(error),
        };
        Ok(Self {
            layers,
            folder,
            checkpoints,
            found,
        })
    }

    /// Where the training stood that goes on.
    pub(super) fn state(&self) -> Option<&State> {
        self.found.as_ref().map(|(_, state)| state)
    }

    /// Brings `trainer` where it was, and tells where that is; none where there is no snapshot.
    ///
    /// # Errors
    /// [`Error::Tensors`] for a snapshot of other tensors, failures of the device.
    pub(super) fn restore(&mut self, trainer: &mut Trainer<&Device>) -> Result<Option<State>> {
        let Some((saved, state)) = self.found.take() else {
            return Ok(None);
        };
        trainer.set_progress(Progress {
            updates: state.updates,
            loss_scale: state.loss_scale,
        })?;
        let layouts = Part::ALL.map(|part| trainer.layouts(part));
        saved.trained(&layouts, |part, i, words| trainer.set_words(part, i, words))?;
        Ok(Some(state))
    }

    /// Keeps where `trainer` stands, instead of an earlier snapshot. Of one that fails, nothing stays.
    ///
    /// # Errors
    /// [`Error::Io`], failures of the device.
    pub(super) fn save(&mut self, trainer: &Trainer<&Device>, state: &State) -> Result<()> {
        let written = self.write(trainer, state);
        if written.is_err() {
            // opening removes what is unfinished, and with it what fills the disk
            self.checkpoints = Checkpoints::open(&self.folder, 1)?;
        }
        written
    }

    fn write(&self, trainer: &Trainer<&Device>, state: &State) -> Result<()> {
        let progress = trainer.progress();
        let state = State {
            updates: progress.updates,
            loss_scale: progress.loss_scale,
            ..state.clone()
        };
        let mut saving = self.checkpoints.save(state.step)?;
        let layouts = Part::ALL.map(|part| trainer.layouts(part));
        saving.trained(layouts, Piece::WHOLE, |part, i| {
            block_on(*trainer.backend(), trainer.words(part, i))
        })?;
        saving.state(&state)?;
        saving.commit()
    }

    /// The folder of all of them, to be removed when what they were for is there.
    pub(super) fn into_layers(self) -> Layers {
        self.layers
    }
}

/// Operations that a fast device makes while a disk writes a byte: 200 TFLOP/s beside 1 GB/s. On slower devices the same
/// snapshots take a smaller share of the time.
const OPS_PER_BYTE: f64 = 2e5;

/// Of the time, at most this is spent on snapshots, but for those that a training always has.
const SHARE: f64 = 0.05;

/// Bytes of a snapshot that cost a few seconds whatever the device: three of them are made in any case, one of larger ones.
const CHEAP: f64 = 4e9;

/// Steps between two snapshots, known without a clock: from the bytes that are written and the operations of a step.
pub(super) fn every(tuning: &Tuning, trainer: &Trainer<&Device>) -> u64 {
    let (options, config) = (trainer.options(), trainer.config());
    let facts = trainer.backend().facts();
    let memory = Memory::of(config, options, facts.features, facts.max_words);
    let bytes = (memory.masters as f64) + memory.moments as f64;
    let step = options.work(config, tuning.batch.saturating_mul(options.length));
    let least = (bytes * OPS_PER_BYTE / SHARE / step.max(1.0)).ceil() as u64;
    let parts = if bytes <= CHEAP { 4 } else { 2 };
    least.clamp(1, tuning.steps.div_ceil(parts).max(1))
}
