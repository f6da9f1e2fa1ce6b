//! `generate`: continue a text.

use super::args::{ActivationName, BatchArgs, DeviceArgs, PathArgs, RecipeArgs};
use super::source::{self, ModelArgs};
use super::{device, out, ranks};
use crate::error::{Error, Result};
use crate::generate::{ModelFiles, Options, new_tokens};
use crate::model::{MAX_DRAFTED, Sampler};
use crate::ranks::{Ranks, broadcast_bytes};
use std::rc::Rc;
use std::time::Instant;

mod form;
mod prompt;
mod run;
mod sampling;

pub(super) use self::sampling::{SamplingArgs, random_seed};

/// Continue a text.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fairy2i-gpu generate \"Once upon a time\"
  fairy2i-gpu generate -n 64 --temp 0 -p \"The old captain\"     greedy
  fairy2i-gpu generate -s 7 --stop . --json < prompt.txt      one object: ids, text, statistics
  fairy2i-gpu generate -m llama-folder --stages 2 \"Hello\"       quantize while loading
  fairy2i-gpu generate -m packed-folder --stages 1 \"Hello\"      its first stage only
  fairy2i-gpu generate -m packed-folder --speculate 3 \"Hello\"   its first stage drafts, all stages check
  fairy2i-gpu generate --json-schema person.json \"Alice is 30:\"  an answer that is JSON of a schema
  fairy2i-gpu generate --check --device gpu -n 8 \"Hello\"        compare every operation with the CPU
  mpirun -n 2 fairy2i-gpu generate -m packed-70b \"Hello\"        half of the layers on each of two devices

Tokens are chosen in this order: logit bias, repetition penalty, penalties of presence and frequency, temperature, top-k,
top-p, min-p. So filters see tempered probabilities, as in transformers and vLLM; llama.cpp's default tempers last.

The text goes to standard output, after the prompt if a terminal is there; statistics to standard error.")]
pub(super) struct Generate {
    #[command(flatten)]
    prompt: prompt::PromptArgs,
    #[command(flatten)]
    pub(super) model: ModelArgs,
    /// New tokens; -1 fills the context [default: 128, or what the context leaves]
    #[arg(short, long, visible_alias = "predict", value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(-1..))]
    n_predict: Option<i64>,
    /// Most tokens of prompt and text together [default: the model's context]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    ctx_size: Option<u64>,
    #[command(flatten)]
    batch: BatchArgs,
    /// End the text before this string, however tokens cut it; may be given several times
    #[arg(long, value_name = "STRING")]
    stop: Vec<String>,
    /// How activations enter quantized layers
    #[arg(long, value_enum, default_value = "16")]
    activations: ActivationName,
    /// Draft N tokens with the first stage of the weights, and let all stages check them together: the same text, faster or
    /// not; without penalties and biases
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MAX_DRAFTED as u64))]
    speculate: Option<u64>,
    /// Draft up to N tokens from the text itself, wherever its last few tokens stood before, and check them together: the same
    /// text, faster where it repeats itself; for the same ways of choosing
    #[arg(long, value_name = "N", conflicts_with = "speculate", value_parser = clap::value_parser!(u64).range(1..=MAX_DRAFTED as u64))]
    lookup: Option<u64>,
    #[command(flatten)]
    paths: PathArgs,
    #[command(flatten)]
    form: form::FormArgs,
    /// Print one JSON object when done: prompt_ids, ids (the new ones), text (new), stats
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    recipe: RecipeArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

impl Generate {
    /// Generates and prints; `started` is when the program did. Ranks have a part of the layers each, and choose alike.
    pub(super) fn run(self, started: Instant) -> Result<()> {
        let ranks: Rc<dyn Ranks> = ranks::open()?.into();
        ranks::end(&*ranks, self.run_among(started, ranks.clone()))
    }

    /// The prompt, and what random numbers follow from: of the first rank, which has the standard input.
    fn prompt_and_seed(&self, ranks: &dyn Ranks, seed: u64) -> Result<(String, u64)> {
        let bytes = match ranks.rank() {
            0 => [&seed.to_le_bytes(), self.prompt.read()?.as_bytes()].concat(),
            _ => Vec::new(),
        };
        let bytes = broadcast_bytes(ranks, bytes)?;
        let (seed, prompt) = bytes.split_at(size_of::<u64>());
        let seed = seed.try_into().map_or(0, u64::from_le_bytes);
        Ok((String::from_utf8_lossy(prompt).into_owned(), seed))
    }

    fn run_among(self, started: Instant, ranks: Rc<dyn Ranks>) -> Result<()> {
        let mut sampling = self.sampling.sampling();
        let logit_bias = self.sampling.logit_bias()?;
        // What makes no sense is said before anything is loaded.
        Sampler::new(sampling)?.with_bias(&logit_bias)?;
        if self.stop.iter().any(String::is_empty) {
            return Err(Error::usage(
                "--stop is empty",
                "give the string that ends the text",
            ));
        }
        let schema = self.form.read()?;
        let (prompt, seed) = self.prompt_and_seed(&*ranks, sampling.seed)?;
        sampling.seed = seed;
        let opened = source::open(self.model.model.as_deref())?;
        let recipe = source::recipe(&opened, &self.recipe)?;
        let files = ModelFiles::from(opened);
        let prompt_ids = files.encode(prompt.as_str())?;
        let new = self.new_tokens(prompt_ids.len(), files.config().context)?;
        let run = run::Run {
            started,
            options: Options {
                recipe: Some(recipe),
                stages: None,
                draft: self.speculate.map(|_| 1),
                activations: self.activations.into(),
                context: Some(prompt_ids.len() + new),
                batch: prompt_ids
                    .len()
                    .min(self.batch.at_once())
                    .max(self.lookup.map_or(1, |n| n as usize + 1)),
                kv: self.paths.kv.into(),
                swa_full: self.paths.swa_full,
                exact: self.paths.exact,
                allow_nonfinite: self.recipe.allow_nonfinite,
            },
            generate: crate::Generate {
                max_tokens: Some(new),
                stop: self.stop,
                sampling,
                logit_bias,
                grammar: form::grammar(schema.as_ref(), &files)?,
                speculate: self.speculate.map_or(0, |n| n as usize),
                lookup: self.lookup.map_or(0, |n| n as usize),
            },
            files,
            echo: (!self.json && out::on_terminal()).then_some(prompt),
            prompt_ids,
            json: self.json,
            activations: self.activations,
            model: source::name(self.model.model.as_deref()),
            ranks: ranks.clone(),
        };
        let device = device::open_for(&self.device, &*ranks, false)?;
        run.run(&device)?;
        if ranks.rank() == 0 {
            device::report_check(&device);
        }
        Ok(())
    }

    /// How many tokens may be made after a prompt of `prompt` tokens.
    fn new_tokens(&self, prompt: usize, model_context: usize) -> Result<usize> {
        let context = self.ctx_size.map_or(model_context, |c| c as usize);
        let context = context.min(model_context);
        let asked = self.n_predict.map(|n| match n {
            0.. => n as usize,
            _ => context.saturating_sub(prompt).max(1),
        });
        new_tokens(prompt, context, asked)
    }
}
