//! The steps of a run under way: batches, records, measurements, checkpoints.

use super::evaluate::{self, Text};
use super::lead::Lead;
use super::opened::Run;
use super::outputs;
use crate::backend::{Backend, block_on};
use crate::error::{Error, Result};
use crate::files::corpus::{Block, Corpus};
use crate::files::run::{Before, CURVES, Checkpoints, Metrics, RunState, Step, curves};
use crate::files::{self, ModelFolder};
use crate::model::Method;
use crate::ranks::Dealt;
use crate::train::Event;
use crate::train::step::schedule::{Schedule, WeightDecay};
use crate::train::step::{Among, Batch, StepReport, Trainer};
use std::collections::BTreeMap;
use std::time::Instant;

/// Skipped steps in a row after which training stops.
const MOST_SKIPPED: u32 = 20;

/// A run under way.
pub(super) struct Running<'a, B: Backend> {
    pub backend: &'a B,
    pub run: &'a Run<'a>,
    pub corpus: &'a Corpus,
    /// The texts to measure; none on ranks that do not lead.
    pub texts: Vec<Text>,
    /// On the rank that leads.
    pub checkpoints: Option<&'a Checkpoints>,
    /// Whether all ranks see the folder of the run.
    pub seen: bool,
    pub dealt: Dealt,
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
        let (mut metrics, steps) = match self.checkpoints {
            Some(_) => {
                let (metrics, steps) = Metrics::open(&self.run.out, self.state.step)?;
                (Some(metrics), steps)
            }
            None => (None, Vec::new()),
        };
        self.know(steps)?;
        let (options, config) = (self.trainer.options(), self.trainer.config());
        let work = options.work(config, 1);
        block_on(self.backend, self.trainer.share(self.run.ranks))?;
        // No rank has the full-precision weights of a model whose masters are dealt to several.
        let whole = !settings.shard || self.run.ranks.size() == 1;
        if self.state.step == 0 && !self.texts.is_empty() && whole {
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
            if let Some(metrics) = &mut metrics {
                metrics.add(&record)?;
            }
            (self.events)(Event::Step(&record));
            self.steps.push(record);
            if last || self.state.step.is_multiple_of(settings.save_every) {
                if let Some(metrics) = &metrics {
                    metrics.sync()?;
                }
                self.save_among()?;
                if metrics.is_some() {
                    self.draw()?;
                }
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
        let among = Among {
            ranks: self.run.ranks,
            dealt: self.dealt,
        };
        let done = self.trainer.step_among(among, &batches, lr, decay);
        let StepReport {
            loss,
            grad_norm,
            skipped,
            scale,
            ..
        } = block_on(self.backend, done)?;
        self.state.step += 1;
        let blocks = self.dealt.micro_batches() * self.run.settings.micro_batch;
        self.state.tokens += (blocks * self.corpus.block_len()) as u64;
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

    /// This rank's part of the next micro-batches: blocks in the order of the data, one behind the other. Those of other
    /// ranks are passed over, so that the place in the data is the same on all.
    fn take(&mut self) -> Result<Vec<Block>> {
        let mine = self.dealt.of_rank(self.run.ranks.rank());
        let mut all = Vec::with_capacity(mine.len());
        for i in 0..self.dealt.micro_batches() {
            let mut joined = Block {
                ids: Vec::new(),
                labels: Vec::new(),
            };
            for _ in 0..self.run.settings.micro_batch {
                let next = self.state.order.next(self.corpus.blocks());
                if !mine.contains(&i) {
                    continue;
                }
                let block = self.corpus.block(next.unwrap_or(0))?;
                joined.ids.extend(block.ids);
                joined.labels.extend(block.labels);
            }
            if mine.contains(&i) {
                all.push(joined);
            }
        }
        Ok(all)
    }

    /// The plot of all steps.
    fn draw(&self) -> Result<()> {
        let title = self.run.out.display().to_string();
        let plot = curves(&self.steps, &title)?;
        files::staging::replace(&self.run.out, CURVES, plot.as_bytes())
    }

    /// What the final outputs are made of.
    pub(super) fn finished<'r>(
        &'r mut self,
        base: &'r ModelFolder,
        lead: &'r Lead,
    ) -> outputs::Finished<'r, 'b, B> {
        outputs::Finished {
            backend: self.backend,
            run: self.run,
            base,
            lead,
            trainer: &mut self.trainer,
            steps: &self.steps,
            before: &self.state.before,
            corpus: self.corpus,
            events: &mut *self.events,
        }
    }
}
