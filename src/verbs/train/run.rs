//! A run: what it begins with, and what it leaves.

use super::evaluate::{Text, Words};
use super::settings::Settings;
use super::steps::Running;
use super::{evaluate, outputs};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::files::corpus::{Corpus, Order};
use crate::files::run::{Checkpoints, LossScale, RUN_CONFIG, RunState, Saved, config};
use crate::files::tokenizer::TOKENIZER;
use crate::files::{self, Opened};
use crate::model::memory::list;
use crate::model::train::{Memory, TrainOptions, Trainer};
use crate::verbs::device::Task;
use crate::verbs::{out, source};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Longest tokenizer that is read.
const LONGEST: usize = 256 << 20;

/// A run with all its settings.
pub struct Run {
    pub out: PathBuf,
    pub resume: bool,
    pub settings: Settings,
}

impl Task for Run {
    type Output = ();

    fn run<B: Backend>(self, backend: &B) -> Result<()> {
        let base = self.base()?;
        let corpus = Corpus::open(&self.settings.data)?;
        let length = self.length(&base, &corpus)?;
        let options = self.settings.options(length)?;
        let micro_batches = self.settings.micro_batches(length)?;
        let checkpoints = Checkpoints::open(&self.out, self.settings.keep)?;
        let saved = self.newest(&checkpoints)?;
        let texts = self.texts(&base, length)?;
        let memory = Memory::of(&base.config, &options, backend.level(), backend.max_words());
        out::note(&format!("device memory: {}", by_part(&memory)));
        fits(&memory, backend)?;
        let trainer = self.trainer(backend, &base, options)?;
        let mut running = Running {
            backend,
            run: &self,
            corpus: &corpus,
            texts,
            checkpoints: &checkpoints,
            micro_batches,
            rates: self.settings.learning_rates()?,
            decays: self.settings.weight_decays(),
            trainer,
            state: self.beginning(),
            steps: Vec::new(),
            begun: Instant::now(),
        };
        running.restore(saved)?;
        let text = config::text(&self.settings)?;
        files::staging::replace(&self.out, RUN_CONFIG, text.as_bytes())?;
        running.all()?;
        outputs::write(&running.finished(&base))
    }
}

/// Memory by part in one line.
fn by_part(memory: &Memory) -> String {
    let total = out::memory(memory.total() as u64);
    format!("{total} ({})", list(&memory.parts()))
}

/// Refuses what the device has no room for, before anything is allocated.
pub fn fits<B: Backend>(memory: &Memory, backend: &B) -> Result<()> {
    memory.check(backend).map_err(|error| match error {
        Error::Device { what, .. } => Error::device(
            what,
            "lower --micro-batch or --seq, drop --keep-activations, or train on a larger device",
        ),
        other => other,
    })
}

impl Run {
    /// The model on the device, and its teacher.
    fn trainer<'b, B: Backend>(
        &self,
        backend: &'b B,
        base: &Opened,
        options: TrainOptions,
    ) -> Result<Trainer<&'b B>> {
        let s = &self.settings;
        let mut trainer = match s.from_scratch {
            true => Trainer::from_scratch(backend, &base.config, options, s.seed)?,
            false => Trainer::load(backend, &base.config, &*base.weights, options)?,
        };
        if s.distill == 0.0 {
            return Ok(trainer);
        }
        if s.teacher.as_os_str().is_empty() {
            trainer.teach(&*base.weights)?;
        } else {
            trainer.teach(&*self.teacher(&s.teacher, base)?.weights)?;
        }
        Ok(trainer)
    }

    /// The teacher's folder: a full-precision model that differs from the student in nothing but its weights.
    fn teacher(&self, folder: &Path, base: &Opened) -> Result<Opened> {
        let opened = source::open(Some(folder))?;
        let tied = base.config.tied;
        let as_student = crate::model::Config {
            tied,
            ..opened.config.clone()
        };
        if opened.recipe.is_some() || as_student != base.config {
            return Err(Error::usage(
                format!("{} cannot teach this model", folder.display()),
                "give a full-precision folder with the same configuration",
            ));
        }
        Ok(opened)
    }

    /// The model to begin with.
    fn base(&self) -> Result<Opened> {
        let path = self.settings.model.as_path();
        if self.settings.from_scratch && !source::is_builtin(Some(path)) {
            return files::open_shape(files::Source::folder(path)?);
        }
        let opened = source::open(Some(path))?;
        if opened.recipe.is_some() && !self.settings.from_scratch {
            return Err(Error::usage(
                format!(
                    "{} is packed: its weights are rounded already",
                    path.display()
                ),
                "begin with the full-precision folder",
            ));
        }
        Ok(opened)
    }

    /// The texts to measure, in tokens; none without a tokenizer.
    fn texts(&self, base: &Opened, length: usize) -> Result<Vec<Text>> {
        let Some(tokenizer) = &base.tokenizer else {
            return Ok(Vec::new());
        };
        let words = Words {
            tokenizer,
            bos: tokenizer.bos(),
            eos: base.config.eos.first().copied(),
        };
        let s = &self.settings;
        evaluate::open(&s.eval, s.eval_protocol, &words, length)
    }

    /// Tokens of a text; the data must be of the model's tokenizer and of this length.
    fn length(&self, base: &Opened, corpus: &Corpus) -> Result<usize> {
        let block = corpus.block_len();
        if self.settings.seq != 0 && self.settings.seq != block {
            return Err(Error::usage(
                format!(
                    "--seq {} where the data has blocks of {block}",
                    self.settings.seq
                ),
                "make the data with that --block, or drop --seq",
            ));
        }
        if corpus.blocks() == 0 {
            return Err(Error::usage(
                "the data has no block",
                "make it from more text",
            ));
        }
        if let Some(bytes) = base.source.read_optional(TOKENIZER, LONGEST)? {
            corpus.check_tokenizer(base.source.name(), &bytes)?;
        }
        Ok(block)
    }

    /// The checkpoint to go on from.
    fn newest(&self, checkpoints: &Checkpoints) -> Result<Option<Saved>> {
        if self.resume {
            return checkpoints.newest(&mut |line| out::note(&format!("warning: {line}")));
        }
        match checkpoints.steps()?.last() {
            None => Ok(None),
            Some(step) => Err(Error::usage(
                format!("{} has a run already, at step {step}", self.out.display()),
                "pass --resume to go on, or another --out",
            )),
        }
    }

    fn beginning(&self) -> RunState {
        RunState {
            step: 0,
            updates: 0,
            tokens: 0,
            loss_scale: LossScale {
                exponent: 0,
                since_change: 0,
                adapts: false,
            },
            random: self.settings.seed,
            order: Order::new(self.settings.seed),
            milliseconds: 0,
            before: BTreeMap::new(),
        }
    }
}
