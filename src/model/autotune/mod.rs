//! Autotuning: which of several ways to the same bits is fastest on this device, measured once for each shape of model.
//!
//! [`Tuning`] has numbers of the devices we measured. A GPU of another maker has others: how many workgroups keep it busy,
//! whether each of them should round the token by itself, from how many tokens on another kernel pays. [`tune`] times the
//! linear layers of a block with the candidates in turn, for a second or two, and keeps what was fastest on disk, beside the
//! compiled pipelines of the same device and driver.
//!
//! Only what leaves every bit as it is can be chosen: sums of integers are exact in any order. Numbers that sums of floats
//! depend on are those of the class of the device, always.

mod bed;
mod choose;
mod store;

use super::{Config, LoadOptions, Method};
use crate::backend::{Backend, Tuning};
use crate::error::Result;
use crate::ops::quantize::Activations;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;
pub use store::{Kept, read as kept};

/// What was fastest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chosen {
    /// Whether products of one token round it themselves: [`Tuning::fused_subgroup`].
    pub fused: bool,
    /// [`Tuning::fused_groups`].
    pub fused_groups: usize,
    /// [`Tuning::bits_tokens`], for the activations that were measured.
    pub bits_tokens: usize,
    /// [`Tuning::integer_gemv_tokens`].
    pub integer_gemv_tokens: usize,
    /// What was measured, in the order in which it was.
    pub measured: Vec<Measured>,
}

/// The time of one way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Which one, for people.
    pub way: String,
    /// Tokens at once.
    pub tokens: usize,
    /// Microseconds of the linear layers of a block: the median.
    pub microseconds: f64,
}

impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fused {
            true => write!(
                f,
                "rounding in the product, {} workgroups",
                self.fused_groups
            )?,
            false => f.write_str("rounding before the product")?,
        }
        let (bits, most) = (self.bits_tokens, self.integer_gemv_tokens);
        write!(
            f,
            "; one-bit products from {bits} tokens, matrix-vector ones to {most}"
        )
    }
}

impl Chosen {
    /// `tuning` with what was chosen for these activations.
    pub fn applied(&self, tuning: Tuning, activations: Activations) -> Tuning {
        let mut bits_tokens = tuning.bits_tokens;
        if activations != Activations::Float {
            bits_tokens[activations.byte_planes() - 1] = self.bits_tokens;
        }
        Tuning {
            bits_tokens,
            integer_gemv_tokens: self.integer_gemv_tokens.max(1),
            ..rounding(tuning, self.fused, self.fused_groups)
        }
    }
}

/// `tuning` where products of one token round it themselves, in so many workgroups, or do not.
fn rounding(tuning: Tuning, fused: bool, groups: usize) -> Tuning {
    Tuning {
        fused_subgroup: if fused { 0 } else { usize::MAX },
        fused_groups: groups.max(1),
        ..tuning
    }
}

/// The models that a choice is for: those with linear layers of the same sizes.
fn class(config: &Config, stages: usize, activations: Activations) -> String {
    let stacks = config.stacks(0);
    let widths: Vec<String> = stacks
        .iter()
        .map(|stack| {
            let outs: usize = stack.iter().map(|layer| layer.out_features).sum();
            format!("{}x{outs}", stack[0].in_features)
        })
        .collect();
    let form = stacks[0][0].form;
    let widths = widths.join(" ");
    format!("{form:?} {stages} stage(s), activations {activations}, {widths}")
}

/// Gives `backend` the numbers that are fastest for a model of this shape, if it wants to be tuned and was not yet, before
/// that model is loaded.
///
/// # Errors
/// [`Error::Device`](crate::Error::Device) when the device fails. A choice that cannot be kept holds for this time.
pub async fn tune<B: Backend>(backend: &B, config: &Config, options: &LoadOptions) -> Result<()> {
    let (Some(tunable), Some(stages)) = (backend.tunable(), stages(config, options)) else {
        return Ok(());
    };
    let class = class(config, stages, options.activations);
    let kept = |file: &PathBuf| store::read(file).remove(&class);
    let known = tunable.file.as_ref().and_then(kept);
    let worth = !tunable.software && tunable.file.is_some();
    let chosen = match known {
        Some(known) if !tunable.again => known,
        None if !tunable.again && !worth => return Ok(()),
        _ => {
            (tunable.begins)(&backend.name());
            let chosen = choose::measure(backend, config, options, stages).await?;
            if let Some(file) = &tunable.file {
                // The next run measures again where this one could not write.
                let _ = store::keep(file, &class, &chosen);
            }
            chosen
        }
    };
    backend.tune(chosen.applied(backend.facts().tuning, options.activations));
    Ok(())
}

/// Stages of the layers that are timed; none where there are no products of integers to choose from.
fn stages(config: &Config, options: &LoadOptions) -> Option<usize> {
    if options.activations == Activations::Float || config.stacks(0).is_empty() {
        return None;
    }
    match options.recipe.method {
        Method::Phase { stages } => Some(stages),
        Method::Mixed(stages) => Some(stages.base()),
        _ => None,
    }
}
