//! A model whose layers are calibrated and not written yet.

use crate::error::Result;
use crate::model::{Dtype, Packed, Recipe, Tensor, Weights};
use std::borrow::Cow;

/// Calibrated layers, and everything else as the original has it.
pub(super) struct Made<'a> {
    original: &'a dyn Weights,
    recipe: Recipe,
    layers: Vec<(String, Packed)>,
}

impl<'a> Made<'a> {
    /// `layers` by their names without `.weight`.
    pub fn new(original: &'a dyn Weights, recipe: Recipe, layers: Vec<(String, Packed)>) -> Self {
        Self {
            original,
            recipe,
            layers,
        }
    }

    /// The layers.
    pub fn layers(&self) -> &[(String, Packed)] {
        &self.layers
    }
}

impl Weights for Made<'_> {
    fn tensor(&self, name: &str) -> Result<Option<Tensor<'_>>> {
        for (prefix, packed) in &self.layers {
            let part = name.strip_prefix(prefix.as_str());
            let (codes, scales) = Packed::shapes(
                packed.method,
                packed.granularity,
                packed.out_features,
                packed.in_features,
            );
            let (dtype, shape, bytes) = match part {
                Some(".codes") => (Dtype::U32, codes, bytemuck::cast_slice(&packed.codes)),
                Some(".scales") => (Dtype::F32, scales, bytemuck::cast_slice(&packed.scales)),
                _ => continue,
            };
            let bytes: Cow<'_, [u8]> = match cfg!(target_endian = "little") {
                true => Cow::Borrowed(bytes),
                false => {
                    let (words, _) = bytes.as_chunks::<4>();
                    words.iter().flat_map(|w| w.iter().rev().copied()).collect()
                }
            };
            return Ok(Some(Tensor {
                dtype,
                shape,
                bytes,
            }));
        }
        self.original.tensor(name)
    }

    fn recipe(&self) -> Recipe {
        self.recipe
    }

    fn allow_nonfinite(&self) -> bool {
        self.original.allow_nonfinite()
    }
}
