//! One full-precision weight.

use super::errors::{GRANULARITIES, GranularityErrors, StageScales, errors, stage_scales};
use super::outliers::{Outliers, outliers};
use super::phases::{Phases, phases};
use super::planes::Planes;
use super::yardsticks::{Codebook, Yardstick, yardstick};
use crate::error::Result;
use crate::files::ModelFolder;
use crate::model::config::LinearShape;
use crate::model::finite;
use crate::model::weights::required;
use serde::Serialize;

/// What the full-precision weight R of a layer shows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Dense {
    /// Frobenius norm of R.
    pub norm: f64,
    /// Root mean square of R.
    pub rms: f64,
    /// Angles and norm of U.
    pub u: Phases,
    /// Angles and norm of W.
    pub w: Phases,
    /// Norm of U over that of W; none where W is zero.
    pub u_over_w: Option<f64>,
    /// The quantizer's scales, per tensor, of stages 1 to 4.
    pub scales: Vec<StageScales>,
    /// Relative errors by which weights share scales: per tensor first.
    pub errors: Vec<GranularityErrors>,
    /// Relative errors of other codebooks.
    pub yardsticks: Vec<Yardstick>,
    /// What stands out.
    pub outliers: Outliers,
}

impl Dense {
    /// Relative errors after stages 1 to 4 with scales per tensor; none for a weight of zeros.
    pub fn tensor_errors(&self) -> Option<[f64; 4]> {
        self.errors.first()?.relative_error
    }

    /// Share of the magnitude of U and W within pi/8 of an axis; 0.5 if angles are uniform.
    pub fn alignment(&self) -> f64 {
        (self.u.near_8th.by_magnitude + self.w.near_8th.by_magnitude) / 2.0
    }

    /// The same of the number of weights.
    pub fn alignment_by_count(&self) -> f64 {
        (self.u.near_8th.by_count + self.w.near_8th.by_count) / 2.0
    }
}

/// Looks at the weight of the layer `shape`.
pub(super) fn dense(
    opened: &ModelFolder,
    shape: &LinearShape,
    allow_nonfinite: bool,
) -> Result<Dense> {
    let name = opened.config.dense_name(&shape.prefix);
    let tensor = required(&*opened.weights, &name)?;
    let tensor = finite::numbers(&name, tensor, allow_nonfinite)?;
    let r = tensor.to_f32(0..tensor.elements());
    let (out, inputs) = (shape.out_features, shape.in_features);
    let (outliers, power) = outliers(&r, inputs);
    let planes = Planes::new(&r, out, inputs);
    let [u, w] = phases(&planes);
    let mut by_granularity = Vec::new();
    let mut scales = Vec::new();
    for granularity in GRANULARITIES {
        let (errors, found) = errors(&name, &r, &planes, power, granularity)?;
        if by_granularity.is_empty() {
            scales = stage_scales(&found);
        }
        by_granularity.push(errors);
    }
    drop(r); // the yardsticks work on copies of U and W
    let rotated = yardstick(planes.clone(), power, Codebook::Rotated);
    let eight = yardstick(planes, power, Codebook::Eight);
    Ok(Dense {
        norm: power.sqrt(),
        rms: (power / (out * inputs) as f64).sqrt(),
        u_over_w: (w.norm > 0.0).then(|| u.norm / w.norm),
        u,
        w,
        scales,
        errors: by_granularity,
        yardsticks: vec![rotated, eight],
        outliers,
    })
}
