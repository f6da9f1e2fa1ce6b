//! `bench`: how fast, and how far from what the device could do.

use super::args::{ActivationName, BatchArgs, DeviceArgs, MethodName, PathArgs, RecipeArgs};
use super::source::{self, ModelArgs};
use super::{device, out, ranks};
use crate::error::{Error, Result};
use crate::files::Inputs;
use crate::model::weights::Allowing;
use crate::model::{FirstStages, LoadOptions};
use crate::ranks::Ranks;
use crate::train::step::{Masters, Moments};
use clap::builder::Resettable;
use clap::{Args, FromArgMatches, ValueEnum};
use model::{ModelBench, Subject};
use report::Format;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use test::{Test, TestArgs};

pub(super) mod ceiling;
mod compare;
mod guard;
mod model;
mod ops;
mod profile;
mod report;
mod save;
mod shapes;
mod test;
mod train;

/// Measure tokens per second of a model, or bytes per second of every operation.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  fairy2i-gpu bench                                   the built-in model
  fairy2i-gpu bench -m packed-folder -p 512 -n 128 -o json
  fairy2i-gpu bench --shape llama2-7b --stages 2      synthetic weights of that shape, no file needed
  fairy2i-gpu bench --shape llama2-7b -p 512 -n 128 -pg 512,128 -d 0,3072
  fairy2i-gpu bench --shape llama2-7b --method full --activations float      the same shape in f16
  fairy2i-gpu bench --shape qwen3-0.6b,qwen3-8b       several shapes in one table; --shape all: 23 that people have
  fairy2i-gpu bench --guard before.json               fail if slower than `bench -o json` was then
  fairy2i-gpu bench --compare activations=16 activations=8
                                                      which of the two is faster, and by how much
  fairy2i-gpu bench --profile -p 0 -n 32              which ops a token's time goes to
  fairy2i-gpu bench ops --op phase_gemv               one kernel against the device's ceilings
  mpirun -n 2 fairy2i-gpu bench train --shape tinyllama-1.1b --batch-tokens 32768 --shard
                                                      steps of two ranks, and where their time goes

Everything is warmed up for 350 ms with the very work to be timed; results are medians, spread is
(largest - smallest) / median. pp64 processes a prompt of 64 tokens, tg32 generates 32 one by one, pp64+tg32 does both,
`@ d4096` with 4096 tokens in the cache before. Shares are of a large copy's bytes per second and of a large dense
matrix product's operations per second, measured in the same run.")]
pub(super) struct Bench {
    /// What to measure
    #[arg(value_enum, default_value = "model")]
    what: What,
    #[command(flatten)]
    pub(super) model: ModelArgs,
    /// Synthetic weights of these shapes: names like llama2-7b or qwen3-8b (an unknown one lists them), `all` of them, or
    /// config.json files
    #[arg(
        long,
        value_name = "SHAPE",
        value_delimiter = ',',
        conflicts_with = "model"
    )]
    shape: Vec<String>,
    /// Write the packed folder FOLDER of the shape, with made-up weights, instead of measuring
    #[arg(long, value_name = "FOLDER", requires = "shape")]
    save_packed: Option<PathBuf>,
    #[command(flatten)]
    tests: TestArgs,
    /// Two settings in turn (A B B A): each a list of options that differ, like "activations=8 stages=1"
    #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with = "save_packed")]
    compare: Option<Vec<String>>,
    /// Print the time of every op per token instead, by the device's own clock where it has one
    #[arg(long, conflicts_with_all = ["save_packed", "compare"])]
    profile: bool,
    #[command(flatten)]
    guard: guard::GuardArgs,
    /// Repetitions, whose median counts
    #[arg(short, long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u64).range(1..))]
    repetitions: u64,
    #[command(flatten)]
    batch: BatchArgs,
    /// How activations enter quantized layers
    #[arg(long, value_enum, default_value = "16")]
    activations: ActivationName,
    #[command(flatten)]
    paths: PathArgs,
    /// How to print
    #[arg(short, long, value_enum, default_value = "md")]
    output: Format,
    /// Of `ops`: only those whose name contains this
    #[arg(long, value_name = "NAME", default_value = "")]
    op: String,
    /// Of `ops`: every test case, not only the most expensive one of each op
    #[arg(long)]
    all: bool,
    /// Of `ops`: shapes of a 7B model also where that takes long; real GPUs are timed with them anyway
    #[arg(long, conflicts_with = "all")]
    large: bool,
    /// Of `train`: texts of a step
    #[arg(long, value_name = "N", default_value_t = 4)]
    micro_batch: usize,
    /// Of `train`: tokens of a text
    #[arg(long, value_name = "N", default_value_t = 2048)]
    seq: usize,
    /// Of `train`: tokens of a step, of all ranks together; without it a micro-batch for each rank
    #[arg(long, value_name = "N")]
    batch_tokens: Option<usize>,
    /// Of `train`: groups of micro-batches whose gradients are added in order; without it one for each rank
    #[arg(long, value_name = "G")]
    groups: Option<usize>,
    /// Of `train`: deal masters and moments to the ranks
    #[arg(long)]
    shard: bool,
    /// Of `train`: keep all activations instead of computing blocks again in the backward pass
    #[arg(long)]
    keep_activations: bool,
    /// Of `train`: bits of AdamW's moments between steps
    #[arg(long, value_enum, value_name = "32|16|8", default_value = "32")]
    moments: Moments,
    /// Of `train`: what the masters of quantized layers are held in between steps
    #[arg(long, value_enum, value_name = "f32|bf16", default_value = "f32")]
    masters: Masters,
    #[command(flatten)]
    recipe: RecipeArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Tokens per second of a model
    Model,
    /// Bytes per second of every operation
    Ops,
    /// Tokens per second of training steps from scratch, of a --shape
    Train,
}

