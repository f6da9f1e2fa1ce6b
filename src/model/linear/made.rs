//! Layers whose weights are on the device already, or are made there.

use super::{Linear, Phase, Weight, code_layout};
use crate::backend::{Backend, upload_new};
use crate::codebook::words_for;
use crate::error::Result;
use crate::model::Form;
use crate::model::rows::{Shard, noise_codes};
use crate::ops::MatrixDtype;
use crate::ops::phase::{float_scale_blocks, integer_scale_blocks};
use crate::ops::quantize::Activations;

impl<B: Backend> Linear<B> {
    /// A stack of dense layers whose weights are on the device.
    pub(crate) fn dense_on_device(
        name: String,
        in_features: usize,
        segments: Vec<usize>,
        (dtype, shards): (MatrixDtype, Vec<Shard<B>>),
    ) -> Self {
        Self::of_weight(name, in_features, segments, Weight::Dense { dtype, shards })
    }

    /// A stack made on the device from noise, for benchmarks: codes uniform, scales all alike.
    pub(crate) async fn synthetic(
        backend: &B,
        name: String,
        form: Form,
        segments: Vec<usize>,
        in_features: usize,
        stages: usize,
        activations: Activations,
    ) -> Result<Self> {
        let words = words_for(in_features.div_ceil(2));
        // With this scale the outputs of a layer are as large as its inputs.
        let planes = form.matrices() * stages;
        let scale = (1.0 / (planes as f32 * in_features as f32)).sqrt();
        let scales = vec![scale; segments.len() * 2 * planes];
        let scale_blocks = match activations {
            Activations::Float => float_scale_blocks(&scales, segments.len()),
            mode => integer_scale_blocks(&scales, segments.len(), mode),
        };
        let layout = code_layout(backend, activations);
        let rows: Vec<usize> = segments.iter().map(|s| s.div_ceil(2)).collect();
        let shards = noise_codes(backend, &name, &rows, (planes, words), layout).await?;
        let weight = Weight::Phase(Phase {
            stages,
            per_row: false,
            group_words: words,
            scale_blocks: upload_new(backend, "scales", &scale_blocks)?,
            rotated: false,
            layout,
            shards,
        });
        Ok(Self::of_weight(name, in_features, segments, weight).of_form(form))
    }
}
