//! The model that a written folder is made from, and what both writers take over from it.

use super::{Inputs, ModelFolder, Source};
use crate::error::{Error, Result};
use crate::model::{Config, Dtype, Tensor, Weights, finite};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// Files that are copied as they are: the tokenizer, generation settings, and what a license may ask to pass on.
const CARRIED: [&str; 14] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "generation_config.json",
    "LICENSE",
    "LICENSE.txt",
    "LICENSE.md",
    "NOTICE",
    "USE_POLICY.md",
];

/// A model to be written in another form.
#[derive(Clone, Copy)]
pub struct CopyFrom<'a> {
    /// Shapes and constants.
    pub config: &'a Config,
    /// Where tensors that stay dense are taken from.
    pub weights: &'a dyn Weights,
    /// Fields of its `config.json`; without, one is made from `config`.
    pub fields: Option<&'a Map<String, Value>>,
    /// Folder whose tokenizer and other files are copied.
    pub source: Option<&'a Source>,
    /// Whether NaN and infinity may be written.
    pub allow_nonfinite: bool,
}

impl ModelFolder {
    /// This model, to be written in another form.
    pub fn original(&self) -> CopyFrom<'_> {
        CopyFrom {
            config: &self.config,
            weights: &*self.weights,
            fields: Some(&self.fields),
            source: Some(&self.source),
            allow_nonfinite: false,
        }
    }

    /// The files that are copied into what is written from this model, in memory or mapped: they are there to the
    /// end, whatever becomes of the folder. One that cannot be copied is found now.
    ///
    /// # Errors
    /// [`Error::File`] for one that is not a regular file inside the folder, [`Error::Io`].
    pub fn carried(&self) -> Result<Source> {
        let mut files = Vec::new();
        for name in CARRIED {
            if self.source.has(name) {
                files.push((name.to_owned(), self.source.open(name)?));
            }
        }
        Ok(Source::memory(self.source.name(), files))
    }
}

impl CopyFrom<'_> {
    /// `inputs`, and the folder that this model is read from.
    pub(super) fn read_beside(&self, inputs: &Inputs) -> Inputs {
        match self.source.and_then(Source::path) {
            Some(folder) => inputs.clone().with(folder),
            None => inputs.clone(),
        }
    }

    /// Hands every file to be copied to `write`.
    pub(super) fn carry(&self, write: impl Fn(&str, &[u8]) -> Result<()>) -> Result<()> {
        for name in CARRIED {
            if let Some(source) = self.source.filter(|source| source.has(name)) {
                write(name, &source.open(name)?)?;
            }
        }
        Ok(())
    }

    /// A dense tensor that must be there.
    pub(super) fn dense(&self, name: &str) -> Result<Tensor<'_>> {
        self.weights.tensor(name)?.ok_or_else(|| {
            Error::usage(
                format!("the model has no dense tensor `{name}`"),
                "start from a full-precision checkpoint",
            )
        })
    }

    /// The bytes of a stored dense tensor as `dtype`, checked and converted in pieces: an embedding as f32 would be
    /// the largest thing in memory.
    pub(super) fn convert<'t>(
        &self,
        name: &str,
        tensor: &'t Tensor<'_>,
        dtype: Dtype,
    ) -> Result<Cow<'t, [u8]>> {
        const PIECE: usize = 1 << 20;
        finite::check(name, tensor, self.allow_nonfinite)?;
        if tensor.dtype == dtype {
            return Ok(Cow::Borrowed(&tensor.bytes));
        }
        let mut bytes = Vec::new();
        let elements = tensor.elements();
        for start in (0..elements).step_by(PIECE) {
            let values = tensor.to_f32(start..elements.min(start + PIECE));
            bytes.extend(encode(name, start, &values, dtype)?);
        }
        Ok(Cow::Owned(bytes))
    }
}

/// `values`, which begin at element `start` of `name`, as little-endian `dtype`, rounded to nearest even.
///
/// # Errors
/// [`Error::Usage`] for what overflows `dtype`.
pub(super) fn encode(name: &str, start: usize, values: &[f32], dtype: Dtype) -> Result<Vec<u8>> {
    let overflow = |v: &f32| match dtype {
        Dtype::F16 => v.is_finite() && half::f16::from_f32(*v).is_infinite(),
        Dtype::BF16 => v.is_finite() && half::bf16::from_f32(*v).is_infinite(),
        _ => false,
    };
    if let Some(index) = values.iter().position(overflow) {
        let value = values[index];
        return Err(Error::usage(
            format!(
                "tensor `{name}`: element {} is {value}, too large for {dtype:?}",
                start + index
            ),
            "write 32-bit floats, or repair the checkpoint",
        ));
    }
    Ok(match dtype {
        Dtype::F16 => bytes(values, |v| half::f16::from_f32(v).to_le_bytes()),
        Dtype::BF16 => bytes(values, |v| half::bf16::from_f32(v).to_le_bytes()),
        Dtype::F32 | Dtype::U32 => bytes(values, f32::to_le_bytes),
    })
}

fn bytes<const N: usize>(values: &[f32], encode: impl Fn(f32) -> [u8; N]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(values.len() * N);
    for &value in values {
        bytes.extend(encode(value));
    }
    bytes
}
