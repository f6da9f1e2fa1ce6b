//! Rotary embeddings: `rope_theta` and `rope_scaling`, or `rope_parameters` of transformers 5.
//!
//! Every key of these objects has to be understood: one that is not could change every angle, so it is refused by
//! its name, as is whatever two places say differently.

use super::{Fields, brief, show};
use crate::error::Result;
use crate::model::{Rope, RopeScaling};
use serde_json::Value;

/// The context a model was trained with before its positions were stretched.
const ORIGINAL: &str = "original_max_position_embeddings";

/// Base of the frequencies where no field names one.
const THETA: f64 = 10_000.0;

/// Keys that every kind of scaling may have beside its own.
const COMMON: [&str; 6] = [
    "rope_type",
    "type",
    "rope_theta",
    "partial_rotary_factor",
    "attention_factor",
    ORIGINAL,
];

impl Fields<'_> {
    pub(super) fn rope(&self) -> Result<Rope> {
        let mut theta = self.theta()?.map(|theta| ("rope_theta".to_owned(), theta));
        let mut scaling = None;
        for field in ["rope_parameters", "rope_scaling"] {
            let Some(fields) = self.inner(field)?.filter(Fields::says_something) else {
                continue; // transformers reads an empty object as it reads null
            };
            let parsed = fields.scaling(self)?;
            // Where two places say it, believe them only when they agree.
            if scaling.is_some_and(|other| other != parsed) {
                return Err(self.error(field, "contradicts `rope_parameters`"));
            }
            scaling = Some(parsed);
            let Some(inner) = fields.theta()? else {
                continue;
            };
            match &theta {
                Some((other, outer)) if *outer != inner => {
                    let what = format!("{inner} contradicts `{other}` {outer}");
                    return Err(fields.error("rope_theta", what));
                }
                Some(_) => {}
                None => theta = Some((format!("{field}.rope_theta"), inner)),
            }
        }
        Ok(Rope {
            theta: theta.map_or(THETA, |(_, theta)| theta),
            scaling: scaling.unwrap_or(RopeScaling::None),
        })
    }

    fn theta(&self) -> Result<Option<f64>> {
        let there = self.get("rope_theta").is_some();
        there.then(|| self.positive("rope_theta", None)).transpose()
    }

    /// Whether any key has a value.
    fn says_something(&self) -> bool {
        self.map.values().any(|value| !value.is_null())
    }

    /// The kind of scaling; `outer` is the whole configuration.
    fn scaling(&self, outer: &Fields) -> Result<RopeScaling> {
        if let Some((key, _)) = self.map.iter().find(|(_, value)| value.is_object()) {
            let what = "is an object of its own; one set of parameters for all layers is supported";
            return Err(self.error(&show(key), what));
        }
        self.one("partial_rotary_factor", "every value is rotated")?;
        self.one("attention_factor", "attention is not scaled")?;
        let kind = self.kind()?;
        let scaling = match kind {
            "default" => RopeScaling::None,
            "linear" => RopeScaling::Linear {
                factor: self.factor()?,
            },
            "llama3" => self.llama3(outer)?,
            other => {
                let field = match self.get("rope_type") {
                    Some(_) => "rope_type",
                    None => "type",
                };
                let known = "is not supported; default, linear and llama3 are";
                return Err(self.error(field, format!("`{}` {known}", show(other))));
            }
        };
        self.only_known(kind)?;
        Ok(scaling)
    }

    /// The name of the kind, which transformers has called `type` and calls `rope_type`.
    fn kind(&self) -> Result<&str> {
        match (self.text("rope_type")?, self.text("type")?) {
            (Some(new), Some(old)) if new != old => {
                let what = format!("`{}` contradicts `rope_type` `{}`", show(old), show(new));
                Err(self.error("type", what))
            }
            (Some(kind), _) | (None, Some(kind)) => Ok(kind),
            // An object that holds nothing but the base does not scale.
            (None, None) if self.stranger(&[]).is_none() => Ok("default"),
            (None, None) => Err(self.error("rope_type", "is missing")),
        }
    }

    /// The first key with a value that is neither common nor among `known`.
    fn stranger(&self, known: &[&str]) -> Option<(&str, &Value)> {
        let strange = |(key, value): &(&String, &Value)| {
            let key = key.as_str();
            !value.is_null() && !COMMON.contains(&key) && !known.contains(&key)
        };
        let found = self.map.iter().find(strange);
        found.map(|(key, value)| (key.as_str(), value))
    }

    /// Refuses keys that scaling of this kind does not have.
    fn only_known(&self, kind: &str) -> Result<()> {
        let known: &[&str] = match kind {
            "linear" => &["factor"],
            "llama3" => &["factor", "low_freq_factor", "high_freq_factor"],
            // A factor of 1 scales nothing.
            _ if self.get("factor").and_then(Value::as_f64) == Some(1.0) => &["factor"],
            _ => &[],
        };
        if self.get(ORIGINAL).is_some() {
            self.size(ORIGINAL, None, 1 << 30)?;
        }
        match self.stranger(known) {
            None => Ok(()),
            Some((key, value)) => {
                let what = format!("{} means nothing to rope_type `{kind}`", brief(value));
                Err(self.error(&show(key), what))
            }
        }
    }

    fn factor(&self) -> Result<f64> {
        let factor = self.positive("factor", None)?;
        if factor < 1.0 {
            return Err(self.error("factor", format!("{factor} is below 1")));
        }
        Ok(factor)
    }

    fn llama3(&self, outer: &Fields) -> Result<RopeScaling> {
        let low = self.positive("low_freq_factor", None)?;
        let high = self.positive("high_freq_factor", None)?;
        if low >= high {
            let what = format!("{low} is not below high_freq_factor {high}");
            return Err(self.error("low_freq_factor", what));
        }
        let original = match (self.get(ORIGINAL), outer.get(ORIGINAL)) {
            (None, Some(_)) => outer.size(ORIGINAL, None, 1 << 30)?,
            (Some(inner), Some(value)) if inner != value => {
                let what = format!("{} contradicts {} outside", brief(inner), brief(value));
                return Err(self.error(ORIGINAL, what));
            }
            _ => self.size(ORIGINAL, None, 1 << 30)?,
        };
        Ok(RopeScaling::Llama3 {
            factor: self.factor()?,
            low_freq_factor: low,
            high_freq_factor: high,
            original_context: original as f64,
        })
    }
}
