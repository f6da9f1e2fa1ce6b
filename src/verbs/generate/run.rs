//! The loop: prompt in, tokens out, and the time it took.

use crate::backend::{Backend, block_on};
use crate::error::Result;
use crate::files::Tokenizer;
use crate::files::tokenizer::Stream;
use crate::model::{Config, LoadOptions, Model, Sampler, Session, Wants, Weights};
use crate::verbs::args::ActivationName;
use crate::verbs::device::Task;
use crate::verbs::stop::StopFilter;
use crate::verbs::{out, source};
use serde::Serialize;
use std::time::Instant;

/// Seconds a round of decoding should last, after which its text is shown.
const ROUND_SECONDS: f64 = 0.03;
/// Most tokens of a round.
const LONGEST_ROUND: f64 = 16.0;

/// Everything that is known before the device is open.
pub struct Run {
    pub started: Instant,
    pub config: Config,
    pub weights: Box<dyn Weights + Send + Sync>,
    pub tokenizer: Tokenizer,
    pub options: LoadOptions,
    pub sampler: Sampler,
    /// The prompt's text, if it is to be shown before its continuation.
    pub echo: Option<String>,
    pub prompt_ids: Vec<u32>,
    pub new: usize,
    pub stop: Vec<String>,
    pub json: bool,
    pub activations: ActivationName,
    pub model: String,
}

/// Why a text ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Finish {
    /// As many tokens as asked for.
    Length,
    /// The model's end token, which is the last of the ids.
    Eos,
    /// A `--stop` string; the ids go on to the end of the token that completed it.
    Stop,
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
}

/// What came out so far.
struct Text<'t> {
    run: &'t Run,
    stream: Stream<'t>,
    filter: StopFilter,
    ids: Vec<u32>,
    shown: Shown,
}

/// Text that has passed the filter: printed at once, or kept for the JSON object.
struct Shown {
    print: bool,
    text: String,
}

impl Shown {
    fn add(&mut self, piece: &str) -> Result<()> {
        self.text.push_str(piece);
        if !self.print || piece.is_empty() {
            return Ok(());
        }
        out::print(piece)
    }
}

impl Text<'_> {
    /// Takes a token; says whether the text ends with it.
    fn push(&mut self, id: u32) -> Result<Option<Finish>> {
        self.ids.push(id);
        if self.run.config.eos.contains(&id) {
            return Ok(Some(Finish::Eos));
        }
        let piece = self.stream.push(id)?;
        self.shown.add(&self.filter.push(&piece))?;
        if self.filter.stopped() {
            return Ok(Some(Finish::Stop));
        }
        Ok((self.ids.len() == self.run.new).then_some(Finish::Length))
    }

    /// Shows what was held back, and ends the line.
    fn end(mut self) -> Result<(Vec<u32>, String)> {
        let last = self.stream.finish()?;
        self.shown.add(&self.filter.push(&last))?;
        self.shown.add(&self.filter.finish())?;
        if self.shown.print {
            out::print("\n")?;
        }
        Ok((self.ids, self.shown.text))
    }
}

impl Task for Run {
    type Output = ();

    fn run<B: Backend>(self, backend: &B) -> Result<()> {
        let loading = Instant::now();
        let model = self.load(backend)?;
        let mut session = model.session()?;
        block_on(backend, session.prepare(&[self.prompt_ids.len()]))?;
        let load_seconds = loading.elapsed().as_secs_f64();
        let mut answer = block_on(backend, self.generate(session, backend.name()))?;
        answer.stats.load_seconds = load_seconds;
        if self.json {
            return out::json(&answer);
        }
        report(&answer.stats);
        Ok(())
    }
}

