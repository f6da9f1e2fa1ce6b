//! One packed weight: its codes and scales are all that is left of it.

use super::parallel::map_rows;
use crate::codebook::{code_at, words_for};
use crate::error::Result;
use crate::files::ModelFolder;
use crate::model::config::LinearShape;
use crate::model::weights::packed_view;
use crate::model::{PackedView, Recipe};
use serde::Serialize;

/// What the codes and scales of a packed layer show.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Codes {
    /// Stage after stage.
    pub stages: Vec<CodeStage>,
    /// Stored bits of a real weight, scales and padding included.
    pub bits_per_weight: f64,
}

/// One stage of a packed layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CodeStage {
    /// Of U.
    pub u: PlaneCodes,
    /// Of W.
    pub w: PlaneCodes,
}

/// One stage of U or W.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PlaneCodes {
    /// How many weights have the code 1, i, -1, -i.
    pub counts: [u64; 4],
    /// Mean (s_re, s_im) over all weights that share scales.
    pub scales: [f64; 2],
}

/// Looks at the layer `shape` as `recipe` stores it.
pub(super) fn codes(opened: &ModelFolder, recipe: Recipe, shape: &LinearShape) -> Result<Codes> {
    let view = packed_view(&*opened.weights, recipe, shape)?;
    let stages = view.stages();
    let counts = counts(&view, stages);
    let plane = |plane: usize, stage: usize| PlaneCodes {
        counts: counts[plane * stages + stage],
        scales: std::array::from_fn(|axis| {
            mean_scale(
                &view.scales,
                2 * (plane * stages + stage) + axis,
                4 * stages,
            )
        }),
    };
    let words = view.codes.len() + view.scales.len();
    Ok(Codes {
        stages: (0..stages)
            .map(|stage| CodeStage {
                u: plane(0, stage),
                w: plane(1, stage),
            })
            .collect(),
        bits_per_weight: 32.0 * words as f64 / (view.out_features * view.in_features) as f64,
    })
}

/// Mean of every `step`-th scale from `first` on.
fn mean_scale(scales: &[f32], first: usize, step: usize) -> f64 {
    let all = scales.iter().skip(first).step_by(step);
    let (sum, count) = all.fold((0.0, 0), |(s, n), &x| (s + f64::from(x), n + 1));
    sum / f64::from(count.max(1))
}

/// How often each code stands in each of the `2 * stages` planes of a layer: U's stages, then W's.
fn counts(view: &PackedView<'_>, stages: usize) -> Vec<[u64; 4]> {
    let columns = view.in_features.div_ceil(2);
    let (words, planes) = (words_for(columns), 2 * stages);
    let chunks = map_rows(view.out_features.div_ceil(2), planes * columns, |rows| {
        let mut counts = vec![[0u64; 4]; planes];
        let codes = &view.codes[rows.start * planes * words..rows.end * planes * words];
        for (i, plane) in codes.chunks_exact(words).enumerate() {
            for column in 0..columns {
                counts[i % planes][usize::from(code_at(plane, column))] += 1;
            }
        }
        counts
    });
    let mut all = vec![[0; 4]; planes];
    for chunk in chunks {
        for (sum, count) in all.as_flattened_mut().iter_mut().zip(chunk.as_flattened()) {
            *sum += count;
        }
    }
    all
}
