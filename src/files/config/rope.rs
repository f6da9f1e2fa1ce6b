//! Rotary embeddings: `rope_theta` and `rope_scaling`, or `rope_parameters` of transformers 5.
//!
//! Every key of these objects has to be understood: one that is not could change every angle, so it is refused by
//! its name, as is whatever two places say differently.

use super::{Fields, brief, show};
use crate::error::Result;
use crate::model::blueprint::{Blueprint, Rotaries};
use crate::model::{LongRope, Rope, RopeScaling, Yarn};
use serde_json::Value;

/// The context a model was trained with before its positions were stretched.
const ORIGINAL: &str = "original_max_position_embeddings";

/// Keys that every kind of scaling may have beside its own.
const COMMON: [&str; 5] = [
    "rope_type",
    "type",
    "rope_theta",
    "partial_rotary_factor",
    ORIGINAL,
];

/// The keys of a `rope_parameters` with a set for each kind of layer.
const SETS: [&str; 2] = ["full_attention", "sliding_attention"];

/// Without scaling.
pub(super) fn plain_rope(theta: f64) -> Rope {
    Rope {
        theta,
        scaling: RopeScaling::None,
    }
}

/// What the scaling of a rotary embedding refers to.
#[derive(Clone, Copy)]
struct Around<'a> {
    /// The whole configuration.
    outer: &'a Fields<'a>,
    family: &'a Blueprint,
    head_dim: usize,
    context: usize,
}

