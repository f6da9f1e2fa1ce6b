//! `train`: a low-bit model from a full-precision one and a folder of training data, or from scratch.

use super::args::{DeviceArgs, MethodName};
use super::bench::ceiling;
use super::{device, hub, out, ranks};
use crate::backend::Device;
use crate::error::{Error, Result};
use crate::files::hub::Part;
use crate::files::run::{RUN_CONFIG, Step, config};
use crate::ranks::{Ranks, broadcast_bytes};
use crate::train::step::{Masters, Moments};
use crate::train::{
    self, Event, Job, Preset, Protocol, RoundedTo, ScaleRule, Settings, read_settings,
};
use clap::{Arg, Args};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// Train a model whose linear layers are quantized in every forward pass.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fairy2i-gpu data --tokenizer LLAMA --block 512 --out DATA corpus.jsonl.zst
  fairy2i-gpu train -m LLAMA --data DATA --out RUN --method fairy2i --stages 2 --steps 700 --seq 512 \\
      --micro-batch 8 --batch-tokens 32768 --lr 1e-3 --warmup 30 --schedule linear --decay-from 500 \\
      --eval novel.txt --eval-every 100
  fairy2i-gpu train --out RUN --resume            goes on from the newest checkpoint in RUN
  fairy2i-gpu generate -m RUN/packed \"Once\"

