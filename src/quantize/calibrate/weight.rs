//! One weight by itself.

use super::factor::Factor;
use super::layer::{Layer, LayerErrors};
use super::moments::{Moments, Scratch};
use super::options::CalibrateOptions;
use crate::backend::{Backend, upload_new};
use crate::error::{Error, Result};
use crate::model::{Form, Packed, quantize};

/// What enters a layer: tokens of the full-precision model and of the one that is quantized so far, beside each other.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Inputs of the layer.
    pub columns: usize,
    /// Inputs in the full-precision model, [tokens, columns].
    pub full: &'a [f32],
    /// Inputs in the quantized model, [tokens, columns].
    pub quantized: &'a [f32],
    /// The residual streams that the layer adds to, [tokens, outputs] each, if it adds to one.
    pub streams: Option<(&'a [f32], &'a [f32])>,
}

/// Calibrates one weight `r` [out_features, columns] by itself: `options` say how.
///
/// # Errors
/// [`Error::Usage`] for another method than the phase quantizer and for sizes that do not belong together; those of the
/// device.
pub async fn calibrate_weight<B: Backend>(
    backend: &B,
    r: &[f32],
    out_features: usize,
    seen: Seen<'_>,
    options: CalibrateOptions,
) -> Result<(Packed, LayerErrors)> {
    let (n, recipe) = (seen.columns, options.recipe);
    let method = recipe.method.of("weight");
    quantize::check(
        "weight",
        Form::WidelyLinear,
        out_features,
        n,
        method,
        recipe.granularity,
    )?;
    let stages = options.stages("weight")?;
    let tokens = seen.full.len() / n;
    let width = |rows: &[f32], width: usize| tokens > 0 && rows.len() == tokens * width;
    let streams = seen
        .streams
        .is_none_or(|(a, b)| width(a, out_features) && width(b, out_features));
    if r.len() != out_features * n || !width(seen.full, n) || !width(seen.quantized, n) || !streams
    {
        return Err(Error::usage(
            format!("inputs of {tokens} tokens that do not fit a weight of {out_features} x {n}"),
            "give every element once",
        ));
    }
    let upload = |rows: &[f32]| upload_new(backend, "inputs", bytemuck::cast_slice(rows));
    let rotated = |rows: &[f32]| recipe.rotate(rows.to_vec(), n, false);
    let moments = Moments::new(backend, n, seen.streams.map(|_| out_features))?;
    let (full, quantized) = (
        upload(&rotated(seen.full))?,
        upload(&rotated(seen.quantized))?,
    );
    let (full_stream, stream) = seen.streams.unwrap_or_default();
    let (full_stream, stream) = (upload(full_stream)?, upload(stream)?);
    let scratch = Scratch::new(backend, tokens * n.max(out_features))?;
    let (inputs, streams) = ((&full, &quantized), (&full_stream, &stream));
    moments
        .add(backend, tokens, inputs, streams, &scratch)
        .await?;
    let most = out_features.next_multiple_of(2);
    let factor = Factor::new(backend, &moments, options.damping, most).await?;
    let r = rotated(r);
    let recipe = (stages, recipe.granularity);
    let layer = Layer::new(backend, &factor, &moments, (&r, out_features), recipe).await?;
    layer.quantize().await
}
