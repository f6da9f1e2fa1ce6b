//! What a calibrated model makes of text that it was not calibrated with.

use super::Sequences;
use crate::backend::Device;
use crate::error::Result;
use crate::evaluate::protocol::Window;
use crate::evaluate::{self, Text};
use crate::model::session::IGNORED;
use crate::model::{Config, LoadOptions, Model, Recipe, Weights};
use crate::ops::quantize::Activations;

/// Perplexity of the held-out sequences, if there are any.
pub(super) async fn perplexity(
    device: &Device,
    config: &Config,
    weights: &dyn Weights,
    sequences: &Sequences,
) -> Result<Option<f64>> {
    let text = windows(&sequences.held_out);
    if text.count == 0 {
        return Ok(None);
    }
    let options = LoadOptions {
        recipe: Recipe::FULL,
        activations: Activations::Int16,
        context: sequences.held_out.iter().map(Vec::len).max().unwrap_or(1),
        batch: 2048,
        kv: None,
        swa_full: false,
        exact: false,
    };
    let mut quiet = |_: &str| {};
    let model = Model::load(device.clone(), config, weights, options, &mut quiet).await?;
    let measured = evaluate::perplexity(&model, None, &text, &mut |_| {}).await?;
    Ok(Some(measured.summary().ppl))
}

/// Sequences as windows; every token of a window but the first is predicted.
fn windows(sequences: &[Vec<u32>]) -> Text {
    let window = |ids: &Vec<u32>| Window {
        targets: ids[1..].iter().copied().chain([IGNORED]).collect(),
        tokens: ids.clone(),
    };
    let windows: Vec<Window> = sequences.iter().map(window).collect();
    let tokens = sequences.iter().map(Vec::len).sum::<usize>();
    Text {
        name: "held out".to_owned(),
        count: tokens - sequences.len(),
        windows,
        tokens,
        ..Text::default()
    }
}