impl Run {
    fn load<'b, B: Backend>(&self, backend: &'b B) -> Result<Model<&'b B>> {
        let bar = out::progress(!self.json, self.config.linears().len());
        let mut progress = |name: &str| {
            bar.set_message(name.to_owned());
            bar.inc(1);
        };
        let weights: &dyn Weights = &*self.weights;
        let model = block_on(
            backend,
            Model::load(backend, &self.config, weights, self.options, &mut progress),
        );
        bar.finish_and_clear();
        model
    }

    async fn generate<B: Backend>(
        &self,
        mut session: Session<'_, B>,
        device: String,
    ) -> Result<Answer> {
        let mut sampler = self.sampler.clone();
        let mut text = Text {
            run: self,
            stream: self.tokenizer.stream(&self.prompt_ids)?,
            filter: StopFilter::new(self.stop.clone()),
            ids: Vec::new(),
            shown: Shown {
                print: !self.json,
                text: String::new(),
            },
        };
        if let Some(prompt) = &self.echo {
            out::print(prompt)?;
        }
        let begun = Instant::now();
        sampler.accept(&self.prompt_ids);
        session.feed(&self.prompt_ids).await?;
        let mut first = None;
        let mut finish = Finish::Length;
        if self.new == 0 {
            session.argmax().await?; // so that the prompt's time is its time
        } else {
            let id = sampler.next(&session).await?;
            first.get_or_insert_with(Instant::now);
            finish = self.follow(session, sampler, &mut text, id).await?;
        }
        let ended = Instant::now();
        let (ids, text) = text.end()?;
        let times = [begun, first.unwrap_or(ended), ended];
        Ok(Answer {
            prompt_ids: self.prompt_ids.clone(),
            stats: self.stats(device, finish, ids.len(), times),
            ids,
            text,
        })
    }

    /// Goes on from the first new token, `id`, to the end of the text.
    async fn follow<B: Backend>(
        &self,
        mut session: Session<'_, B>,
        mut sampler: Sampler,
        text: &mut Text<'_>,
        id: u32,
    ) -> Result<Finish> {
        let mut ids = vec![id];
        let mut round = 1;
        loop {
            for &id in &ids {
                if let Some(reason) = text.push(id)? {
                    return Ok(reason);
                }
            }
            let Some(&last) = ids.last() else {
                return Ok(Finish::Length);
            };
            if sampler.wants() != Wants::All {
                let begun = Instant::now();
                let steps = round.min(self.new - text.ids.len());
                ids = sampler.follow(&mut session, last, steps).await?;
                // rounds too short to be seen: what is computed beyond the text's end is little
                let seconds = begun.elapsed().as_secs_f64() / steps as f64;
                round = (ROUND_SECONDS / seconds).clamp(1.0, LONGEST_ROUND) as usize;
            } else {
                session.feed(&[last]).await?;
                ids = vec![sampler.next(&session).await?];
            }
        }
    }

    /// Statistics; `times` are the prompt's ids in hand, the first token, the end.
    fn stats(
        &self,
        device: String,
        finish: Finish,
        generated: usize,
        [begun, first, ended]: [Instant; 3],
    ) -> Stats {
        let seconds = |from: Instant, to: Instant| (to - from).as_secs_f64();
        let later = generated.saturating_sub(1);
        Stats {
            model: self.model.clone(),
            device,
            method: source::describe(&self.options.recipe),
            activations: self.activations.word(),
            seed: self.sampler.how().seed,
            finish,
            prompt_tokens: self.prompt_ids.len(),
            generated_tokens: generated,
            load_seconds: 0.0, // known to the caller
            first_token_seconds: seconds(begun, first),
            startup_to_first_token_seconds: seconds(self.started, first),
            prompt_tokens_per_second: self.prompt_ids.len() as f64 / seconds(begun, first),
            decode_tokens_per_second: (later > 0).then(|| later as f64 / seconds(first, ended)),
        }
    }
}

fn report(stats: &Stats) {
    let decode = match stats.decode_tokens_per_second {
        Some(rate) => format!(", then {rate:.1} tokens/s"),
        None => String::new(),
    };
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