impl Fields<'_> {
    /// The rotary embedding of the model, and that of the layers with a window where it is another.
    pub(super) fn ropes(
        &self,
        family: &Blueprint,
        head_dim: usize,
        context: usize,
    ) -> Result<[Option<Rope>; 2]> {
        let around = Around {
            outer: self,
            family,
            head_dim,
            context,
        };
        if family.fields.rotaries != Rotaries::LocalInWindows {
            return Ok([Some(self.rope(around, "rope_theta")?), None]);
        }
        if let Some(parameters) = self.inner("rope_parameters")?
            && SETS.iter().any(|set| parameters.get(set).is_some())
        {
            let set = |name: &str, usual: f64| -> Result<Option<Rope>> {
                let Some(fields) = parameters.inner(name)? else {
                    return Ok(Some(plain_rope(usual)));
                };
                let theta = fields.theta("rope_theta")?.unwrap_or(usual);
                let scaling = fields.scaling(around)?;
                Ok(Some(Rope { theta, scaling }))
            };
            return Ok([set(SETS[0], family.fields.theta)?, set(SETS[1], 10_000.0)?]);
        }
        let local = self.theta("rope_local_base_freq")?.unwrap_or(10_000.0);
        let main = self.rope(around, "rope_theta")?;
        Ok([Some(main), Some(plain_rope(local))])
    }

    fn rope(&self, around: Around<'_>, base: &str) -> Result<Rope> {
        let mut theta = self.theta(base)?.map(|theta| (base.to_owned(), theta));
        let mut scaling = None;
        for field in ["rope_parameters", "rope_scaling"] {
            let Some(fields) = self.inner(field)?.filter(Fields::says_something) else {
                continue; // transformers reads an empty object as it reads null
            };
            let parsed = fields.scaling(around)?;
            // Where two places say it, believe them only when they agree.
            if scaling.as_ref().is_some_and(|other| *other != parsed) {
                return Err(self.error(field, "contradicts `rope_parameters`"));
            }
            scaling = Some(parsed);
            let Some(inner) = fields.theta("rope_theta")? else {
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
            theta: theta.map_or(around.family.fields.theta, |(_, theta)| theta),
            scaling: scaling.unwrap_or(RopeScaling::None),
        })
    }

    fn theta(&self, field: &str) -> Result<Option<f64>> {
        let there = self.get(field).is_some();
        there.then(|| self.positive(field, None)).transpose()
    }

    /// Values of a head that are rotated, where not all are.
    pub(super) fn rotary_dim(&self, family: &Blueprint, head_dim: usize) -> Result<Option<usize>> {
        if !family.fields.partial_rotary {
            return Ok(None);
        }
        let mut factor = self.positive("partial_rotary_factor", Some(1.0))?;
        for field in ["rope_parameters", "rope_scaling"] {
            if let Some(fields) = self.inner(field)? {
                factor = fields.positive("partial_rotary_factor", Some(factor))?;
            }
        }
        let width = (head_dim as f64 * factor) as usize;
        if factor > 1.0 || width == 0 || !width.is_multiple_of(2) {
            let what = format!("{factor} of {head_dim} values is not an even number of them");
            return Err(self.error("partial_rotary_factor", what));
        }
        Ok((width < head_dim).then_some(width))
    }

    /// Whether any key has a value.
    fn says_something(&self) -> bool {
        self.map.values().any(|value| !value.is_null())
    }

    /// The kind of scaling.
    fn scaling(&self, around: Around<'_>) -> Result<RopeScaling> {
        if let Some((key, _)) = self.map.iter().find(|(_, value)| value.is_object()) {
            let what =
                "is an object of its own; this family has one set of parameters for all layers";
            return Err(self.error(&show(key), what));
        }
        if !around.family.fields.partial_rotary {
            self.one("partial_rotary_factor", "every value is rotated")?;
        }
        let kind = self.kind()?;
        let scaling = match kind {
            "default" => RopeScaling::None,
            "linear" => RopeScaling::Linear {
                factor: self.factor()?,
            },
            "dynamic" => RopeScaling::Dynamic {
                factor: self.factor()?,
                original_context: around.context as f64,
            },
            "yarn" => self.yarn(around)?,
            "longrope" | "su" => self.longrope(around)?,
            "llama3" => self.llama3(around.outer)?,
            other => {
                let field = match self.get("rope_type") {
                    Some(_) => "rope_type",
                    None => "type",
                };
                let known =
                    "is not supported; default, linear, dynamic, yarn, longrope and llama3 are";
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
            (None, None) if self.stranger(&["attention_factor"]).is_none() => Ok("default"),
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
            "linear" | "dynamic" => &["factor"],
            "yarn" => &[
                "factor",
                "attention_factor",
                "beta_fast",
                "beta_slow",
                "mscale",
                "mscale_all_dim",
                "truncate",
            ],
            "longrope" | "su" => &["factor", "attention_factor", "long_factor", "short_factor"],
            "llama3" => &["factor", "low_freq_factor", "high_freq_factor"],
            // A factor of 1 scales nothing.
            _ if self.get("factor").and_then(Value::as_f64) == Some(1.0) => &["factor"],
            _ => &[],
        };
        if !known.contains(&"attention_factor") {
            self.one("attention_factor", "attention is not scaled")?;
        }
        if self.get(ORIGINAL).is_some() {
            self.size(ORIGINAL, None, 1 << 30)?;
        }
        match self.stranger(known) {
            Some(("attention_factor", _)) | None => Ok(()),
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
        let original = self.original(outer, None)?;
        Ok(RopeScaling::Llama3 {
            factor: self.factor()?,
            low_freq_factor: low,
            high_freq_factor: high,
            original_context: original as f64,
        })
    }

    /// The context before positions were stretched, which may stand outside; `usual` where it stands nowhere.
    fn original(&self, outer: &Fields, usual: Option<usize>) -> Result<usize> {
        match (self.get(ORIGINAL), outer.get(ORIGINAL)) {
            (None, Some(_)) => outer.size(ORIGINAL, None, 1 << 30),
            (Some(inner), Some(value)) if inner != value => {
                let what = format!("{} contradicts {} outside", brief(inner), brief(value));
                Err(self.error(ORIGINAL, what))
            }
            _ => self.size(ORIGINAL, usual, 1 << 30),
        }
    }

    fn yarn(&self, around: Around<'_>) -> Result<RopeScaling> {
        let original = self.original(around.outer, Some(around.context))?;
        let stretch = around.context as f64 / original as f64;
        let factor = match self.get("factor") {
            Some(_) => self.factor()?,
            None => stretch.max(1.0),
        };
        let scale = |mscale: f64| match factor > 1.0 {
            true => 0.1 * mscale * factor.ln() + 1.0,
            false => 1.0,
        };
        let mscale = |field: &str| {
            let there = self.get(field).and_then(Value::as_f64) != Some(0.0);
            let value = there.then(|| self.theta(field)).transpose()?;
            Ok(value.flatten())
        };
        let of_scales = match (mscale("mscale")?, mscale("mscale_all_dim")?) {
            (Some(one), Some(all)) => scale(one) / scale(all),
            _ => scale(1.0),
        };
        let (fast, slow) = (
            self.positive("beta_fast", Some(32.0))?,
            self.positive("beta_slow", Some(1.0))?,
        );
        if fast < slow {
            return Err(self.error("beta_fast", format!("{fast} is below beta_slow {slow}")));
        }
        Ok(RopeScaling::Yarn(Yarn {
            factor,
            original_context: original as f64,
            beta_fast: fast,
            beta_slow: slow,
            attention_factor: self.positive("attention_factor", Some(of_scales))?,
            truncate: self.flag("truncate", true)?,
        }))
    }

    fn longrope(&self, around: Around<'_>) -> Result<RopeScaling> {
        let usual = around.family.fields.original_context;
        let original = self.original(around.outer, usual.or(Some(around.context)))?;
        let stretch = around.context as f64 / original as f64;
        let factor = match self.get("factor") {
            Some(_) => self.factor()?,
            None => stretch,
        };
        let usual = match factor > 1.0 {
            true => (1.0 + factor.ln() / (original as f64).ln()).sqrt(),
            false => 1.0,
        };
        let width = around.outer.rotary_dim(around.family, around.head_dim)?;
        let pairs = width.unwrap_or(around.head_dim) / 2;
        Ok(RopeScaling::LongRope(Box::new(LongRope {
            short_factor: self.factors("short_factor", pairs)?,
            long_factor: self.factors("long_factor", pairs)?,
            original_context: original,
            attention_factor: self.positive("attention_factor", Some(usual))?,
        })))
    }

    /// A factor above 0 for each pair.
    fn factors(&self, field: &str, pairs: usize) -> Result<Vec<f64>> {
        let Some(value) = self.get(field) else {
            return Err(self.error(field, "is missing"));
        };
        let all = value.as_array().map_or(&[][..], Vec::as_slice);
        let factors = all.iter().filter_map(Value::as_f64);
        let factors: Vec<_> = factors.filter(|f| f.is_finite() && *f > 0.0).collect();
        match factors.len() == pairs && all.len() == pairs {
            true => Ok(factors),
            false => Err(self.error(field, format!("is not a list of {pairs} numbers above 0"))),
        }
    }
}