RUN gets config.toml (all settings, also usable with --config), run.json (hashes of what it began with), metrics.jsonl
(one object a step), curves.svg, checkpoints step-N, and at the end model (full-precision weights, for any program),
packed (to be used here) and README.md. It must not hold anything that is read, nor files of those names from elsewhere. A run that was killed goes on with --resume and ends with the same bits.")]
pub(super) struct Train {
    /// Folder of the run
    #[arg(long, value_name = "RUN")]
    out: PathBuf,
    /// Go on from the newest checkpoint in RUN
    #[arg(long)]
    resume: bool,
    /// Settings of a paper, to be changed by those below: ifairy (from scratch) or fairy2i
    #[arg(long, value_enum, value_name = "PAPER")]
    recipe: Option<Preset>,
    /// Settings in a TOML file; the command line overrides them
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    given: Given,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Settings on the command line; those that are not given come from the file, or have their defaults.
#[derive(Debug, Clone, Default, Args, Serialize)]
struct Given {
    /// Full-precision Hugging Face folder
    #[arg(short, long, value_name = "FOLDER")]
    model: Option<PathBuf>,
    /// Take only the shape and the tokenizer from the model's folder, and begin with random weights
    #[arg(long, num_args = 0, default_missing_value = "true")]
    from_scratch: Option<bool>,
    /// Folder that `data` made
    #[arg(long, value_name = "DATA")]
    data: Option<PathBuf>,
    /// Representation of the linear layers [default: fairy2i]
    #[arg(long, value_enum)]
    method: Option<MethodName>,
    /// Residual stages of fairy2i: bits per weight [default: 2]
    #[arg(long, value_name = "1..4", value_parser = clap::value_parser!(u8).range(1..=4))]
    stages: Option<u8>,
    /// Which weights share scales: tensor, row, group:N, tile:N or tile:RxN [default: tensor]
    #[arg(long)]
    granularity: Option<String>,
    /// How activations enter quantized layers on the way forward [default: float]
    #[arg(long, value_enum, value_name = "float|16|8")]
    activations: Option<RoundedTo>,
    /// Where scales come from [default: means]
    #[arg(long, value_enum, value_name = "RULE")]
    scales: Option<ScaleRule>,
    /// Probability that a step runs with one stage, so that the first stage also serves alone [default: 0]
    #[arg(long, value_name = "P")]
    nested: Option<f64>,
    /// Steps in which quantized weights take over from full-precision ones, little by little [default: 0]
    #[arg(long, value_name = "N")]
    quant_warmup: Option<u64>,
    /// Learn from the full-precision model: share of its distribution in the loss [default: 0]
    #[arg(long, value_name = "SHARE")]
    distill: Option<f64>,
    /// Full-precision folder of the same shape to learn from [default: the model]
    #[arg(long, value_name = "FOLDER")]
    teacher: Option<PathBuf>,
    /// Leave the output head in full precision
    #[arg(long, num_args = 0, default_missing_value = "true")]
    skip_lm_head: Option<bool>,
    /// Steps of the whole run [default: 1000]
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// Tokens of a text [default: a block of the data]
    #[arg(long, value_name = "N")]
    seq: Option<usize>,
    /// Texts that are processed at once [default: 8]
    #[arg(long, value_name = "N")]
    micro_batch: Option<usize>,
    /// Tokens of a step [default: one micro-batch]
    #[arg(long, value_name = "N")]
    batch_tokens: Option<usize>,
    /// Groups that the micro-batches of a step are dealt to; ranks take whole groups, and the bits of a run depend on this
    /// number alone [default: as many as there are ranks]
    #[arg(long, value_name = "G")]
    groups: Option<usize>,
    /// Deal masters and moments to the ranks, so that each holds less; no bit depends on it
    #[arg(long, num_args = 0, default_missing_value = "true")]
    shard: Option<bool>,
    /// Learning rate [default: 1e-3]
    #[arg(long)]
    lr: Option<f64>,
    /// Steps from zero to the learning rate [default: 0]
    #[arg(long, value_name = "N")]
    warmup: Option<u64>,
    /// constant, linear, cosine, wsd, two_stage_linear, fairy2i_w2 or a name of the papers' scripts [default: constant]
    #[arg(long, value_name = "NAME")]
    schedule: Option<String>,
    /// First step of the decay [default: the end of the warm-up]
    #[arg(long, value_name = "N")]
    decay_from: Option<u64>,
    /// What is left of the learning rate at the end [default: 0]
    #[arg(long, value_name = "FACTOR")]
    floor: Option<f64>,
    /// Decays of wsd, each as FROM:STEPS:FACTOR
    #[arg(long, value_name = "CORNERS", value_delimiter = ',')]
    decays: Option<Vec<String>>,
    /// Weight decay [default: 0]
    #[arg(long)]
    weight_decay: Option<f64>,
    /// Weight decay in the first half of the run only, as iFairy has it
    #[arg(long, num_args = 0, default_missing_value = "true")]
    decay_first_half: Option<bool>,
    /// Decay of AdamW's moments [default: 0.9,0.95]
    #[arg(long, value_name = "B1,B2", value_delimiter = ',', num_args = 1)]
    betas: Option<Vec<f64>>,
    /// Added to the root of AdamW's second moment [default: 1e-8]
    #[arg(long)]
    eps: Option<f64>,
    /// Largest norm of a gradient [default: 2]
    #[arg(long)]
    clip: Option<f64>,
    /// Skip a step whose gradient is more than FACTOR times the median of the last 64 [default: 0, none]
    #[arg(long, value_name = "FACTOR")]
    outlier: Option<f64>,
    /// What order of data and random weights follow from [default: 42]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Bits of AdamW's moments between steps: two moments of 32 bits take twice the memory of the weights [default: 32]
    #[arg(long, value_enum, value_name = "32|16|8")]
    moments: Option<Moments>,
    /// What the masters of quantized layers are held in between steps [default: f32]
    #[arg(long, value_enum, value_name = "f32|bf16")]
    masters: Option<Masters>,
    /// Products in f32 also where the device has matrix units
    #[arg(long, num_args = 0, default_missing_value = "true")]
    exact: Option<bool>,
    /// Keep all activations instead of computing blocks again in the backward pass
    #[arg(long, num_args = 0, default_missing_value = "true")]
    keep_activations: Option<bool>,
    /// Begin with 0 where a weight is NaN or infinite
    #[arg(long, num_args = 0, default_missing_value = "true")]
    allow_nonfinite: Option<bool>,
    /// Steps between checkpoints [default: 100]
    #[arg(long, value_name = "N")]
    save_every: Option<u64>,
    /// Newest checkpoints that stay [default: 2]
    #[arg(long, value_name = "N")]
    keep: Option<usize>,
    /// Text files to measure the perplexity of
    #[arg(long, value_name = "FILE", num_args = 1..)]
    eval: Option<Vec<PathBuf>>,
    /// How a text is cut and counted [default: blocks]
    #[arg(long, value_enum)]
    eval_protocol: Option<Protocol>,
    /// Steps between measurements of perplexity [default: 100]
    #[arg(long, value_name = "N")]
    eval_every: Option<u64>,
}

impl Train {
    /// Trains, alone or among the ranks that `mpirun` started.
    pub(super) fn run(self, offline: bool) -> Result<()> {
        let ranks = ranks::open()?;
        let done = self.run_among(&*ranks, offline);
        ranks::end(&*ranks, done)
    }

