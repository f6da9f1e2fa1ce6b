//! What completions and chats are asked for alike.

use super::error::{Answered, ApiError};
use super::fields::{Fields, shown};
use super::limits;
use crate::generate::scheduler::Request;
use crate::model::Sampling;
use serde_json::Value;

/// Numbers that bound a request, of the model that is served.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Tokens of the vocabulary.
    pub vocab: usize,
    /// Tokens of a sequence, prompt included.
    pub context: usize,
    /// Choices of one request.
    pub choices: usize,
}

/// How every choice of a request is made, and how the answer is sent.
#[derive(Debug, Clone)]
pub(super) struct Common {
    pub sampling: Sampling,
    pub logit_bias: Vec<(u32, f32)>,
    pub stop: Vec<String>,
    /// Choices for each prompt.
    pub n: usize,
    pub max_tokens: Option<usize>,
    pub ignore_eos: bool,
    pub reuse_prefix: bool,
    pub stream: bool,
    pub include_usage: bool,
}

/// Fields of OpenAI's and of other servers' interfaces that change an answer in ways that are not there, each with the
/// value that does not.
const UNSUPPORTED: [(&str, Neutral); 31] = [
    ("audio", Neutral::Absent),
    ("bad_words", Neutral::Absent),
    ("dry_multiplier", Neutral::Number(0.0)),
    ("dynatemp_range", Neutral::Number(0.0)),
    ("function_call", Neutral::Absent),
    ("functions", Neutral::Absent),
    ("grammar", Neutral::Absent),
    ("guided_choice", Neutral::Absent),
    ("guided_grammar", Neutral::Absent),
    ("guided_json", Neutral::Absent),
    ("guided_regex", Neutral::Absent),
    ("input_audio", Neutral::Absent),
    ("json_schema", Neutral::Absent),
    ("length_penalty", Neutral::Number(1.0)),
    ("logits_processors", Neutral::Absent),
    ("lora", Neutral::Absent),
    ("min_tokens", Neutral::Number(0.0)),
    ("mirostat", Neutral::Number(0.0)),
    ("n_keep", Neutral::Number(0.0)),
    ("prediction", Neutral::Absent),
    ("prompt_logprobs", Neutral::Absent),
    ("reasoning_effort", Neutral::Absent),
    ("samplers", Neutral::Absent),
    ("stop_token_ids", Neutral::Absent),
    ("structured_outputs", Neutral::Absent),
    ("tfs_z", Neutral::Number(1.0)),
    ("truncate_prompt_tokens", Neutral::Absent),
    ("typical_p", Neutral::Number(1.0)),
    ("use_beam_search", Neutral::False),
    ("web_search_options", Neutral::Absent),
    ("xtc_probability", Neutral::Number(0.0)),
];

/// The value of an unsupported field that changes nothing.
enum Neutral {
    Absent,
    False,
    Number(f64),
}

impl Neutral {
    fn is(&self, value: &Value) -> bool {
        match self {
            Self::Absent => {
                value.as_array().is_some_and(Vec::is_empty)
                    || value.as_str().is_some_and(str::is_empty)
            }
            Self::False => *value == Value::Bool(false),
            Self::Number(number) => value.as_f64() == Some(*number),
        }
    }
}

impl Common {
    /// Reads the fields; `lengths` are the names of the one that bounds the new tokens, the first that is there counts.
    ///
    /// # Errors
    /// 400 with the name of the field.
    pub(super) fn read(fields: &Fields<'_>, bounds: &Bounds, lengths: &[&str]) -> Answered<Self> {
        for (name, neutral) in UNSUPPORTED {
            fields.refuse(name, |value| neutral.is(value))?;
        }
        fields.string("model")?; // one model is served, whatever it is called by
        let n = fields
            .integer("n", 1..=limits::CHOICES as i64)?
            .unwrap_or(1) as usize;
        let stream = fields.boolean("stream")?.unwrap_or(false);
        let max_tokens = lengths
            .iter()
            .find(|name| fields.get(name).is_some())
            .map(|name| fields.count(name, u32::MAX as usize))
            .transpose()?
            .flatten();
        Ok(Self {
            sampling: sampling(fields)?,
            logit_bias: logit_bias(fields, bounds.vocab)?,
            stop: stop(fields)?,
            n,
            max_tokens,
            ignore_eos: fields.boolean("ignore_eos")?.unwrap_or(false),
            reuse_prefix: fields.boolean("cache_prompt")?.unwrap_or(true),
            stream,
            include_usage: include_usage(fields, stream)?,
        })
    }

    /// What the engine is asked for with the first choice of a prompt.
    pub(super) fn request(&self, prompt: Vec<u32>, max_tokens: usize) -> Request {
        Request {
            prompt,
            max_tokens,
            stop: self.stop.clone(),
            sampling: self.sampling,
            logit_bias: self.logit_bias.clone(),
            ignore_eos: self.ignore_eos,
            reuse_prefix: self.reuse_prefix,
            ..Request::default()
        }
    }

    /// What it is asked for with all of them: each has a seed of its own.
    pub(super) fn choices(&self, first: Request) -> impl Iterator<Item = Request> {
        (0..self.n as u64).map(move |index| {
            let mut request = first.clone();
            request.sampling.seed = request.sampling.seed.wrapping_add(index);
            request
        })
    }
}

