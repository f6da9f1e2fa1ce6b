//! The steps of a run under way: batches, records, measurements, checkpoints.

use super::evaluate::{self, Text};
use super::opened::Run;
use super::outputs;
use crate::backend::{Backend, block_on};
use crate::error::{Error, Result};
use crate::files::corpus::{Block, Corpus};
use crate::files::run::{Before, CURVES, Checkpoints, Metrics, RunState, Saved, Step, curves};
use crate::files::{self, ModelFolder};
use crate::model::Method;
use crate::train::Event;
use crate::train::step::schedule::{Schedule, WeightDecay};
use crate::train::step::{Batch, Part, Progress, StepReport, Trainer};
use std::collections::BTreeMap;
use std::time::Instant;

/// Skipped steps in a row after which training stops.
const MOST_SKIPPED: u32 = 20;

/// A run under way.
pub(super) struct Running<'a, B: Backend> {
    pub backend: &'a B,
    pub run: &'a Run,
    pub corpus: &'a Corpus,
    pub texts: Vec<Text>,
    pub checkpoints: &'a Checkpoints,
    pub micro_batches: usize,
    pub rates: Schedule,
    pub decays: WeightDecay,
    pub trainer: Trainer<&'a B>,
    pub state: RunState,
    /// Records of all steps.
    pub steps: Vec<Step>,
    pub begun: Instant,
    pub events: &'a mut dyn FnMut(Event<'_>),
}

impl<'b, B: Backend> Running<'b, B> {
    /// Goes on from a checkpoint, if there is one.
    pub(super) fn restore(&mut self, saved: Option<Saved>) -> Result<()> {
        let Some(saved) = saved else { return Ok(()) };
        self.state = saved.state()?;
        let progress = Progress {
            updates: self.state.updates,
            loss_scale: self.state.loss_scale,
        };
        self.trainer.set_progress(progress)?;
        let layouts = Part::ALL.map(|part| self.trainer.layouts(part));
        saved.trained(&layouts, |part, i, words| {
            self.trainer.set_words(part, i, words)
        })?;
        (self.events)(Event::Resumed(self.state.step));
        Ok(())
    }

    /// Perplexities before the first step: of the full-precision weights, and of what quantizing makes of them.
    fn measure_before(&mut self) -> Result<()> {
        let quantized = self.measure()?;
        let full = if self.run.settings.recipe()?.method == Method::Full {
            quantized.clone()
        } else {
            self.trainer.set_quantized_share(0.0)?;
            evaluate::perplexities(self.backend, &mut self.trainer, &self.texts)?
        };
        for (name, full) in full {
            let quantized = quantized[&name];
            let before = Before { full, quantized };
            (self.events)(Event::Before(&name, before));
            self.state.before.insert(name, before);
        }
        Ok(())
    }

    /// Perplexities of the weights as they are deployed.
    fn measure(&mut self) -> Result<BTreeMap<String, f64>> {
        if self.run.settings.nested > 0.0 {
            self.trainer.set_stages(self.run.settings.stages.into())?;
        }
        self.trainer.set_quantized_share(1.0)?;
        evaluate::perplexities(self.backend, &mut self.trainer, &self.texts)
    }

    /// All steps that are left.
    pub(super) fn all(&mut self) -> Result<()> {
        let settings = &self.run.settings;
        let (mut metrics, steps) = Metrics::open(&self.run.out, self.state.step)?;
        self.steps = steps;
        let (options, config) = (self.trainer.options(), self.trainer.config());
        let work = options.work(config, 1);
        if self.state.step == 0 && !self.texts.is_empty() {
            self.measure_before()?;
        }
        (self.events)(Event::Begun {
            step: self.state.step,
            of: settings.steps,
            work,
        });
        let before = self.state.milliseconds;
        self.begun = Instant::now();
        let mut skipped = 0;
        while self.state.step < settings.steps {
            let mut record = self.step()?;
            skipped = if record.skipped { skipped + 1 } else { 0 };
            let last = self.state.step == settings.steps;
            if !self.texts.is_empty()
                && (last || self.state.step.is_multiple_of(settings.eval_every))
            {
                record.validation = self.measure()?;
            }
            self.state.milliseconds = before + self.begun.elapsed().as_millis() as u64;
            record.seconds = self.state.milliseconds as f64 / 1e3;
            metrics.add(&record)?;
            (self.events)(Event::Step(&record));
            self.steps.push(record);
            if last || self.state.step.is_multiple_of(settings.save_every) {
                metrics.sync()?;
                self.save()?;
            }
            if skipped >= MOST_SKIPPED {
                return Err(Error::usage(
                    format!("{skipped} steps in a row had a loss or gradient that is not finite"),
                    "lower `lr`, and resume from a checkpoint before",
                ));
            }
        }
        Ok(())
    }