    fn run_among(self, ranks: &dyn Ranks, offline: bool) -> Result<()> {
        let leads = ranks.rank() == 0;
        // Settings come from the rank that leads: the folder of the run may be on its host alone.
        let before = (leads && self.resume).then(|| named(&self.out.join(RUN_CONFIG)));
        let before = before.transpose()?;
        let text = match leads {
            true => config::text(&self.settings(before.as_ref())?)?,
            false => String::new(),
        };
        let text = broadcast_bytes(ranks, text.into_bytes())?;
        let text = String::from_utf8_lossy(&text);
        let nothing = BTreeMap::<String, String>::new();
        let mut settings = config::merged("", Some(("the settings", &text)), &nothing)?;
        // What has to be fetched is fetched once on a host.
        if leads {
            locate(&mut settings, offline)?;
            check(&settings, before.as_ref())?;
            ranks.barrier()?;
        } else {
            ranks.barrier()?;
            locate(&mut settings, offline)?;
        }
        let job = self.job(settings);
        let device = device::open_for(&self.device, ranks, false)?;
        let mut shown = Shown::new(&device);
        let trained = train::train_among(job, &device, ranks, &mut |event| shown.event(event));
        trained.map_err(as_options)?;
        shown.bar.finish_and_clear();
        if leads {
            device::report_check(&device);
        }
        Ok(())
    }

    /// All settings, as they are given and not yet checked; `before` are those of a run that goes on.
    fn settings(&self, before: Option<&Named>) -> Result<Settings> {
        let file = self.config.as_deref().map(named).transpose()?;
        let file = file.as_ref().or(before);
        let file = file.map(|(name, text)| (name.as_str(), text.as_str()));
        let preset = self.recipe.map_or("", Preset::text);
        config::merged(preset, file, &self.given)
    }

    fn job(&self, settings: Settings) -> Job {
        // The run's own settings may be read and written again; another file inside of RUN may not be.
        let real = |path: &PathBuf| dunce::canonicalize(path).ok();
        let path = self.out.join(RUN_CONFIG);
        let own = self.resume.then(|| real(&path)).flatten();
        let config = self.config.iter();
        let config = config.filter(|c| own.is_none() || real(c) != own);
        let command: Vec<String> = std::env::args().collect();
        Job {
            inputs: config.cloned().collect(),
            resume: self.resume,
            command: command.join(" "),
            ..Job::new(&self.out, settings)
        }
    }
}

/// The name of a file of settings, and its text.
type Named = (String, String);

fn named(path: &Path) -> Result<Named> {
    Ok((path.display().to_string(), read_settings(path)?))
}

/// Refuses settings that make no sense, or are not those of a run that goes on.
fn check(settings: &Settings, before: Option<&Named>) -> Result<()> {
    settings.check().map_err(as_options)?;
    match before {
        Some((name, text)) => config::check_same((name, text), settings, &train::FREE),
        None => Ok(()),
    }
}

/// Finds the models that the settings name on this host.
fn locate(settings: &mut Settings, offline: bool) -> Result<()> {
    let part = match settings.from_scratch {
        true => Part::Tokenizer,
        false => Part::Model,
    };
    let models = [
        (&mut settings.model, part),
        (&mut settings.teacher, Part::Model),
    ];
    hub::locate(models, offline)
}

/// The error of a setting, whose field in `config.toml` is named, as one of the option that gives it.
fn as_options(error: Error) -> Error {
    let command = <Train as Args>::augment_args(clap::Command::new("train"));
    let options: Vec<_> = command.get_arguments().filter_map(Arg::get_long).collect();
    let renamed = |mut text: String| {
        for option in &options {
            let field = format!("`{}`", option.replace('-', "_"));
            text = text.replace(&field, &format!("--{option}"));
        }
        text
    };
    match error {
        Error::Usage { what, hint } => Error::usage(renamed(what), renamed(hint)),
        Error::Device { what, hint } => Error::device(renamed(what), renamed(hint)),
        error => error,
    }
}

/// What a run tells, on standard error.
struct Shown<'d> {
    device: &'d Device,
    bar: indicatif::ProgressBar,
    speed: Option<Speed>,
}