impl Bench {
    /// Measures and prints.
    pub(super) fn run(self) -> Result<()> {
        let progress = std::io::stderr().is_terminal();
        match self.what {
            What::Model => {
                let ranks: Rc<dyn Ranks> = ranks::open()?.into();
                ranks::end(&*ranks, self.model(progress, &ranks))
            }
            What::Train => {
                let ranks = ranks::open()?;
                ranks::end(&*ranks, self.train(&*ranks))
            }
            What::Ops => {
                let device = device::open(&self.device)?;
                let bench = ops::OpsBench {
                    op: self.op,
                    all: self.all,
                    large: self.large || device.is_hardware() && !self.all,
                    format: self.output,
                    progress,
                };
                device::run(&device, bench)
            }
        }
    }

    fn model(&self, progress: bool, ranks: &Rc<dyn Ranks>) -> Result<()> {
        if ranks.size() > 1
            && (self.save_packed.is_some() || self.profile || self.compare.is_some())
        {
            return Err(Error::usage(
                "several ranks measure models and training, and nothing else",
                "start one, or leave out --profile, --compare and --save-packed",
            ));
        }
        if let Some(folder) = &self.save_packed
            && let Some(shape) = self.one_shape()?
        {
            let config = shapes::shape(shape)?;
            let recipe = self.recipe.recipe(MethodName::Fairy2i, &config)?;
            let bar = out::progress(progress, config.linears().len());
            let file = Some(Path::new(shape)).filter(|path| path.is_file());
            let inputs = Inputs::of(file);
            save::save(folder, &inputs, &config, recipe, &bar)?;
            bar.finish_and_clear();
            return out::print(&format!("{}\n", folder.display()));
        }
        if let Some([a, b]) = self.compare.as_deref() {
            return compare::run(self, [a, b], self.output, progress);
        }
        let tests = self.tests.tests()?;
        if self.profile {
            let bench = profile::ProfileBench {
                subject: self.subject(self.one_shape()?, &tests)?,
                tests,
                repetitions: self.repetitions as usize,
                format: self.output,
                progress,
            };
            return device::run(&device::open_with(&self.device, true)?, bench);
        }
        let all = shapes::names();
        let shapes = match &self.shape[..] {
            [word] if word == "all" => &all,
            shapes => shapes,
        };
        let subjects = match shapes {
            [] => vec![self.subject(None, &tests)?],
            shapes => shapes
                .iter()
                .map(|shape| self.subject(Some(shape), &tests))
                .collect::<Result<_>>()?,
        };
        let bench = ModelBench {
            subjects,
            tests,
            repetitions: self.repetitions as usize,
            format: self.output,
            progress,
            guard: self.guard.open()?,
            ranks: ranks.clone(),
        };
        device::run(&device::open_for(&self.device, &**ranks, false)?, bench)
    }

    /// The only shape, where not more than one makes sense.
    fn one_shape(&self) -> Result<Option<&str>> {
        match &self.shape[..] {
            [] => Ok(None),
            [one] => Ok(Some(one)),
            _ => Err(Error::usage(
                "several shapes are measured one after the other and by nothing else",
                "give one --shape, or leave out --profile, --compare and --save-packed",
            )),
        }
    }

