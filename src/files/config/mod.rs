//! `config.json` of Hugging Face: read into [`Config`] and, if the folder is packed, a [`Recipe`]; and written.
//!
//! Everything a field could ask for that we would silently compute differently is rejected, and the message names
//! the field. Missing fields get the defaults of transformers.

mod layers;
mod recipe;
mod rope;
mod variants;
mod write;

pub use self::recipe::{VERSION, quantization_config};
pub use write::{plain, to_json};

use self::rope::plain_rope;
use super::json::{Strict, show};
use crate::error::{Error, Result};
use crate::model::blueprint::{Blueprint, FAMILIES};
use crate::model::{Config, Recipe};
use serde_json::{Map, Value};

/// A JSON object and where it is, for messages.
struct Fields<'a> {
    file: &'a str,
    /// Fields this object lies in, with a dot behind each.
    prefix: String,
    map: &'a Map<String, Value>,
}

/// Reads `config.json` (`bytes`), and the end tokens of `generation_config.json` if there is one.
///
/// # Errors
/// [`Error::File`] for what is not JSON, [`Error::Config`] naming the field otherwise.
pub fn parse(
    file: &str,
    bytes: &[u8],
    generation: Option<(&str, &[u8])>,
) -> Result<(Config, Option<Recipe>)> {
    let map = object(file, bytes)?;
    let fields = Fields {
        file,
        prefix: String::new(),
        map: &map,
    };
    let mut config = fields.config()?;
    if let Some((file, bytes)) = generation {
        let map = object(file, bytes)?;
        let fields = Fields {
            file,
            prefix: String::new(),
            map: &map,
        };
        for id in fields
            .ids("eos_token_id", config.vocab)?
            .unwrap_or_default()
        {
            if !config.eos.contains(&id) {
                config.eos.push(id);
            }
        }
    }
    let recipe = fields.recipe(config.layers)?;
    Ok((config, recipe))
}

/// The JSON object in `bytes`; of the configuration of a model that reads more than text that of the part that reads text.
pub(super) fn object(file: &str, bytes: &[u8]) -> Result<Map<String, Value>> {
    let bad = |what: String| Error::file(file, what, "it must be one JSON object");
    match serde_json::from_slice::<Strict>(bytes) {
        Ok(Strict(Value::Object(map))) => Ok(text_part(map)),
        Ok(_) => Err(bad("is not an object".to_owned())),
        Err(e) => Err(bad(format!("is not valid JSON: {}", show(&e.to_string())))),
    }
}

/// The configuration under `text_config`, where that is of a known family and what lies around it is not.
fn text_part(map: Map<String, Value>) -> Map<String, Value> {
    let known = |kind: &str| {
        let mut names = FAMILIES.iter().flat_map(|family| family.architectures);
        names.find(|(_, model_type)| *model_type == kind)
    };
    let kind = |map: &Map<String, Value>| {
        map.get("model_type")
            .and_then(Value::as_str)
            .and_then(known)
    };
    let inner = map.get("text_config").and_then(Value::as_object);
    let (None, Some(inner)) = (kind(&map), inner) else {
        return map;
    };
    let Some((architecture, _)) = kind(inner) else {
        return map;
    };
    let mut text = inner.clone();
    text.insert("architectures".to_owned(), vec![*architecture].into());
    // What holds for the whole model stands outside.
    for field in [
        "tie_word_embeddings",
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
        "torch_dtype",
        "dtype",
        "quantization_config",
        "transformers_version",
    ] {
        if let Some(value) = map.get(field).filter(|_| !text.contains_key(field)) {
            text.insert(field.to_owned(), value.clone());
        }
    }
    text
}

impl<'a> Fields<'a> {
    /// The error that names `field`.
    fn error(&self, field: &str, what: impl Into<String>) -> Error {
        Error::Config {
            file: self.file.to_owned(),
            field: format!("{}{field}", self.prefix),
            what: what.into(),
        }
    }

