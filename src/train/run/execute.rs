//! A run: what it begins with, and what it leaves.

use super::evaluate::Text;
use super::opened::Run;
use super::steps::Running;
use super::{begun, evaluate, outputs, room};
use crate::backend::Backend;
use crate::builtin;
use crate::error::{Error, Result};
use crate::evaluate::Words;
use crate::files::corpus::{Corpus, Order};
use crate::files::run::{Checkpoints, LossScale, RUN_CONFIG, RunState, Saved, config};
use crate::files::{self, ModelFolder, packed};
use crate::model::Method;
use crate::model::weights::Allowing;
use crate::train::Event;
use crate::train::step::{Memory, TrainOptions, Trainer};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

impl Run {
    /// Makes it.
    pub(super) fn make<B: Backend>(
        mut self,
        backend: &B,
        events: &mut dyn FnMut(Event<'_>),
    ) -> Result<()> {
        let base = self.base(events)?;
        let corpus = Corpus::open(&self.settings.data)?;
        let length = self.length(&base, &corpus)?;
        let mut options = self.settings.options(length)?;
        options.recipe = options.recipe.in_family(&base.config);
        let micro_batches = self.settings.micro_batches(length)?;
        let checkpoints = Checkpoints::open(&self.out, self.settings.keep)?;
        let saved = self.newest(&checkpoints, events)?;
        // All that could stop the run at its end stops it here.
        let record = begun::record(&self.settings, &corpus)?;
        self.folder.check(self.job.resume, &record)?;
        if self.resume {
            verify(&corpus, events)?;
        }
        let there = checkpoints.steps()?.len();
        let step = saved.as_ref().map_or(0, Saved::step);
        let parameters = base.config.parameters() as u64;
        room::check(&self.out, &self.settings, parameters, there, step)?;
        let carried = base.carried()?;
        if options.recipe.method != Method::Full {
            packed::check(options.recipe)?;
        }
        let texts = self.texts(&base, length)?;
        let facts = backend.facts();
        let memory = Memory::of(&base.config, &options, facts.features, facts.max_words);
        events(Event::Memory(&memory));
        fits(&memory, backend)?;
        let trainer = self.trainer(backend, &base, options, events)?;
        self.folder.note(self.job.resume, record)?;
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
            events,
        };
        running.restore(saved)?;
        self.keep_settings()?;
        running.all()?;
        let card = outputs::write(&mut running.finished(&base, &carried))?;
        drop(running);
        self.folder.write_card(&card)
    }
}

/// Opens the model in a folder, or the built-in one.
fn open(model: &Path, events: &mut dyn FnMut(Event<'_>)) -> Result<ModelFolder> {
    let opened = builtin::open(Some(model))?;
    for note in &opened.notes {
        events(Event::Note(note));
    }
    Ok(opened)
}

/// Refuses data whose bytes are not those of its hashes, which have been compared with those of the beginning.
fn verify(corpus: &Corpus, events: &mut dyn FnMut(Event<'_>)) -> Result<()> {
    let settings = &corpus.manifest().settings;
    let bytes = corpus.blocks().saturating_mul(settings.block_bytes());
    events(Event::Verifying(bytes));
    corpus.verify()
}

/// Refuses what the device has no room for, before anything is allocated.
pub fn fits<B: Backend>(memory: &Memory, backend: &B) -> Result<()> {
    memory.check(backend).map_err(|error| match error {
        Error::Device { what, .. } => Error::device(
            what,
            "lower `micro_batch`, `seq` or `moments`, drop `keep_activations`, or train on another device with more memory",
        ),
        other => other,
    })
}

impl Run {
    /// The model on the device, and its teacher.
    fn trainer<'b, B: Backend>(
        &self,
        backend: &'b B,
        base: &ModelFolder,
        options: TrainOptions,
        events: &mut dyn FnMut(Event<'_>),
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
            trainer.teach(&*self.teacher(&s.teacher, base, events)?.weights)?;
        }
        Ok(trainer)
    }

    /// The teacher's folder: a full-precision model that differs from the student in nothing but its weights.
    fn teacher(
        &self,
        folder: &Path,
        base: &ModelFolder,
        events: &mut dyn FnMut(Event<'_>),
    ) -> Result<ModelFolder> {
        let mut opened = open(folder, events)?;
        opened.weights = Box::new(Allowing(opened.weights, self.settings.allow_nonfinite));
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
    fn base(&self, events: &mut dyn FnMut(Event<'_>)) -> Result<ModelFolder> {
        let path = self.settings.model.as_path();
        if self.settings.from_scratch && !builtin::is_meant(Some(path)) {
            return files::open_shape(files::Source::at(path)?);
        }
        let mut opened = open(path, events)?;
        opened.weights = Box::new(Allowing(opened.weights, self.settings.allow_nonfinite));
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

    /// The texts to measure, in tokens.
    fn texts(&self, base: &ModelFolder, length: usize) -> Result<Vec<Text>> {
        if self.settings.eval.is_empty() {
            return Ok(Vec::new());
        }
        let s = &self.settings;
        evaluate::open(&s.eval, s.eval_protocol, &Words::of(base)?, length)
    }

    /// Tokens of a sequence; the data must be of the model's tokenizer and of this length.
    fn length(&self, base: &ModelFolder, corpus: &Corpus) -> Result<usize> {
        let block = corpus.block_len();
        if self.settings.seq != 0 && self.settings.seq != block {
            return Err(Error::usage(
                format!(
                    "`seq` {} where the data has blocks of {block}",
                    self.settings.seq
                ),
                "make the data with blocks of that length, or leave out `seq`",
            ));
        }
        if corpus.blocks() == 0 {
            return Err(Error::usage(
                "the data has no block",
                "make it from more text",
            ));
        }
        if let Some(tokenizer) = &base.tokenizer {
            corpus.check_tokenizer(base.source.name(), tokenizer.sha256())?;
        }
        Ok(block)
    }

    /// The checkpoint to go on from.
    fn newest(
        &self,
        checkpoints: &Checkpoints,
        events: &mut dyn FnMut(Event<'_>),
    ) -> Result<Option<Saved>> {
        if self.resume {
            return checkpoints.newest(&mut |line| events(Event::Warning(line)));
        }
        match checkpoints.steps()?.last() {
            None => Ok(None),
            Some(step) => Err(Error::usage(
                format!("{} has a run already, at step {step}", self.out.display()),
                "resume it, or choose another folder",
            )),
        }
    }

    /// Writes all settings into the folder, unless a file there says the same in its own words.
    fn keep_settings(&self) -> Result<()> {
        let path = self.out.join(RUN_CONFIG);
        let (text, name) = (config::text(&self.settings)?, path.display().to_string());
        if let Ok(then) = std::fs::read_to_string(&path)
            && config::check_same((&name, &then), &self.settings, &[]).is_ok()
        {
            return Ok(());
        }
        files::staging::replace(&self.out, RUN_CONFIG, text.as_bytes())
    }

    fn beginning(&self) -> RunState {
        RunState {
            step: 0,
            updates: 0,
            tokens: 0,
            loss_scale: LossScale::default(),
            random: self.settings.seed,
            order: Order::new(self.settings.seed),
            milliseconds: 0,
            before: BTreeMap::new(),
        }
    }
}
