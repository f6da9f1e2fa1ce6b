//! Options as JavaScript writes them.

use crate::backend;
use crate::error::{Error, Result, one_line};
use crate::generate::{Generate, Options};
use crate::model::Sampling;
use crate::ops::Features;
use crate::ops::quantize::Activations;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Bytes of one binding that every browser gives.
const LEAST_BINDING: u64 = 128 << 20;

/// The value of a JSON text; `what` it holds, for messages.
pub(super) fn parse<T: DeserializeOwned>(what: &str, json: &str) -> Result<T> {
    serde_json::from_str(json).map_err(|error| {
        let text = one_line(&error.to_string());
        Error::usage(format!("{what}: {text}"), "see the types of the package")
    })
}

/// Which device is opened, and how.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct OpenOptions {
    /// `auto`, `gpu` or `cpu`.
    pub device: String,
    /// Whether every op is compared with the reference.
    pub check: bool,
    /// Whether only what every browser has is used: no features, bindings of 128 MiB.
    pub plain: bool,
}

impl OpenOptions {
    pub(super) fn gpu(&self) -> backend::Options {
        let all = backend::Options::default();
        match self.plain {
            false => all,
            true => backend::Options {
                features: Features::NONE,
                max_binding: Some(LEAST_BINDING),
                ..all
            },
        }
    }
}

/// How a model is loaded.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct LoadOptions {
    /// `int8`, `int16` (the default) or `float`.
    activations: Option<String>,
    context: Option<usize>,
    stages: Option<usize>,
    allow_nonfinite: bool,
}

impl LoadOptions {
    pub(super) fn options(&self) -> Result<Options> {
        let activations = match self.activations.as_deref() {
            None | Some("int16") => Activations::Int16,
            Some("int8") => Activations::Int8,
            Some("float") => Activations::Float,
            Some(other) => {
                return Err(Error::usage(
                    format!("activations are `{other}`"),
                    "choose int8, int16 or float",
                ));
            }
        };
        Ok(Options {
            activations,
            context: self.context,
            stages: self.stages,
            allow_nonfinite: self.allow_nonfinite,
            ..Options::default()
        })
    }
}

/// What a text begins with and how it goes on. What is left out is as in the program.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct TextOptions {
    prompt: Option<String>,
    messages: Option<Vec<Value>>,
    max_tokens: Option<usize>,
    stop: Vec<String>,
    temperature: Option<f32>,
    top_k: Option<usize>,
    top_p: Option<f32>,
    min_p: Option<f32>,
    repetition_penalty: Option<f32>,
    presence_penalty: Option<f32>,
    frequency_penalty: Option<f32>,
    seed: Option<u64>,
}

/// What a text begins with.
pub(super) enum Asked {
    Text(String),
    Messages(Vec<Value>),
}

impl TextOptions {
    pub(super) fn generate(&self) -> Result<Generate> {
        let usual = Sampling::default();
        Ok(Generate {
            max_tokens: self.max_tokens,
            stop: self.stop.clone(),
            sampling: Sampling {
                temperature: self.temperature.unwrap_or(usual.temperature),
                top_k: self.top_k.unwrap_or(usual.top_k),
                top_p: self.top_p.unwrap_or(usual.top_p),
                min_p: self.min_p.unwrap_or(usual.min_p),
                repetition_penalty: self.repetition_penalty.unwrap_or(usual.repetition_penalty),
                presence_penalty: self.presence_penalty.unwrap_or(usual.presence_penalty),
                frequency_penalty: self.frequency_penalty.unwrap_or(usual.frequency_penalty),
                seed: self.seed.unwrap_or(usual.seed),
                ..usual
            },
            ..Generate::default()
        })
    }

    pub(super) fn asked(self) -> Result<Asked> {
        match (self.prompt, self.messages) {
            (Some(text), None) => Ok(Asked::Text(text)),
            (None, Some(messages)) => Ok(Asked::Messages(messages)),
            _ => Err(Error::usage(
                "neither a prompt nor messages, or both",
                "give one of them",
            )),
        }
    }
}