    /// One step and its record.
    fn step(&mut self) -> Result<Step> {
        let blocks = self.take()?;
        let batches: Vec<_> = blocks
            .iter()
            .map(|block| Batch {
                tokens: &block.ids,
                labels: &block.labels,
                length: self.corpus.block_len(),
            })
            .collect();
        let lr = self.run.settings.lr * self.rates.factor(self.state.step);
        let decay = self.decays.at(self.state.step);
        if let Some(stages) = self.run.settings.stages_after(self.state.step) {
            self.trainer.set_stages(stages)?;
        }
        let share = self.run.settings.quantized_share_after(self.state.step);
        self.trainer.set_quantized_share(share)?;
        self.trainer
            .set_most_norm(self.run.settings.most_norm(&self.steps));
        let done = self.trainer.step(&batches, lr, decay);
        let StepReport {
            loss,
            grad_norm,
            skipped,
            scale,
            ..
        } = block_on(self.backend, done)?;
        self.state.step += 1;
        self.state.tokens += blocks.iter().map(|b| b.ids.len() as u64).sum::<u64>();
        let record = Step {
            step: self.state.step,
            tokens: self.state.tokens,
            loss,
            lr,
            grad_norm,
            scale,
            skipped,
            ..Step::default()
        };
        if skipped {
            (self.events)(Event::Skipped(&record));
        }
        Ok(record)
    }

    /// The next micro-batches: blocks in the order of the data, one behind the other.
    fn take(&mut self) -> Result<Vec<Block>> {
        let mut all = Vec::with_capacity(self.micro_batches);
        for _ in 0..self.micro_batches {
            let mut joined = Block {
                ids: Vec::new(),
                labels: Vec::new(),
            };
            for _ in 0..self.run.settings.micro_batch {
                let next = self.state.order.next(self.corpus.blocks());
                let block = self.corpus.block(next.unwrap_or(0))?;
                joined.ids.extend(block.ids);
                joined.labels.extend(block.labels);
            }
            all.push(joined);
        }
        Ok(all)
    }

    /// A checkpoint, and the plot.
    fn save(&mut self) -> Result<()> {
        let progress = self.trainer.progress();
        self.state.updates = progress.updates;
        self.state.loss_scale = progress.loss_scale;
        let mut saving = self.checkpoints.save(self.state.step)?;
        let layouts = Part::ALL.map(|part| self.trainer.layouts(part));
        saving.trained(layouts, |part, i| {
            block_on(self.backend, self.trainer.words(part, i))
        })?;
        saving.state(&self.state)?;
        saving.commit()?;
        let title = self.run.out.display().to_string();
        let plot = curves(&self.steps, &title)?;
        files::staging::replace(&self.run.out, CURVES, plot.as_bytes())
    }

    /// What the final outputs are made of.
    pub(super) fn finished<'r>(
        &'r mut self,
        base: &'r ModelFolder,
        carried: &'r files::Source,
    ) -> outputs::Finished<'r, 'b, B> {
        outputs::Finished {
            backend: self.backend,
            run: self.run,
            base,
            carried,
            trainer: &mut self.trainer,
            steps: &self.steps,
            before: &self.state.before,
            corpus: self.corpus,
            events: &mut *self.events,
        }
    }
}
