//! A packed folder of any shape with made-up weights, to measure loading with.

use crate::error::{Error, Result};
use crate::files::packed::{SHARD_BYTES, Writer};
use crate::files::staging::Destination;
use crate::files::{CopyFrom, Inputs};
use crate::model::{Config, Dtype, Method, Packed, Recipe, Tensor, Weights};
use crate::ops::{hash32, noise_u32};
use std::borrow::Cow;
use std::path::Path;

/// Dense tensors of a shape, made when they are asked for: norms of ones, everything else noise.
struct MadeUp(std::collections::BTreeMap<String, Vec<usize>>);

impl MadeUp {
    fn new(config: &Config) -> Self {
        let planned = crate::files::plan::plan(config, None).into_iter();
        Self(planned.map(|p| (p.name, p.shape)).collect())
    }
}

impl Weights for MadeUp {
    fn tensor(&self, name: &str) -> Result<Option<Tensor<'_>>> {
        let Some(shape) = self.0.get(name) else {
            return Ok(None);
        };
        let elements = shape.iter().product::<usize>() as u32;
        let norm = shape.len() == 1;
        let half = |i: u32| match norm {
            true => half::f16::ONE.to_bits(),
            false => (hash32(i, 77) & 0x83ff | 0x2400) as u16, // magnitudes in [1/64, 1/32)
        };
        Ok(Some(Tensor {
            dtype: Dtype::F16,
            shape: shape.clone(),
            bytes: Cow::Owned((0..elements).flat_map(|i| half(i).to_le_bytes()).collect()),
        }))
    }

    fn recipe(&self) -> Recipe {
        Recipe::FULL
    }
}

/// Writes it to the folder `out`, which must not be in use; one layer is in memory at a time. `inputs` is what the
/// shape was read from.
pub(super) fn save(
    out: &Path,
    inputs: &Inputs,
    config: &Config,
    recipe: Recipe,
    bar: &indicatif::ProgressBar,
) -> Result<()> {
    let Method::Phase { stages } = recipe.method else {
        return Err(Error::usage(
            "--save-packed makes phase layers only",
            "drop --method, or say --method fairy2i",
        ));
    };
    let weights = MadeUp::new(config);
    let original = CopyFrom {
        config,
        weights: &weights,
        fields: None,
        source: None,
        allow_nonfinite: false,
    };
    let destination = Destination {
        inputs,
        ..Destination::new(out, "bench")
    };
    let mut writer = Writer::create(&destination, original, recipe, SHARD_BYTES)?;
    for (seed, layer) in (1..).zip(recipe.layers(config)) {
        let (rows, columns) = (layer.out_features, layer.in_features);
        let (codes, scales) =
            Packed::shapes(recipe.method, layer.form, recipe.granularity, rows, columns);
        // the magnitude that keeps a layer's output at its input's
        let scale = (1.0 / (2.0 * stages as f32 * columns as f32)).sqrt();
        let packed = Packed {
            method: recipe.method,
            form: layer.form,
            granularity: recipe.granularity,
            out_features: rows,
            in_features: columns,
            codes: noise_u32(seed, codes.iter().product()),
            scales: vec![scale; scales.iter().product()],
            relative_error: None,
        };
        writer.linear(&layer.prefix, &packed)?;
        bar.set_message(layer.prefix);
        bar.inc(1);
    }
    writer.finish().map(drop)
}
