//! `bench`: how fast, and how far from what the device could do.

use super::args::{ActivationName, DeviceArgs, MethodName, RecipeArgs};
use super::device;
use super::source::{self, ModelArgs};
use crate::error::{Error, Result};
use crate::model::LoadOptions;
use clap::ValueEnum;
use model::{ModelBench, Test};
use report::Format;
use std::io::IsTerminal;

mod model;
mod ops;
mod report;
mod shapes;
mod timing;

/// Measure tokens per second of a model, or bytes per second of every operation.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fairy2i-gpu bench                                   the built-in model
  fairy2i-gpu bench -m packed-folder -p 512 -n 128 -o json
  fairy2i-gpu bench --shape llama2-7b --stages 2      synthetic weights of that shape, no file needed
  fairy2i-gpu bench ops --op phase_gemv               one kernel against the copy bandwidth

Everything is warmed up for 350 ms with the very work to be timed; results are medians, spread is
(largest - smallest) / median. pp64 processes 64 tokens at once, tg32 generates 32 one by one, both from an
empty context.")]
pub struct Bench {
    /// What to measure
    #[arg(value_enum, default_value = "model")]
    what: What,
    #[command(flatten)]
    model: ModelArgs,
    /// Synthetic weights of this shape: llama2-7b, llama3-8b, tinyllama-1.1b or a config.json
    #[arg(long, value_name = "SHAPE", conflicts_with = "model")]
    shape: Option<String>,
    /// Prompt lengths (0: none)
    #[arg(
        short,
        long,
        value_name = "N,..",
        value_delimiter = ',',
        default_value = "64"
    )]
    prompt: Vec<usize>,
    /// Numbers of tokens to generate (0: none)
    #[arg(
        short,
        long,
        value_name = "N,..",
        value_delimiter = ',',
        default_value = "32"
    )]
    n_gen: Vec<usize>,
    /// Repetitions, whose median counts
    #[arg(short, long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u64).range(1..))]
    repetitions: u64,
    /// Most tokens of a prompt processed at once
    #[arg(short, long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..))]
    batch_size: u64,
    /// How activations enter quantized layers
    #[arg(long, value_enum, default_value = "16")]
    activations: ActivationName,
    /// How to print
    #[arg(short, long, value_enum, default_value = "md")]
    output: Format,
    /// Of `ops`: only those whose name contains this
    #[arg(long, value_name = "NAME", default_value = "")]
    op: String,
    /// Of `ops`: every test case, not only the most expensive one of each op
    #[arg(long)]
    all: bool,
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
}

impl Bench {
    /// Measures and prints.
    pub fn run(self) -> Result<()> {
        let progress = std::io::stderr().is_terminal();
        match self.what {
            What::Model => self.model(progress),
            What::Ops => device::run_on(
                &self.device,
                ops::OpsBench {
                    op: self.op,
                    all: self.all,
                    format: self.output,
                    progress,
                },
            ),
        }
    }

    fn model(self, progress: bool) -> Result<()> {
        let tests = self.tests();
        let Some(longest) = tests.iter().map(|t| t.tokens()).max() else {
            return Err(Error::usage(
                "there is nothing to measure",
                "give -p or -n above 0",
            ));
        };
        let (name, config, weights, recipe) = match &self.shape {
            Some(shape) => {
                let recipe = self.recipe.recipe(MethodName::Fairy2i)?;
                (shape.clone(), shapes::shape(shape)?, None, recipe)
            }
            None => {
                let path = self.model.model.as_deref();
                let opened = source::open(path)?;
                let recipe = source::recipe(&opened, &self.recipe)?;
                let weights = source::allowing(opened.weights, self.recipe.allow_nonfinite);
                (source::name(path), opened.config, Some(weights), recipe)
            }
        };
        if longest > config.context {
            return Err(Error::Context {
                prompt: 0,
                new: longest,
                context: config.context,
            });
        }
        let options = LoadOptions {
            recipe,
            activations: self.activations.into(),
            context: longest,
            batch: longest.min(self.batch_size as usize),
        };
        let bench = ModelBench {
            name,
            config,
            weights,
            options,
            activations: self.activations,
            tests,
            repetitions: self.repetitions as usize,
            format: self.output,
            progress,
        };
        device::run_on(&self.device, bench)
    }

    fn tests(&self) -> Vec<Test> {
        let prompts = self.prompt.iter().map(|&n| Test::Prompt(n));
        let generations = self.n_gen.iter().map(|&n| Test::Generate(n));
        let all = prompts.chain(generations);
        all.filter(|t| t.tokens() > 0).collect()
    }
}
