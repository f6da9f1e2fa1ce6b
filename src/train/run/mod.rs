//! A training run: a low-bit model from a full-precision one and a folder of training data, or from scratch.
//!
//! [`train`] makes all steps of a run, or those that are left of it, in a folder that keeps its settings, records and
//! checkpoints; what it makes of a step is [`crate::train::step`]. Whoever calls it hears of everything as [`Event`]s.
//!
//! ```no_run
//! use fairy2i_gpu::Device;
//! use fairy2i_gpu::train::{Event, Job, Settings, train};
//! let settings = Settings {
//!     model: "llama-folder".into(),
//!     data: "data-folder".into(),
//!     steps: 700,
//!     ..Settings::default()
//! };
//! train(Job::new("run-folder", settings), &Device::auto()?, &mut |event| {
//!     if let Event::Step(step) = event {
//!         println!("{}: {:.4}", step.step, step.loss);
//!     }
//! })?;
//! # Ok::<(), fairy2i_gpu::Error>(())
//! ```

use super::step::Memory;
use crate::backend::Device;
use crate::error::{Error, Result};
use crate::files::Inputs;
use crate::files::run::{Before, RUN_CONFIG, RunFolder, Step, config};
use crate::files::staging::Replaced;
use crate::files::text::decode;
use crate::ranks::{One, Ranks};
use std::path::{Path, PathBuf};

mod begun;
mod corner;
mod evaluate;
mod execute;
mod lead;
mod method;
mod opened;
mod outputs;
mod plan;
mod preset;
mod room;
mod saved;
mod settings;
mod steps;

pub use evaluate::Protocol;
pub use execute::fits;
pub use method::{MethodName, RoundedTo, ScaleRule};
pub use preset::Preset;
pub use settings::{FREE, Settings};

/// A run to be made.
#[derive(Debug, Clone)]
pub struct Job {
    /// Folder of the run.
    pub out: PathBuf,
    /// Go on from the newest checkpoint in it.
    pub resume: bool,
    /// All settings.
    pub settings: Settings,
    /// Further files that are read meanwhile, which the run must not replace.
    pub inputs: Vec<PathBuf>,
    /// The command that makes the run, for the model's card; empty if there is none.
    pub command: String,
}

impl Job {
    /// A new run in the folder `out`.
    pub fn new(out: impl Into<PathBuf>, settings: Settings) -> Self {
        Self {
            out: out.into(),
            resume: false,
            settings,
            inputs: Vec::new(),
            command: String::new(),
        }
    }

    /// What is left of the run in the folder `out`, with the settings that it began with.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::File`] when there is no run, or its settings cannot be read.
    pub fn resume(out: impl Into<PathBuf>) -> Result<Self> {
        let out = out.into();
        let path = out.join(RUN_CONFIG);
        let (name, text) = (path.display().to_string(), read_settings(&path)?);
        let nothing = std::collections::BTreeMap::<String, String>::new();
        let settings = config::merged("", Some((&name, &text)), &nothing)?;
        Ok(Self {
            resume: true,
            ..Self::new(out, settings)
        })
    }
}

/// The text of a file of settings.
///
/// # Errors
/// [`Error::Io`], and [`Error::File`] when it is no text.
pub fn read_settings(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    decode(&path.display().to_string(), bytes)
}

/// What a run has to tell.
pub enum Event<'a> {
    /// Something in its files was ignored.
    Note(&'a str),
    /// A checkpoint is damaged, and an older one is taken.
    Warning(&'a str),
    /// The device memory that it will take.
    Memory(&'a Memory),
    /// So many bytes of data are compared with what the run began with.
    Verifying(u64),
    /// It goes on after a step.
    Resumed(u64),
    /// Its steps begin.
    Begun {
        /// Steps that were made before.
        step: u64,
        /// Steps of the whole run.
        of: u64,
        /// Operations of one token, forward and backward.
        work: f64,
    },
    /// Perplexities of a text before the first step.
    Before(&'a str, Before),
    /// A step left everything as it was, because its loss or its gradient is not finite or out of all proportion.
    Skipped(&'a Step),
    /// A step was made, and measured if it was its turn.
    Step(&'a Step),
    /// A folder of the same run was replaced.
    Replaced(&'a Replaced),
}

/// Makes a run, or what is left of it.
///
/// # Errors
/// Settings that make no sense, inputs that are not as they must be, a folder that holds something else or is locked
/// by another process, and all that would fail at the end: before the first step. Failures of the device and the disk.
pub fn train(job: Job, device: &Device, events: &mut dyn FnMut(Event<'_>)) -> Result<()> {
    train_among(job, device, &One, events)
}

/// [`train`] among several ranks, which all call it with the same settings and a device each. The micro-batches of a step
/// are dealt to [`Settings::groups`], and these to ranks. Rank 0 alone touches the folder of the run, and alone tells its
/// caller of events; every rank reads model and data.
///
/// # Errors
/// As [`train`], and [`Error::Usage`] for more ranks than groups. A rank that fails must end the others
/// ([`Ranks::abort`]), which would wait for it.
pub fn train_among(
    mut job: Job,
    device: &Device,
    ranks: &dyn Ranks,
    events: &mut dyn FnMut(Event<'_>),
) -> Result<()> {
    if job.settings.groups == 0 {
        // Runs that began before there was a choice have one group.
        job.settings.groups = if job.resume { 1 } else { ranks.size() };
    }
    job.settings.check()?;
    let more = job.inputs.iter().map(PathBuf::as_path);
    let inputs = Inputs::of(job.settings.reads().chain(more));
    let leads = ranks.rank() == 0;
    let folder = leads
        .then(|| RunFolder::open(&job.out, inputs))
        .transpose()?;
    let mut silent = |_: Event<'_>| {};
    let events = if leads { events } else { &mut silent };
    opened::Run { job, ranks }.make(folder, device, events)
}