    /// These arguments with those of `setting` in place: words like `activations=8`, each an option without its `--`.
    fn with(&self, setting: &str) -> Result<Self> {
        let words = setting.split_whitespace().map(|word| format!("--{word}"));
        // what the setting does not name stays as it is, so nothing may have a default here
        let command = clap::Command::new("setting").no_binary_name(true);
        let command = Self::augment_args_for_update(command)
            .mut_args(|arg| arg.default_value(Resettable::Reset).env(Resettable::Reset));
        let mut changed = self.clone();
        let matches = command.try_get_matches_from(words);
        let updated = matches.and_then(|m| changed.update_from_arg_matches(&m).map(|()| m));
        updated.map_err(|error| {
            let text = error.to_string();
            let why = text.lines().next().unwrap_or("not understood");
            let why = why.trim_start_matches("error: ");
            Error::usage(
                format!("--compare: setting `{setting}`: {why}"),
                "write options of bench without their dashes, like \"activations=8 ubatch-size=256\"",
            )
        })?;
        Ok(changed)
    }

    /// The shape, or the model these arguments name, with room for `tests`.
    fn subject(&self, shape: Option<&str>, tests: &[Test]) -> Result<Subject> {
        let (name, mut config, weights, recipe) = match shape {
            Some(shape) => {
                let config = shapes::shape(shape)?;
                let recipe = self.recipe.recipe(MethodName::Fairy2i, &config)?;
                (shape.to_owned(), config, None, recipe)
            }
            None => {
                let path = self.model.model.as_deref();
                let mut opened = source::open(path)?;
                let recipe = source::recipe(&opened, &self.recipe)?;
                let allow = self.recipe.allow_nonfinite;
                opened.weights = Box::new(Allowing(opened.weights, allow));
                if opened.recipe.is_some() {
                    opened.weights = Box::new(FirstStages::new(opened.weights, recipe));
                }
                (
                    source::name(path),
                    opened.config,
                    Some(opened.weights),
                    recipe,
                )
            }
        };
        let longest = |length: fn(Test) -> usize| tests.iter().map(|&t| length(t)).max();
        let context = longest(Test::context).unwrap_or(1);
        let prompt = longest(|t| t.prompt.max(t.depth)).unwrap_or(1).max(1);
        let streams = longest(|t| t.streams).unwrap_or(1);
        if weights.is_none() {
            // made-up weights were trained for no context: a test may go beyond the shape's
            config.context = config.context.max(context);
        }
        let subject = Subject {
            name,
            config,
            weights,
            options: LoadOptions {
                recipe,
                activations: self.activations.into(),
                kv: self.paths.kv.into(),
                swa_full: self.paths.swa_full,
                exact: self.paths.exact,
                context,
                batch: prompt.min(self.batch.at_once()).max(streams),
            },
            activations: self.activations,
        };
        subject.check(tests)?;
        Ok(subject)
    }
}

/// Reads a file that a person names, unless it is longer than any of its kind; `hint` says what it should be.
fn read_short(path: &Path, hint: &str) -> Result<Vec<u8>> {
    const LONGEST: u64 = 16 << 20;
    let failed = |error| Error::io(path, error);
    if std::fs::metadata(path).map_err(failed)?.len() > LONGEST {
        return Err(Error::file(path.display().to_string(), "is too long", hint));
    }
    std::fs::read(path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::StageList;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        bench: Bench,
    }

    #[test]
    fn settings_change_what_they_name_and_nothing_else() {
        let given = [
            "bench", "-r", "3", "-p", "8,16", "--stages", "1", "--device", "cpu",
        ];
        let bench = Cli::parse_from(given).bench;
        let changed = bench
            .with("activations=8 batch=32 stages=3")
            .expect("known");
        assert_eq!(changed.activations, ActivationName::Int8);
        assert_eq!((changed.batch.ubatch_size, changed.repetitions), (32, 3));
        assert_eq!(
            (changed.recipe.stages.clone(), bench.recipe.stages.clone()),
            (Some(StageList::from(3)), Some(StageList::from(1)))
        );
        assert_eq!(changed.tests.prompt, [8, 16]);
        assert_eq!(changed.device.device, bench.device.device);
        assert_eq!(
            format!("{:?}", bench.with("").expect("nothing")),
            format!("{bench:?}")
        );
        for bad in ["activations=9", "nonsense", "--stages=1", "stages"] {
            let error = bench.with(bad).expect_err("refused");
            assert!(error.to_string().contains(bad), "{error}");
            assert_eq!(error.exit_code(), 2);
        }
    }
}