/// How tokens are chosen: OpenAI's defaults, which filter nothing.
fn sampling(fields: &Fields<'_>) -> Answered<Sampling> {
    // vLLM writes -1 where no tokens are dropped, llama.cpp 0
    let top_k = fields.integer("top_k", -1..=i64::from(u32::MAX))?;
    let penalty = match fields.get("repetition_penalty") {
        Some(_) => "repetition_penalty",
        None => "repeat_penalty",
    };
    let seed = fields.integer("seed", i64::MIN..=i64::MAX)?;
    let penalty_of = |name| Ok(fields.number(name, -2.0..=2.0)?.unwrap_or(0.0));
    Ok(Sampling {
        temperature: fields.number("temperature", 0.0..=2.0)?.unwrap_or(1.0),
        top_k: top_k.map_or(0, |k| k.max(0) as usize),
        top_p: fields.number("top_p", 0.0..=1.0)?.unwrap_or(1.0),
        min_p: fields.number("min_p", 0.0..=1.0)?.unwrap_or(0.0),
        repetition_penalty: fields.number(penalty, 0.01..=100.0)?.unwrap_or(1.0),
        penalty_window: usize::MAX,
        presence_penalty: penalty_of("presence_penalty")?,
        frequency_penalty: penalty_of("frequency_penalty")?,
        seed: seed.map_or_else(
            || u64::from(crate::cli::generate::random_seed()),
            |seed| seed as u64,
        ),
    })
}

fn logit_bias(fields: &Fields<'_>, vocab: usize) -> Answered<Vec<(u32, f32)>> {
    let Some(object) = fields.object("logit_bias")? else {
        return Ok(Vec::new());
    };
    if object.len() > limits::BIASES {
        let what = format!(
            "has {} tokens; give at most {}",
            object.len(),
            limits::BIASES
        );
        return Err(fields.wrong("logit_bias", what));
    }
    let one = |(id, value): (&String, &Value)| {
        let name = || format!("logit_bias.{}", crate::files::show(id));
        let known = id.parse::<u32>().ok().filter(|&id| (id as usize) < vocab);
        let number = value.as_f64().filter(|n| (-100.0..=100.0).contains(n));
        match (known, number) {
            (None, _) => Err(fields.wrong(&name(), format!("is no token; ids are below {vocab}"))),
            (_, None) => {
                let what = format!("is {}; give a number from -100 to 100", shown(value));
                Err(fields.wrong(&name(), what))
            }
            (Some(id), Some(number)) => Ok((id, number as f32)),
        }
    };
    let mut all = object.iter().map(one).collect::<Answered<Vec<_>>>()?;
    all.sort_unstable_by_key(|(id, _)| *id);
    all.dedup_by_key(|(id, _)| *id); // "1" and "01"
    Ok(all)
}

fn stop(fields: &Fields<'_>) -> Answered<Vec<String>> {
    let strings: Vec<&Value> = match fields.get("stop") {
        None => return Ok(Vec::new()),
        Some(Value::Array(list)) => list.iter().collect(),
        Some(value) => vec![value],
    };
    if strings.len() > limits::STOPS {
        let what = format!(
            "has {} strings; give at most {}",
            strings.len(),
            limits::STOPS
        );
        return Err(fields.wrong("stop", what));
    }
    let one = |value: &&Value| match value.as_str() {
        Some(text) if (1..=limits::STOP_BYTES).contains(&text.len()) => Ok(text.to_owned()),
        Some("") => Err(fields.wrong("stop", "is empty; give the string that ends the text")),
        Some(text) => {
            let what = format!(
                "has {} bytes; give at most {}",
                text.len(),
                limits::STOP_BYTES
            );
            Err(fields.wrong("stop", what))
        }
        None => {
            let what = format!("is {}; give a string or a list of strings", shown(value));
            Err(fields.wrong("stop", what))
        }
    };
    strings.iter().map(one).collect()
}

fn include_usage(fields: &Fields<'_>, stream: bool) -> Answered<bool> {
    let Some(value) = fields.get("stream_options") else {
        return Ok(false);
    };
    if !stream {
        return Err(fields.wrong("stream_options", "is for streams; say `stream` as well"));
    }
    let options = Fields::inside(value, "stream_options.")?;
    Ok(options.boolean("include_usage")?.unwrap_or(false))
}

/// How many new tokens a choice of a prompt of `prompt` tokens may have: those that were asked for, or else `default`, or
/// what the context leaves.
///
/// # Errors
/// 400 with the counts where that does not fit.
pub(super) fn new_tokens(
    prompt: usize,
    asked: Option<usize>,
    default: Option<usize>,
    context: usize,
) -> Answered<usize> {
    let room = context.saturating_sub(prompt);
    let new = asked.or(default).unwrap_or(room.max(1));
    match prompt <= context && new <= room {
        true => Ok(new),
        false => {
            let error = crate::Error::Context {
                prompt,
                new,
                context,
            };
            Err(ApiError::library(&error, "max_tokens"))
        }
    }
}
