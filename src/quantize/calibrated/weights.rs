//! A model whose layers are calibrated and not written yet.

use crate::error::Result;
use crate::files::packed::little_endian;
use crate::model::{Dtype, Packed, Recipe, Tensor, Weights};
use std::collections::BTreeMap;

/// Calibrated layers, and everything else as training left it, or as the original has it.
pub(super) struct Made<'a> {
    original: &'a dyn Weights,
    recipe: Recipe,
    layers: BTreeMap<String, Packed>,
    dense: BTreeMap<String, Dense>,
}

/// A tensor that was trained: its shape and values.
pub(super) type Dense = (Vec<usize>, Vec<f32>);

impl<'a> Made<'a> {
    /// `layers` by their names without `.weight`.
    pub(super) fn new(
        original: &'a dyn Weights,
        recipe: Recipe,
        layers: BTreeMap<String, Packed>,
    ) -> Self {
        Self {
            original,
            recipe,
            layers,
            dense: BTreeMap::new(),
        }
    }

    /// The same with tensors that were trained, by their names.
    pub(super) fn with_dense(self, dense: BTreeMap<String, Dense>) -> Self {
        Self { dense, ..self }
    }

    /// The layers.
    pub(super) fn layers(&self) -> &BTreeMap<String, Packed> {
        &self.layers
    }
}

impl Weights for Made<'_> {
    fn tensor(&self, name: &str) -> Result<Option<Tensor<'_>>> {
        if let Some((shape, values)) = self.dense.get(name) {
            return Ok(Some(Tensor {
                dtype: Dtype::F32,
                shape: shape.clone(),
                bytes: little_endian(bytemuck::cast_slice(values)),
            }));
        }
        let part = name.rsplit_once('.');
        let layer = part.and_then(|(prefix, part)| Some((self.layers.get(prefix)?, part)));
        let (packed, codes) = match layer {
            Some((packed, "codes")) => (packed, true),
            Some((packed, "scales")) => (packed, false),
            _ => return self.original.tensor(name),
        };
        let size = (packed.out_features, packed.in_features);
        let shapes = Packed::shapes(
            packed.method,
            packed.form,
            packed.granularity,
            size.0,
            size.1,
        );
        Ok(Some(match codes {
            true => Tensor {
                dtype: Dtype::U32,
                shape: shapes.0,
                bytes: little_endian(&packed.codes),
            },
            false => Tensor {
                dtype: Dtype::F32,
                shape: shapes.1,
                bytes: little_endian(bytemuck::cast_slice(&packed.scales)),
            },
        }))
    }

    fn recipe(&self) -> Recipe {
        self.recipe
    }

    fn allow_nonfinite(&self) -> bool {
        self.original.allow_nonfinite()
    }
}
