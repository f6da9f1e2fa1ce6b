//! What a GGUF file of a model says: the other way round of what is read.

mod fairy2i;
mod tables;

pub(super) use fairy2i::stored_name;
pub use fairy2i::{bundle, dense_bytes, fairy2i};

use super::families::{self, Family};
use super::names::{self, Change, Place};
use super::rope::divisors;
use super::types::{BlockType, named};
use super::writer::{Outline, Writer};
use crate::error::{Error, Result};
use crate::files::copy_from::encode;
use crate::files::plan::{self, Planned};
use crate::files::{ModelFolder, Source};
use crate::model::{Config, Dtype, RopeScaling, Variant, finite};

/// The tensor of the divisors of LLaMA 3's rotary scaling.
const FREQS: &str = "rope_freqs.weight";

/// A file of dense tensors: what it says, and where each tensor of the model goes.
pub struct Dense {
    outline: Option<Outline>,
    places: Vec<Written>,
    kind: Dtype,
    freqs: Option<Vec<f32>>,
}

/// A file of dense tensors of `config`, as llama.cpp reads them, with the tokenizer of `source`: matrices of type `kind`,
/// norms and biases of 32 bits.
///
/// # Errors
/// [`Error::Usage`] for families and tokenizers that are not written.
pub fn dense(config: &Config, source: &Source, kind: Dtype) -> Result<Dense> {
    let family = family(config)?;
    let mut outline = Outline::new(family.name, 32);
    sizes(&mut outline, family.name, config, 1);
    let freqs = rope(&mut outline, family.name, config)?;
    tables::tokenizer(&mut outline, source, config)?;
    let mut places = Vec::new();
    for planned in plan::plan(config, None) {
        let place = names::place(&family, config, &planned.name);
        let place = place.filter(|place| place.expert.is_none());
        let place = place.ok_or_else(|| not_written(&format!("tensor `{}`", planned.name)))?;
        let kind = of_shape(&planned.shape, kind);
        outline.tensor(&place.name, &planned.shape, block_type(kind));
        places.push(Written { planned, place });
    }
    if let Some(freqs) = &freqs {
        outline.tensor(FREQS, &[freqs.len()], block_type(Dtype::F32));
    }
    Ok(Dense {
        outline: Some(outline),
        places,
        kind,
        freqs,
    })
}

/// Vectors are small, and llama.cpp adds them in 32 bits.
fn of_shape(shape: &[usize], kind: Dtype) -> Dtype {
    if shape.len() > 1 { kind } else { Dtype::F32 }
}

fn block_type(kind: Dtype) -> BlockType {
    let name = match kind {
        Dtype::F16 => "F16",
        Dtype::BF16 => "BF16",
        Dtype::F32 | Dtype::U32 => "F32",
    };
    let [float, ..] = super::types::USUAL;
    named(name).unwrap_or(float)
}

impl Dense {
    /// What the file says, once.
    pub fn take_outline(&mut self) -> Option<Outline> {
        self.outline.take()
    }

    /// The model's tensors in the order of the file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.places.iter().map(|one| one.planned.name.as_str())
    }

    /// Writes the model's tensor `name`, a matrix of so many `rows` or a vector of as many values.
    ///
    /// # Errors
    /// [`Error::NonFinite`] unless that is allowed, [`Error::Usage`] for values too large for the element type and for
    /// tensors of another model, [`Error::Io`].
    pub fn write(
        &self,
        writer: &mut Writer,
        name: &str,
        values: Vec<f32>,
        allow_nonfinite: bool,
    ) -> Result<()> {
        finite::check_values(name, 0, &values, allow_nonfinite)?;
        let found = self.places.iter().find(|place| place.planned.name == name);
        let found = found.ok_or_else(|| not_written(&format!("tensor `{name}`")))?;
        let values = match found.place.change {
            Change::None => values,
            Change::Shifted => values.into_iter().map(|value| value + 1.0).collect(),
            Change::Paired(head) => {
                let rows = found.planned.shape.first().copied().unwrap_or(1);
                in_pairs(&values, rows, head)
            }
        };
        let kind = of_shape(&found.planned.shape, self.kind);
        writer.put(&found.place.name, &encode(name, 0, &values, kind)?)
    }

    /// Writes what is no tensor of the model: the divisors of its rotary frequencies.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_rest(&self, writer: &mut Writer) -> Result<()> {
        match &self.freqs {
            None => Ok(()),
            Some(freqs) => writer.put(FREQS, &encode(FREQS, 0, freqs, Dtype::F32)?),
        }
    }
}

