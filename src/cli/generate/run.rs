//! One prompt from the command line: loaded, continued, printed.

use crate::backend::{Backend, Device};
use crate::cli::args::ActivationName;
use crate::cli::{device, out};
use crate::error::Result;
use crate::generate::{Finish, Generator, Model, ModelFiles, Options};
use crate::model::Pipeline;
use crate::ranks::Ranks;
use serde::Serialize;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Everything that is known before the device is open.
pub(super) struct Run {
    pub started: Instant,
    pub files: ModelFiles,
    pub options: Options,
    pub generate: crate::Generate,
    /// The prompt's text, if it is to be shown before its continuation.
    pub echo: Option<String>,
    pub prompt_ids: Vec<u32>,
    pub json: bool,
    pub activations: ActivationName,
    pub model: String,
    /// Those that have a part of the layers each.
    pub ranks: Rc<dyn Ranks>,
}

#[derive(Serialize)]
struct Answer {
    prompt_ids: Vec<u32>,
    ids: Vec<u32>,
    text: String,
    stats: Stats,
}

#[derive(Serialize)]
struct Stats {
    model: String,
    device: String,
    method: String,
    activations: &'static str,
    seed: u64,
    finish: Finish,
    prompt_tokens: usize,
    generated_tokens: usize,
    /// Reading and quantizing the weights, bringing them to the device, and compiling its kernels.
    load_seconds: f64,
    /// From the prompt's ids to the first new token.
    first_token_seconds: f64,
    /// From the start of the program to the first new token.
    startup_to_first_token_seconds: f64,
    prompt_tokens_per_second: f64,
    /// Of the tokens after the first one; null if there are none.
    decode_tokens_per_second: Option<f64>,
    /// Tokens that were drafted; 0 without `--speculate` and `--lookup`.
    drafted_tokens: usize,
    /// Of those, the ones that the model chose, too.
    accepted_tokens: usize,
}

impl Run {
    /// Loads, generates, and prints, on the rank that leads.
    pub(super) fn run(self, device: &Device) -> Result<()> {
        let (json, generate, started) = (self.json, self.generate.clone(), self.started);
        let leads = self.ranks.rank() == 0;
        let facts = Facts {
            model: self.model.clone(),
            device: device.name(),
            activations: self.activations.word(),
            seed: generate.sampling.seed,
        };
        let (echo, prompt) = (self.echo.clone(), self.prompt_ids.clone());
        let loading = Instant::now();
        let model = self.load(device)?;
        let loaded = loading.elapsed();
        let mut text = model.generate(prompt, generate)?;
        if let Some(prompt) = echo.as_ref().filter(|_| leads) {
            out::print(prompt)?;
        }
        let (shown, first) = show(&mut text, leads && !json)?;
        if !leads {
            return Ok(());
        }
        let stats = facts.stats(
            &model,
            &text,
            [loaded, first.unwrap_or(Instant::now()) - started],
        );
        if json {
            return out::json(&Answer {
                prompt_ids: text.prompt_ids().to_vec(),
                ids: text.ids().to_vec(),
                text: shown,
                stats,
            });
        }
        report(&stats);
        Ok(())
    }

    fn load(self, device: &Device) -> Result<Model> {
        let pipeline = Pipeline::new(&self.ranks, self.files.config())?;
        let show = self.ranks.rank() == 0 && !self.json;
        device::load(self.files, device, self.options, pipeline, show)
    }
}

/// All of the text, printed as it comes if `print`, and when its first token came.
fn show(text: &mut Generator<'_>, print: bool) -> Result<(String, Option<Instant>)> {
    let (mut all, mut first) = (String::new(), None);
    for piece in text {
        let piece = piece?.text;
        first.get_or_insert_with(Instant::now);
        if print && !piece.is_empty() {
            out::print(&piece)?;
        }
        all.push_str(&piece);
    }
    if print {
        out::print("\n")?;
    }
    Ok((all, first))
}

/// What is known of a run before its text.
struct Facts {
    model: String,
    device: String,
    activations: &'static str,
    seed: u64,
}

impl Facts {
    /// Statistics; the durations are those of loading, and from the start of the program to the first token.
    fn stats(self, model: &Model, text: &Generator<'_>, [loaded, startup]: [Duration; 2]) -> Stats {
        let times = text.timings();
        Stats {
            model: self.model,
            device: self.device,
            method: model.recipe().to_string(),
            activations: self.activations,
            seed: self.seed,
            finish: text.finish().unwrap_or(Finish::Length),
            prompt_tokens: times.prompt_tokens,
            generated_tokens: times.new_tokens,
            load_seconds: (loaded + times.prepare).as_secs_f64(),
            first_token_seconds: times.first_token.as_secs_f64(),
            startup_to_first_token_seconds: startup.as_secs_f64(),
            prompt_tokens_per_second: times.prompt_tokens_per_second(),
            decode_tokens_per_second: times.decode_tokens_per_second(),
            drafted_tokens: times.drafted,
            accepted_tokens: times.accepted,
        }
    }
}

fn report(stats: &Stats) {
    let decode = match stats.decode_tokens_per_second {
        Some(rate) => format!(", then {rate:.1} tokens/s"),
        None => String::new(),
    };
    if stats.drafted_tokens > 0 {
        let share = 100.0 * stats.accepted_tokens as f64 / stats.drafted_tokens as f64;
        out::note(&format!(
            "{} tokens drafted, {share:.0} % of them accepted",
            stats.drafted_tokens
        ));
    }
    out::note(&format!(
        "{}: {}, activations {}, seed {}",
        stats.device, stats.method, stats.activations, stats.seed
    ));
    out::note(&format!(
        "loaded in {:.2} s; prompt: {} tokens, {:.1} tokens/s, first token after {:.3} s; {} generated{decode}",
        stats.load_seconds,
        stats.prompt_tokens,
        stats.prompt_tokens_per_second,
        stats.first_token_seconds,
        stats.generated_tokens,
    ));
}