impl<'d> Shown<'d> {
    fn new(device: &'d Device) -> Self {
        Self {
            device,
            bar: indicatif::ProgressBar::hidden(),
            speed: None,
        }
    }

    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Note(note) => out::note(&format!("note: {note}")),
            Event::Warning(line) => out::note(&format!("warning: {line}")),
            Event::Memory(memory) => out::note(&format!("device memory: {memory}")),
            Event::Verifying(bytes) if bytes > 1 << 30 => {
                let size = out::bytes(bytes as f64);
                out::note(&format!(
                    "comparing {size} of data with what the run began with"
                ));
            }
            Event::Verifying(_) => {}
            Event::Resumed(step) => out::note(&format!("going on after step {step}")),
            Event::Begun { step, of, work } => self.begin(step, of, work),
            Event::Before(name, before) => out::note(&format!(
                "before training, {name}: perplexity {:.3}, {:.3} quantized",
                before.full, before.quantized
            )),
            Event::Skipped(step) => out::note(&format!(
                "step {}: skipped, loss {}, gradient {}",
                step.step, step.loss, step.grad_norm
            )),
            Event::Step(step) => self.step(step),
            Event::Replaced(replaced) => out::note(&format!("note: {replaced}")),
        }
    }

    fn begin(&mut self, step: u64, of: u64, work: f64) {
        let shown = std::io::stderr().is_terminal();
        // A device that cannot be measured is still worth training on.
        let ceiling = shown.then(|| ceiling::matmul(self.device).ok()).flatten();
        self.speed = ceiling.map(|ceiling| Speed { work, ceiling });
        self.bar = out::progress(shown, of as usize);
        self.bar.set_position(step);
    }

    fn step(&mut self, step: &Step) {
        if !step.validation.is_empty() {
            out::note(&validation(step));
        }
        if let Some(speed) = &self.speed {
            self.bar.set_message(speed.message(step));
        }
        self.bar.inc(1);
    }
}

/// Perplexities in one line.
fn validation(record: &Step) -> String {
    let one = |(name, p): (&String, &f64)| format!("{name} {p:.3}");
    let all: Vec<_> = record.validation.iter().map(one).collect();
    format!("step {}: perplexity {}", record.step, all.join(", "))
}

/// What the bar says of the speed.
struct Speed {
    /// Operations of a token.
    work: f64,
    /// Operations per second of the device's best product.
    ceiling: f64,
}

impl Speed {
    fn message(&self, record: &Step) -> String {
        let rate = record.tokens as f64 / record.seconds.max(1e-9);
        format!(
            "loss {:.4}, lr {:.2e}, gradient {:.3}, {} tokens/s, {:.0} % of {}",
            record.loss,
            record.lr,
            record.grad_norm,
            out::scaled(rate, ""),
            100.0 * rate * self.work / self.ceiling,
            out::scaled(self.ceiling, "FLOP/s"),
        )
    }
}