/// A tensor of the model, and where it goes.
struct Written {
    planned: Planned,
    place: Place,
}

/// The rows of each head with row i of its first half and row i of its second beside each other.
fn in_pairs(values: &[f32], rows: usize, head: usize) -> Vec<f32> {
    let row = values.len() / rows.max(1);
    let mut ordered = Vec::with_capacity(values.len());
    for head in values.chunks((head * row).max(1)) {
        let (first, second) = head.split_at(head.len() / 2);
        for (a, b) in first.chunks(row).zip(second.chunks(row)) {
            ordered.extend(a);
            ordered.extend(b);
        }
    }
    ordered
}

/// The family of a model, if its configuration is nothing but sizes, biases and rotation.
fn family(config: &Config) -> Result<Family> {
    let variant = &config.variant;
    let plain = Variant {
        qkv_bias: variant.qkv_bias,
        output_bias: variant.output_bias,
        mlp_bias: variant.mlp_bias,
        ..Variant::default()
    };
    if *variant != plain {
        let what = format!("a {} with windows or factors", config.architecture);
        return Err(not_written(&what));
    }
    let family = families::written(&config.architecture);
    family.ok_or_else(|| not_written(&format!("a {}", config.architecture)))
}

/// The error about what no GGUF file can be made of.
fn not_written(what: &str) -> Error {
    Error::usage(
        format!("{what} is not written to GGUF files"),
        "write a Hugging Face folder, from which llama.cpp's converter makes one",
    )
}

/// Sizes, `halves` of which are the width of the model.
fn sizes(outline: &mut Outline, name: &str, config: &Config, halves: usize) {
    for (key, size) in [
        ("block_count", config.layers),
        ("context_length", config.context),
        ("embedding_length", config.hidden / halves),
        ("feed_forward_length", config.intermediate / halves),
        ("attention.head_count", config.heads),
        ("attention.head_count_kv", config.kv_heads),
        ("rope.dimension_count", config.head_dim),
        ("vocab_size", config.vocab),
    ] {
        outline.unsigned(&format!("{name}.{key}"), size as u32);
    }
    if halves == 1 {
        for key in ["key_length", "value_length"] {
            outline.unsigned(&format!("{name}.attention.{key}"), config.head_dim as u32);
        }
    }
    let eps = format!("{name}.attention.layer_norm_rms_epsilon");
    outline.float(&eps, config.norm_eps);
    outline.float(&format!("{name}.rope.freq_base"), config.rope.theta as f32);
}

/// How positions are rotated; returns the divisors of LLaMA 3's scaling.
fn rope(outline: &mut Outline, name: &str, config: &Config) -> Result<Option<Vec<f32>>> {
    let key = |key: &str| format!("{name}.rope.scaling.{key}");
    match &config.rope.scaling {
        RopeScaling::None => Ok(None),
        RopeScaling::Linear { factor } => {
            outline.text(&key("type"), "linear");
            outline.float(&key("factor"), *factor as f32);
            Ok(None)
        }
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_context,
        } => {
            let bounds = [low_freq_factor, high_freq_factor].map(|f| original_context / f);
            let (theta, dim) = (config.rope.theta, config.head_dim);
            Ok(Some(divisors(theta, dim, *factor, bounds)))
        }
        RopeScaling::Dynamic { .. } | RopeScaling::Yarn(_) | RopeScaling::LongRope(_) => {
            Err(not_written("this scaling of rotary embeddings"))
        }
    }
}

/// What `files` hold, to be written as packed weights of complex layers.
pub(super) fn packed_only(files: &ModelFolder, what: &str) -> Error {
    Error::usage(
        format!("{} has {what}", files.source.name()),
        "quantize the model with two stages and scales per tensor or per tile of 64 x 64",
    )
}
