//! The steps of a run, its records and checkpoints.

use super::evaluate::{self, Text};
use super::outputs;
use super::settings::Settings;
use crate::backend::{Backend, block_on};
use crate::error::{Error, Result};
use crate::files::corpus::{Block, Corpus, Order};
use crate::files::run::checkpoints::Saving;
use crate::files::run::{
    CURVES, Checkpoints, LossScale, Metrics, RUN_CONFIG, RunState, Saved, Step, config, curves,
};
use crate::files::tokenizer::TOKENIZER;
use crate::files::{self, Opened};
use crate::model::train::schedule::{Schedule, WeightDecay};
use crate::model::train::{Batch, Memory, Part, Progress, StepReport, Trainer};
use crate::verbs::device::Task;
use crate::verbs::{out, source};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Instant;

/// Skipped steps in a row after which training stops.
const MOST_SKIPPED: u32 = 20;
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
        let texts = match &base.tokenizer {
            Some(tokenizer) => evaluate::open(&self.settings.eval, tokenizer, length)?,
            None => Vec::new(),
        };
        let memory = Memory::of(&base.config, &options, backend.level(), backend.max_words());
        out::note(&announce(&memory));
        let trainer = match self.settings.from_scratch {
            true => Trainer::from_scratch(backend, &base.config, options, self.settings.seed)?,
            false => Trainer::load(backend, &base.config, &*base.weights, options)?,
        };
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
fn announce(memory: &Memory) -> String {
    let part = |(name, bytes): (&str, usize)| format!("{name} {}", out::memory(bytes as u64));
    let parts: Vec<_> = memory.parts().into_iter().map(part).collect();
    let total = out::memory(memory.total() as u64);
    format!("device memory: {total} ({})", parts.join(", "))
}

impl Run {
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
        }
    }
}

/// A run under way.
struct Running<'a, B: Backend> {
    backend: &'a B,
    run: &'a Run,
    corpus: &'a Corpus,
    texts: Vec<Text>,
    checkpoints: &'a Checkpoints,
    micro_batches: usize,
    rates: Schedule,
    decays: WeightDecay,
    trainer: Trainer<&'a B>,
    state: RunState,
    /// Records of all steps.
    steps: Vec<Step>,
    begun: Instant,
}

/// File of a part's tensors in a checkpoint.
fn file_of(part: Part) -> &'static str {
    match part {
        Part::Master => "masters.safetensors",
        Part::First => "first.safetensors",
        Part::Second => "second.safetensors",
    }
}

impl<'b, B: Backend> Running<'b, B> {
    /// Goes on from a checkpoint, if there is one.
    fn restore(&mut self, saved: Option<Saved>) -> Result<()> {
        let Some(saved) = saved else { return Ok(()) };
        self.state = saved.state()?;
        let scale = self.state.loss_scale;
        self.trainer.set_progress(Progress {
            updates: self.state.updates,
            scale_exponent: scale.exponent,
            since_change: scale.since_change,
            adapts: scale.adapts,
        })?;
        let parameters = self.trainer.parameters().to_vec();
        for part in Part::ALL {
            let tensors = saved.tensors(file_of(part))?;
            for (i, p) in parameters.iter().enumerate() {
                self.trainer
                    .write(part, i, &tensors.values(&p.name, &p.shape())?)?;
            }
        }
        out::note(&format!("going on after step {}", self.state.step));
        Ok(())
    }

    /// All steps that are left.
    fn all(&mut self) -> Result<()> {
        let settings = &self.run.settings;
        let (mut metrics, steps) = Metrics::open(&self.run.out, self.state.step)?;
        self.steps = steps;
        let bar = out::progress(std::io::stderr().is_terminal(), settings.steps as usize);
        bar.set_position(self.state.step);
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
                if settings.nested > 0.0 {
                    self.trainer.set_stages(settings.stages.into())?;
                }
                record.validation =
                    evaluate::perplexities(self.backend, &mut self.trainer, &self.texts)?;
                out::note(&validation(&record));
            }
            self.state.milliseconds = before + self.begun.elapsed().as_millis() as u64;
            record.seconds = self.state.milliseconds as f64 / 1e3;
            metrics.add(&record)?;
            bar.set_message(message(&record, self.begun, record.tokens));
            bar.inc(1);
            self.steps.push(record);
            if last || self.state.step.is_multiple_of(settings.save_every) {
                metrics.sync()?;
                self.save()?;
            }
            if skipped >= MOST_SKIPPED {
                return Err(Error::usage(
                    format!("{skipped} steps in a row had a loss or gradient that is not finite"),
                    "lower --lr, and --resume from a checkpoint before",
                ));
            }
        }
        bar.finish_and_clear();
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
        if skipped {
            out::note(&format!(
                "step {}: skipped, loss {loss}, gradient {grad_norm}",
                self.state.step
            ));
        }
        Ok(Step {
            step: self.state.step,
            tokens: self.state.tokens,
            loss,
            lr,
            grad_norm,
            scale,
            skipped,
            ..Step::default()
        })
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
        self.state.loss_scale = LossScale {
            exponent: progress.scale_exponent,
            since_change: progress.since_change,
            adapts: progress.adapts,
        };
        let mut saving = self.checkpoints.save(self.state.step)?;
        for part in Part::ALL {
            self.save_part(&mut saving, part)?;
        }
        saving.state(&self.state)?;
        saving.commit()?;
        let title = self.run.out.display().to_string();
        let plot = curves(&self.steps, &title)?;
        files::staging::replace(&self.run.out, CURVES, plot.as_bytes())
    }

    fn save_part(&self, saving: &mut Saving<'_>, part: Part) -> Result<()> {
        let parameters = self.trainer.parameters();
        let shapes: Vec<_> = parameters
            .iter()
            .map(|p| (p.name.clone(), p.shape()))
            .collect();
        let mut file = saving.tensors(file_of(part), &shapes)?;
        for i in 0..parameters.len() {
            let values = block_on(self.backend, self.trainer.read(part, i))?;
            file.push(&values)?;
        }
        file.finish()
    }

    /// What the final outputs are made of.
    fn finished<'r>(&'r self, base: &'r Opened) -> outputs::Finished<'r, 'b, B> {
        outputs::Finished {
            backend: self.backend,
            out: &self.run.out,
            settings: &self.run.settings,
            base,
            trainer: &self.trainer,
            steps: &self.steps,
            corpus: self.corpus,
        }
    }
}

/// Perplexities in one line.
fn validation(record: &Step) -> String {
    let one = |(name, p): (&String, &f64)| format!("{name} {p:.3}");
    let all: Vec<_> = record.validation.iter().map(one).collect();
    format!("step {}: perplexity {}", record.step, all.join(", "))
}

/// What the bar says.
fn message(record: &Step, begun: Instant, tokens: u64) -> String {
    let rate = tokens as f64 / record.seconds.max(begun.elapsed().as_secs_f64()).max(1e-9);
    format!(
        "loss {:.4}, lr {:.2e}, gradient {:.3}, {} tokens/s",
        record.loss,
        record.lr,
        record.grad_norm,
        out::scaled(rate, "")
    )
}
