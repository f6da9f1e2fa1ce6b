//! Rotary embeddings: `rope_theta` and `rope_scaling`, or `rope_parameters` of transformers 5.

use super::{Fields, show};
use crate::error::Result;
use crate::model::{Rope, RopeScaling};

impl Fields<'_> {
    pub(super) fn rope(&self) -> Result<Rope> {
        let theta = self.positive("rope_theta", Some(10_000.0))?;
        let old = self.inner("rope_scaling")?;
        let new = self.inner("rope_parameters")?;
        let rope = |fields: Option<&Fields>| -> Result<Rope> {
            Ok(Rope {
                theta: fields.map_or(Ok(theta), |f| f.positive("rope_theta", Some(theta)))?,
                scaling: fields.map_or(Ok(RopeScaling::None), |f| f.scaling(self))?,
            })
        };
        let parsed = rope(new.as_ref().or(old.as_ref()))?;
        // Both say it: believe them only when they agree.
        if new.is_some() && old.is_some() && rope(old.as_ref())?.scaling != parsed.scaling {
            return Err(self.error("rope_scaling", "contradicts `rope_parameters`"));
        }
        Ok(parsed)
    }

    /// The kind of scaling; `outer` is the whole configuration.
    fn scaling(&self, outer: &Fields) -> Result<RopeScaling> {
        let part = self.positive("partial_rotary_factor", Some(1.0))?;
        if part != 1.0 {
            let what = format!("{part} is not supported; 1 (every value is rotated) is");
            return Err(self.error("partial_rotary_factor", what));
        }
        let kind = match self.text("rope_type")? {
            Some(kind) => kind,
            // `rope_parameters` may hold nothing but the base.
            None if self.prefix.starts_with("rope_parameters") => "default",
            None => match self.text("type")? {
                Some(kind) => kind,
                None => return Err(self.error("rope_type", "is missing")),
            },
        };
        match kind {
            "default" => Ok(RopeScaling::None),
            "linear" => Ok(RopeScaling::Linear {
                factor: self.factor()?,
            }),
            "llama3" => self.llama3(outer),
            other => {
                let field = if self.get("rope_type").is_some() {
                    "rope_type"
                } else {
                    "type"
                };
                let known = "is not supported; default, linear and llama3 are";
                Err(self.error(field, format!("`{}` {known}", show(other))))
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
        const ORIGINAL: &str = "original_max_position_embeddings";
        let low = self.positive("low_freq_factor", None)?;
        let high = self.positive("high_freq_factor", None)?;
        if low >= high {
            let what = format!("{low} is not below high_freq_factor {high}");
            return Err(self.error("low_freq_factor", what));
        }
        let place = if self.get(ORIGINAL).is_none() && outer.get(ORIGINAL).is_some() {
            outer
        } else {
            self
        };
        Ok(RopeScaling::Llama3 {
            factor: self.factor()?,
            low_freq_factor: low,
            high_freq_factor: high,
            original_context: place.size(ORIGINAL, None, 1 << 30)? as f64,
        })
    }
}
