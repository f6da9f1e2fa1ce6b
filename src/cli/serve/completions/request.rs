//! What a completion is asked for.

use crate::cli::serve::common::{Bounds, Common};
use crate::cli::serve::error::{Answered, ApiError};
use crate::cli::serve::fields::{Fields, ids, shown};
use crate::cli::serve::{common, limits};
use crate::generate::Prompt;
use crate::generate::scheduler::MAX_LOGPROBS;
use serde_json::{Map, Value};

/// New tokens where nobody says how many.
pub(super) const DEFAULT_NEW: usize = 16;

/// A request to `/v1/completions`.
#[derive(Debug, Clone)]
pub(super) struct CompletionRequest {
    pub prompts: Vec<Prompt>,
    pub common: Common,
    /// Whether the answer begins with the prompt.
    pub echo: bool,
    pub logprobs: Option<usize>,
}

impl CompletionRequest {
    /// Reads a request for a model of these bounds.
    ///
    /// # Errors
    /// 400 with the name of the field that makes no sense or is not supported.
    pub(super) fn read(object: &Map<String, Value>, bounds: &Bounds) -> Answered<Self> {
        let fields = Fields::new(object);
        fields.refuse("suffix", |suffix| suffix == "")?;
        fields.refuse("response_format", |value| value["type"] == "text")?;
        fields.refuse("tools", |value| *value == Value::Array(Vec::new()))?;
        let common = Common::read(&fields, bounds, &["max_tokens", "n_predict"])?;
        if let Some(best) = fields.integer("best_of", 1..=limits::CHOICES as i64)?
            && best as usize != common.n
        {
            let what = format!("is {best}; leave it out, or give what `n` is, {}", common.n);
            return Err(fields.wrong("best_of", what));
        }
        let prompts = prompts(&fields, bounds.vocab)?;
        let choices = prompts.len().saturating_mul(common.n);
        if choices > bounds.choices {
            let what = format!(
                "asks for {choices} choices, {} prompts times {}; this server takes {} together",
                prompts.len(),
                common.n,
                bounds.choices
            );
            return Err(fields.wrong(if common.n > 1 { "n" } else { "prompt" }, what));
        }
        Ok(Self {
            prompts,
            common,
            echo: fields.boolean("echo")?.unwrap_or(false),
            logprobs: fields.count("logprobs", MAX_LOGPROBS)?,
        })
    }

    /// New tokens of a choice of a prompt of `prompt` tokens.
    ///
    /// # Errors
    /// 400 where they do not fit.
    pub(super) fn new_tokens(&self, prompt: usize, context: usize) -> Answered<usize> {
        let asked = self.common.max_tokens;
        common::new_tokens(prompt, asked, Some(DEFAULT_NEW), context)
    }
}

