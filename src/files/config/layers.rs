//! Which layers see a window, which are rotated, and which have experts.

use super::{Fields, brief};
use crate::error::Result;
use crate::model::blueprint::{Blueprint, Rotaries, Windows};
use crate::model::{Experts, LayerAttention, Rotary};
use crate::ops::sampling::MAX_EXPERTS;
use serde_json::Value;

/// Names that `layer_types` gives a layer without and with a window.
const KINDS: [&str; 2] = ["full_attention", "sliding_attention"];

impl Fields<'_> {
    /// How each of `layers` layers attends; none where all see everything and are rotated. A window of `context` or more hides
    /// nothing.
    pub(super) fn layer_attention(
        &self,
        family: &Blueprint,
        layers: usize,
        context: usize,
    ) -> Result<Vec<LayerAttention>> {
        let windows = self.windows(family, layers)?;
        let rotaries = family.fields.rotaries;
        let listed = match rotaries {
            Rotaries::Listed => self.rotated_layers(layers)?,
            _ => Vec::new(),
        };
        let attention = |l: usize| {
            let window = windows.get(l).copied().flatten();
            LayerAttention {
                window: window.filter(|&w| w < context).unwrap_or(usize::MAX),
                rotary: match (rotaries, window) {
                    (Rotaries::All, _) => Rotary::Main,
                    (Rotaries::LocalInWindows, Some(_)) => Rotary::Local,
                    (Rotaries::LocalInWindows, None) => Rotary::Main,
                    (Rotaries::InWindows, Some(_)) => Rotary::Main,
                    (Rotaries::InWindows, None) => Rotary::None,
                    (Rotaries::Listed, _) if listed[l] => Rotary::Main,
                    (Rotaries::Listed, _) => Rotary::None,
                },
            }
        };
        let all: Vec<_> = (0..layers).map(attention).collect();
        match all.iter().all(|layer| *layer == LayerAttention::FULL) {
            true => Ok(Vec::new()),
            false => Ok(all),
        }
    }

    /// The window of each layer that has one.
    fn windows(&self, family: &Blueprint, layers: usize) -> Result<Vec<Option<usize>>> {
        let kinds = self.layer_types(layers)?;
        let size = |usual: Option<usize>| match self.map.get("sliding_window") {
            Some(Value::Null) => Ok(None),
            None => Ok(usual),
            Some(_) => self.size("sliding_window", None, usize::MAX).map(Some),
        };
        let (window, slides): (_, Box<dyn Fn(usize) -> bool>) = match family.fields.windows {
            // LLaMA ignores the size, but not a list of layers that says where windows are.
            Windows::Never => match kinds {
                Some(kinds) if kinds.contains(&true) => {
                    let what = "asks for windows, which this family does not have";
                    return Err(self.error("layer_types", what));
                }
                _ => return Ok(Vec::new()),
            },
            Windows::All(usual) => (size(usual)?, Box::new(|_| true)),
            Windows::From => {
                let used = self.flag("use_sliding_window", false)?;
                let window = if used { size(Some(4096))? } else { None };
                let first = self.count("max_window_layers", 28)?;
                (window, Box::new(move |l| l >= first))
            }
            Windows::Pattern { every, window } => {
                let every = self.pattern(every)?;
                let window = size(Some(window))?;
                (window, Box::new(move |l| !(l + 1).is_multiple_of(every)))
            }
        };
        let sliding = |l: usize| kinds.as_ref().map_or_else(|| slides(l), |kinds| kinds[l]);
        let of = |l: usize| window.filter(|_| sliding(l));
        if let (Some(kinds), None) = (&kinds, window)
            && kinds.contains(&true)
        {
            let what = "asks for windows, but no `sliding_window` says how large they are";
            return Err(self.error("layer_types", what));
        }
        Ok((0..layers).map(of).collect())
    }

    /// Of how many layers the last one sees everything; transformers has called it `_sliding_window_pattern` too.
    fn pattern(&self, usual: usize) -> Result<usize> {
        let hidden = self.size("_sliding_window_pattern", Some(usual), 1 << 12)?;
        self.size("sliding_window_pattern", Some(hidden), 1 << 12)
    }

    /// Whether each layer has a window, where `layer_types` says so.
    fn layer_types(&self, layers: usize) -> Result<Option<Vec<bool>>> {
        let Some(all) = self.list("layer_types", layers)? else {
            return Ok(None);
        };
        let window = |kind: &Value| match kind.as_str() {
            Some(kind) if kind == KINDS[0] => Ok(false),
            Some(kind) if kind == KINDS[1] => Ok(true),
            _ => {
                let what = format!(
                    "{} is not supported; {} are",
                    brief(kind),
                    KINDS.join(" and ")
                );
                Err(self.error("layer_types", what))
            }
        };
        all.iter().map(window).collect::<Result<_>>().map(Some)
    }

    /// Whether each layer is rotated.
    fn rotated_layers(&self, layers: usize) -> Result<Vec<bool>> {
        let every = self.size("no_rope_layer_interval", Some(4), 1 << 12)?;
        let Some(all) = self.list("no_rope_layers", layers)? else {
            return Ok((1..=layers).map(|n| !n.is_multiple_of(every)).collect());
        };
        let rotated = |value: &Value| match value.as_u64() {
            Some(n @ (0 | 1)) => Ok(n == 1),
            _ => {
                let what = format!("{} is neither 1 (rotated) nor 0", brief(value));
                Err(self.error("no_rope_layers", what))
            }
        };
        all.iter().map(rotated).collect()
    }

    /// A list with a value for each layer; an empty one counts as none.
    fn list(&self, field: &str, layers: usize) -> Result<Option<&[Value]>> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::Array(all)) if all.is_empty() => Ok(None),
            Some(Value::Array(all)) if all.len() == layers => Ok(Some(all)),
            Some(value) => {
                let what = format!("{} is not a list of {layers} values", brief(value));
                Err(self.error(field, what))
            }
        }
    }

    /// An integer that may be 0.
    fn count(&self, field: &str, usual: usize) -> Result<usize> {
        let Some(value) = self.get(field) else {
            return Ok(usual);
        };
        let count = value.as_u64().and_then(|n| usize::try_from(n).ok());
        count.ok_or_else(|| self.error(field, format!("{} is not a count", brief(value))))
    }

    /// The experts of a family that has them.
    pub(super) fn experts(&self, family: &Blueprint, layers: usize) -> Result<Option<Experts>> {
        let Some(names) = &family.experts else {
            return Ok(None);
        };
        let local = self.size("num_local_experts", Some(names.usual[0]), MAX_EXPERTS)?;
        let count = self.size("num_experts", Some(local), MAX_EXPERTS)?;
        let chosen = self.size("num_experts_per_tok", Some(names.usual[1]), MAX_EXPERTS)?;
        if chosen > count {
            let what = format!("{chosen} is more than the {count} experts there are");
            return Err(self.error("num_experts_per_tok", what));
        }
        let width = self.size(names.width.0, names.width.1, 1 << 22)?;
        let normalized = match names.normalized {
            Some(field) => self.flag(field, false)?,
            None => true,
        };
        let step = self.count("decoder_sparse_step", 1)?;
        let listed = match self.get("mlp_only_layers") {
            None => Vec::new(),
            Some(Value::Array(all)) => all.iter().filter_map(Value::as_u64).collect(),
            Some(value) => {
                let what = format!("{} is not a list of layers", brief(value));
                return Err(self.error("mlp_only_layers", what));
            }
        };
        let dense =
            |l: &usize| step == 0 || !(l + 1).is_multiple_of(step) || listed.contains(&(*l as u64));
        Ok(Some(Experts {
            count,
            chosen,
            width,
            normalized,
            dense_layers: (0..layers).filter(dense).collect(),
        }))
    }
}
