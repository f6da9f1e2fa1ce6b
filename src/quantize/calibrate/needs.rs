//! Device memory that calibration needs, known before anything is loaded.

use crate::backend::Backend;
use crate::error::Result;
use crate::model::Config;
use crate::model::budget::{self, product};
use crate::model::config::LinearShape;

/// Refuses what the device has no room for.
pub(super) fn fits<B: Backend>(
    backend: &B,
    config: &Config,
    sequences: &[Vec<u32>],
    (batch, rotated): (usize, bool),
) -> Result<()> {
    let tokens = sequences.iter().map(Vec::len).sum();
    let needs = needs(config, tokens, (batch, rotated));
    let hint = "calibrate with fewer tokens, or on another device";
    budget::check(backend, "calibration", &needs, hint)
}

/// Bytes of device memory by what they are for: what is there all the time, and the most that a stack and one of its
/// layers take.
fn needs(c: &Config, tokens: usize, (batch, rotated): (usize, bool)) -> [(&'static str, usize); 5] {
    let widest = c.widest_input();
    let size = |l: LinearShape| l.out_features * l.in_features;
    let largest = c.linears().into_iter().map(size).max().unwrap_or(0);
    let block: usize = c.block_linears(0).into_iter().map(size).sum();
    // Rotated inputs of both models lie beside those that are not.
    let rotated_inputs = if rotated { 2 } else { 0 };
    let floats = |factors: &[usize]| product(&[4, product(factors)]);
    [
        ("residual streams", floats(&[2, tokens, c.hidden])),
        // These are inputs of both models, their difference, factors in f16, and what the passes leave between their operations.
        ("inputs", floats(&[11 + rotated_inputs, batch, widest])),
        (
            "a block and the embedding",
            floats(&[1, block + c.vocab * c.hidden]),
        ),
        // These are moments and drift, H and its factor.
        ("second moments", floats(&[4, widest, widest])),
        // These are the weight three times, its target, errors, and scratch twice.
        ("a layer", floats(&[8, largest])),
    ]
}