/// A prompt as a string or as token ids, or a list of those.
fn prompts(fields: &Fields<'_>, vocab: usize) -> Answered<Vec<Prompt>> {
    const WANTED: &str = "give a string, token ids, or a list of those";
    let one = |name: &str, value: &Value| match value {
        Value::String(text) => Ok(Prompt::Text(text.clone())),
        Value::Array(list) if !list.is_empty() => ids(name, list, vocab).map(Prompt::Ids),
        other => Err(ApiError::field(
            name,
            format!("is {}; {WANTED}", shown(other)),
        )),
    };
    match fields.get("prompt") {
        None => Err(fields.wrong("prompt", format!("is missing; {WANTED}"))),
        Some(Value::Array(list)) if list.iter().any(|v| v.is_string() || v.is_array()) => {
            let numbered = list.iter().enumerate();
            numbered
                .map(|(i, value)| one(&format!("prompt[{i}]"), value))
                .collect()
        }
        Some(value) => Ok(vec![one("prompt", value)?]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const BOUNDS: Bounds = Bounds {
        vocab: 100,
        context: 64,
        choices: 8,
    };

    fn read(value: Value) -> Answered<CompletionRequest> {
        CompletionRequest::read(value.as_object().expect("an object"), &BOUNDS)
    }

    fn good(value: Value) -> CompletionRequest {
        read(value).expect("a good request")
    }

    #[test]
    fn defaults_are_openais() {
        let request =
            good(json!({"prompt": "a", "unknown": [1], "user": "x", "temperature": null}));
        let sampling = request.common.sampling;
        assert_eq!((sampling.temperature, sampling.top_p), (1.0, 1.0));
        assert_eq!((sampling.top_k, sampling.min_p), (0, 0.0));
        assert_eq!(sampling.repetition_penalty, 1.0);
        assert_eq!((request.common.n, request.common.stream), (1, false));
        assert_eq!((request.logprobs, request.echo), (None, false));
        assert_eq!(request.new_tokens(4, 64), Ok(16));
        assert_eq!(request.new_tokens(48, 64), Ok(16));
        let error = request.new_tokens(49, 64).expect_err("does not fit").json();
        assert_eq!(error["error"]["code"], "context_length_exceeded");
        assert!(request.new_tokens(65, 64).is_err());
    }

    #[test]
    fn prompts_have_four_forms() {
        let prompts = |value: Value| good(json!({"prompt": value})).prompts;
        let text = |t: &str| Prompt::Text(t.to_owned());
        assert_eq!(prompts(json!("ab")), [text("ab")]);
        assert_eq!(prompts(json!("")), [text("")]);
        assert_eq!(prompts(json!([1, 2])), [Prompt::Ids(vec![1, 2])]);
        assert_eq!(prompts(json!(["a", "b"])), [text("a"), text("b")]);
        let both = [Prompt::Ids(vec![1]), Prompt::Ids(vec![2, 3])];
        assert_eq!(prompts(json!([[1], [2, 3]])), both);
        for bad in [
            json!(null),
            json!(3),
            json!([]),
            json!([[]]),
            json!([[1], 2]),
            json!([1, "a"]),
            json!([[[1]]]),
        ] {
            let error = read(json!({"prompt": bad})).expect_err("refused").json();
            let param = error["error"]["param"].as_str().expect("a field");
            assert!(param.starts_with("prompt"), "{error}");
        }
    }

    #[test]
    fn fields_out_of_their_range_are_refused_by_name() {
        for (name, value) in [
            ("temperature", json!(-0.1)),
            ("temperature", json!(2.1)),
            ("temperature", json!("hot")),
            ("top_p", json!(1.1)),
            ("top_k", json!(-2)),
            ("min_p", json!(-1)),
            ("presence_penalty", json!(2.5)),
            ("frequency_penalty", json!(-2.5)),
            ("repetition_penalty", json!(0)),
            ("repeat_penalty", json!(1e300)),
            ("seed", json!(0.5)),
            ("n", json!(0)),
            ("n", json!(1e300)),
            ("n", json!(9)),
            ("n", json!(129)),
            ("max_tokens", json!(-1)),
            ("max_tokens", json!(1e99)),
            ("logprobs", json!(21)),
            ("logprobs", json!(true)),
            ("stop", json!("")),
            ("stop", json!([1])),
            ("stop", json!(vec!["a"; 17])),
            ("stop", json!("a".repeat(1025))),
            ("logit_bias", json!({"100": 1})),
            ("logit_bias", json!({"x": 1})),
            ("logit_bias", json!({"1": 101})),
            ("logit_bias", json!([1])),
            ("stream", json!(1)),
            ("stream_options", json!({})),
            ("best_of", json!(2)),
            ("suffix", json!("b")),
            ("echo", json!("yes")),
            ("model", json!(7)),
            ("mirostat", json!(1)),
            ("typical_p", json!(0.9)),
            ("grammar", json!("root ::= a")),
        ] {
            let error = read(json!({"prompt": "a", name: value}))
                .expect_err(name)
                .json();
            let param = error["error"]["param"].as_str().expect("a field");
            assert!(param.starts_with(name), "{error}");
            assert!(
                error["error"]["message"]
                    .as_str()
                    .expect("text")
                    .contains(name)
            );
        }
    }

    #[test]
    fn values_that_change_nothing_are_taken() {
        good(json!({
            "prompt": "a", "best_of": 1, "suffix": "", "mirostat": 0, "typical_p": 1.0, "min_tokens": 0,
            "use_beam_search": false, "stop_token_ids": [], "top_k": -1, "model": "any",
        }));
    }

    #[test]
    fn choices_differ_by_their_seeds() {
        let request = good(json!({"prompt": "a", "n": 3, "seed": -1}));
        let choices = request.common.choices(request.common.request(vec![1], 1));
        assert!(
            choices
                .map(|choice| choice.sampling.seed)
                .eq([u64::MAX, 0, 1])
        );
        let bias = good(json!({"prompt": "a", "logit_bias": {"7": -100, "3": 2, "03": 1}}));
        assert_eq!(bias.common.logit_bias.len(), 2);
    }
}