    /// The value of `field`; null counts as absent, as it does in transformers.
    fn get(&self, field: &str) -> Option<&'a Value> {
        self.map.get(field).filter(|v| !v.is_null())
    }

    /// The object in `field`.
    fn inner(&self, field: &str) -> Result<Option<Fields<'a>>> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Fields {
                file: self.file,
                prefix: format!("{}{field}.", self.prefix),
                map,
            })),
            Some(v) => Err(self.error(field, format!("{} is not an object", brief(v)))),
        }
    }

    /// An integer from 1 to `most`.
    fn size(&self, field: &str, default: Option<usize>, most: usize) -> Result<usize> {
        let Some(value) = self.get(field) else {
            return default.ok_or_else(|| self.error(field, "is missing"));
        };
        let size = value.as_u64().and_then(|n| usize::try_from(n).ok());
        size.filter(|n| (1..=most).contains(n)).ok_or_else(|| {
            self.error(
                field,
                format!("{} is not an integer from 1 to {most}", brief(value)),
            )
        })
    }

    /// A finite number above 0.
    fn positive(&self, field: &str, default: Option<f64>) -> Result<f64> {
        let Some(value) = self.get(field) else {
            return default.ok_or_else(|| self.error(field, "is missing"));
        };
        let number = value.as_f64().filter(|n| n.is_finite() && *n > 0.0);
        number.ok_or_else(|| self.error(field, format!("{} is not a number above 0", brief(value))))
    }

    /// A switch.
    fn flag(&self, field: &str, default: bool) -> Result<bool> {
        match self.get(field) {
            None => Ok(default),
            Some(Value::Bool(b)) => Ok(*b),
            Some(v) => Err(self.error(field, format!("{} is not true or false", brief(v)))),
        }
    }

    /// A text.
    fn text(&self, field: &str) -> Result<Option<&'a str>> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::String(s)) => Ok(Some(s)),
            Some(v) => Err(self.error(field, format!("{} is not a string", brief(v)))),
        }
    }

    /// A token id or a list of them; `None` if the field is absent, an empty list if it is null.
    fn ids(&self, field: &str, vocab: usize) -> Result<Option<Vec<u32>>> {
        let id = |v: &Value| {
            let id = v.as_u64().filter(|&id| id < vocab as u64);
            id.map(|id| id as u32).ok_or_else(|| {
                self.error(
                    field,
                    format!("{} is not a token below vocab_size {vocab}", brief(v)),
                )
            })
        };
        match self.map.get(field) {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(Vec::new())),
            Some(Value::Array(all)) => all.iter().map(id).collect::<Result<_>>().map(Some),
            Some(v) => Ok(Some(vec![id(v)?])),
        }
    }

    fn config(&self) -> Result<Config> {
        let (architecture, family) = self.architecture()?;
        self.refuse_variants(&architecture, family)?;
        let (reals, usual) = (family.reals(), &family.fields);
        let size = |field: &str| {
            usual
                .sizes
                .iter()
                .find(|size| size.0 == field)
                .map(|size| size.1)
        };
        let vocab = self.size("vocab_size", size("vocab_size"), 1 << 24)?;
        let hidden = self.size("hidden_size", None, 1 << 20)?;
        let heads = self.size("num_attention_heads", size("num_attention_heads"), 1 << 16)?;
        let usual_kv = size("num_key_value_heads").unwrap_or(heads);
        let kv_heads = self.size("num_key_value_heads", Some(usual_kv), 1 << 16)?;
        if heads % kv_heads != 0 {
            let what = format!("{kv_heads} does not divide num_attention_heads {heads}");
            return Err(self.error("num_key_value_heads", what));
        }
        let norm_eps = self.positive(usual.norm_eps, Some(family.norm_eps))? as f32;
        if !norm_eps.is_normal() {
            return Err(self.error(usual.norm_eps, "is outside the range of 32-bit floats"));
        }
        let layers = self.size("num_hidden_layers", None, 1 << 12)?;
        let head_dim = self.head_dim(hidden, heads, usual.head_dim)?;
        let context = self.size("max_position_embeddings", Some(usual.context), 1 << 30)?;
        let [rope, local] = self.ropes(family, head_dim, context)?;
        let mut variant = self.variant(family, [hidden, head_dim, layers], context)?;
        variant.local_rope = local;
        let config = Config {
            architecture,
            vocab,
            hidden: reals * hidden,
            intermediate: reals * self.size("intermediate_size", None, 1 << 22)?,
            layers,
            heads,
            kv_heads,
            head_dim: reals * head_dim,
            context,
            rope: rope.unwrap_or_else(|| plain_rope(usual.theta)),
            norm_eps,
            tied: self.flag("tie_word_embeddings", usual.tied)?,
            bos: self.bos(vocab)?,
            eos: match self.ids("eos_token_id", vocab)? {
                None if vocab > 2 => vec![2],
                ids => ids.unwrap_or_default(),
            },
            variant,
        };
        self.refuse_absurd(&config)?;
        Ok(config)
    }

    /// Hugging Face's name of what it is, and its family.
    fn architecture(&self) -> Result<(String, &'static Blueprint)> {
        let known = || {
            let all = FAMILIES.iter();
            all.flat_map(|family| family.architectures.iter().map(|names| (*family, names)))
        };
        let can = || {
            let names: Vec<_> = known()
                .map(|(_, (architecture, _))| *architecture)
                .collect();
            format!("is not supported; {} are", names.join(" and "))
        };
        let kind = self.text("model_type")?;
        let named = match self.get("architectures") {
            None => None,
            Some(Value::Array(all)) if all.is_empty() => None,
            Some(Value::Array(all)) if all.len() == 1 => Some(&all[0]),
            Some(v) => Some(v),
        };
        let by_name = |name: &Value| known().find(|(_, (a, _))| Some(*a) == name.as_str());
        let by_kind = |kind: &str| known().find(|(_, (_, k))| *k == kind);
        let found = match (named, kind) {
            (Some(name), kind) => by_name(name)
                // iFairy's code comes with its models, whatever they call its class.
                .or_else(|| by_kind(kind?).filter(|found| found.0.complex))
                .ok_or_else(|| self.error("architectures", format!("{} {}", brief(name), can())))?,
            (None, Some(kind)) => by_kind(kind)
                .ok_or_else(|| self.error("model_type", format!("`{}` {}", show(kind), can())))?,
            (None, None) => return Err(self.error("architectures", "is missing")),
        };
        let (family, (name, _)) = found;
        let same = |kind: &str| by_kind(kind).is_some_and(|named| std::ptr::eq(named.0, family));
        if let Some(kind) = kind.filter(|kind| !same(kind)) {
            let what = match by_kind(kind) {
                None => can(),
                Some(_) => format!("is not that of a {name}"),
            };
            return Err(self.error("model_type", format!("`{}` {what}", show(kind))));
        }
        Ok((name.to_string(), family))
    }

    /// Values of a head; `usual` where the field is missing, if the family has a usual number.
    fn head_dim(&self, hidden: usize, heads: usize, usual: Option<usize>) -> Result<usize> {
        const ODD: &str = "is odd, but rotary embeddings turn pairs of values";
        if !self.map.contains_key("head_dim")
            && let Some(usual) = usual
        {
            return Ok(usual);
        }
        if self.get("head_dim").is_some() {
            let dim = self.size("head_dim", None, 1 << 14)?;
            if !dim.is_multiple_of(2) {
                return Err(self.error("head_dim", format!("{dim} {ODD}")));
            }
            return Ok(dim);
        }
        if !hidden.is_multiple_of(heads) {
            let what = format!("{heads} does not divide hidden_size {hidden}");
            return Err(self.error("num_attention_heads", what));
        }
        let dim = hidden / heads;
        if !dim.is_multiple_of(2) {
            let what = format!("{heads} makes heads of {dim} values, which {ODD}");
            return Err(self.error("num_attention_heads", what));
        }
        Ok(dim)
    }

    fn bos(&self, vocab: usize) -> Result<Option<u32>> {
        match self.ids("bos_token_id", vocab)? {
            None => Ok((vocab > 1).then_some(1)),
            Some(ids) if ids.len() > 1 => {
                Err(self.error("bos_token_id", "is a list of several tokens"))
            }
            Some(ids) => Ok(ids.first().copied()),
        }
    }

    /// No size computed later may overflow: all weights as f32 have to be addressable. Where addresses have 32 bits, which is
    /// less than a device may have room for, every matrix has to be, and the weights counted.
    fn refuse_absurd(&self, c: &Config) -> Result<()> {
        let wide = |a: usize, b: usize| a as u128 * b as u128;
        let q = wide(c.heads, c.head_dim);
        if q > 1 << 22 {
            let what = format!("{} heads of {} values are absurd", c.heads, c.head_dim);
            return Err(self.error("num_attention_heads", what));
        }
        let stacks = c.blueprint().stacks.iter();
        let weights = stacks.map(|stack| wide((stack.inputs)(c), stack.outputs(c)));
        let (block, embed) = (weights.clone().sum::<u128>(), wide(c.vocab, c.hidden));
        let (all, largest) = (
            block * c.layers as u128 + 2 * embed,
            weights.fold(embed, u128::max),
        );
        let fits = match usize::BITS {
            64.. => all * 8 <= isize::MAX as u128,
            _ => all <= usize::MAX as u128 && largest * 4 <= isize::MAX as u128,
        };
        if !fits {
            let what = format!(
                "{} makes {all} weights, more than can be addressed",
                c.hidden
            );
            return Err(self.error("hidden_size", what));
        }
        Ok(())
    }
}

/// A value, short enough for a message.
fn brief(value: &Value) -> String {
    show(&value.to_string())
}
