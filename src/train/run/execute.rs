//! A run: what it begins with, and what it leaves.

use super::lead::Lead;
use super::opened::Run;
use super::steps::Running;
use super::{outputs, saved};
use crate::backend::Backend;
use crate::builtin;
use crate::error::{Error, Result};
use crate::files::corpus::{Corpus, Order};
use crate::files::run::{LossScale, RUN_CONFIG, RunFolder, RunState, config};
use crate::files::{self, ModelFolder, packed};
use crate::model::Method;
use crate::model::weights::Allowing;
use crate::ranks::Dealt;
use crate::train::Event;
use crate::train::step::{Memory, Shard, TrainOptions, Trainer};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

impl Run<'_> {
    /// Makes it. The rank that leads has the run's folder.
    pub(super) fn make<B: Backend>(
        self,
        folder: Option<RunFolder>,
        backend: &B,
        events: &mut dyn FnMut(Event<'_>),
    ) -> Result<()> {
        let base = self.base(events)?;
        let corpus = Corpus::open(&self.settings.data)?;
        let length = self.length(&base, &corpus)?;
        let mut options = self.settings.options(length)?;
        options.recipe = options.recipe.in_family(&base.config);
        options.shard = self.settings.shard.then(|| Shard {
            rank: self.ranks.rank(),
            ranks: self.ranks.size(),
        });
        let micro_batches = self.settings.micro_batches(length)?;
        let dealt = Dealt::new(micro_batches, self.settings.groups, self.ranks.size())?;
        let read = (&base, &corpus, length);
        let begin = |folder| Lead::begin(&self, folder, read, events);
        let mut lead = folder.map(begin).transpose()?;
        if options.recipe.method != Method::Full {
            packed::check(options.recipe)?;
        }
        let facts = backend.facts();
        let memory = Memory::of(&base.config, &options, facts.features, facts.max_words);
        events(Event::Memory(&memory));
        fits(&memory, backend)?;
        let trainer = self.trainer(backend, &base, options, events)?;
        let (mut texts, mut found) = (Vec::new(), None);
        // Nothing is written before all ranks have what they need.
        self.ranks.barrier()?;
        if let Some(lead) = &mut lead {
            lead.note(self.resume)?;
            (texts, found) = lead.texts_and_checkpoint();
        }
        let mut running = Running {
            backend,
            run: &self,
            corpus: &corpus,
            texts,
            checkpoints: lead.as_ref().map(|lead| &lead.checkpoints),
            seen: saved::all_see(self.ranks, &self.out)?,
            dealt,
            rates: self.settings.learning_rates()?,
            decays: self.settings.weight_decays(),
            trainer,
            state: self.beginning(),
            steps: Vec::new(),
            begun: Instant::now(),
            events,
        };
        running.restore(found)?;
        if lead.is_some() {
            self.keep_settings()?;
        }
        running.all()?;
        let Some(leads) = &lead else {
            return outputs::give(self.ranks, backend, &running.trainer);
        };
        let card = outputs::write(&mut running.finished(&base, leads))?;
        drop(running);
        lead.map_or(Ok(()), |mut lead| lead.folder.write_card(&card))
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

impl Run<'_> {
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
