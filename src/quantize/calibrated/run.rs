//! A calibration that is written down layer by layer, and goes on where an earlier one was killed.

use super::Step;
use super::report::{CalibratedLayer, bug};
use crate::error::{Error, Result};
use crate::files::layers::Layers;
use crate::model::config::LinearShape;
use crate::model::{Config, Packed, Recipe};
use crate::quantize::calibrate::{Journal, LayerErrors};
use std::collections::BTreeMap;

/// What the names of files of first stages begin with.
pub(super) const FIRST_STAGES: &str = "first-stage.";

/// A calibration that is written down layer by layer.
pub(super) struct Run<'a> {
    pub layers: Layers,
    /// What their files' names begin with.
    pub folder: &'static str,
    recipe: Recipe,
    /// Layers of runs before this one, and of all.
    of: (usize, usize),
    resumed: usize,
    pub report: Vec<CalibratedLayer>,
    progress: &'a mut dyn FnMut(Step<'_>),
}

impl<'a> Run<'a> {
    /// A run whose finished layers are in `layers`; `of` counts the layers of runs before it, and those of all.
    pub(super) fn new(
        layers: Layers,
        recipe: Recipe,
        of: (usize, usize),
        progress: &'a mut dyn FnMut(Step<'_>),
    ) -> Self {
        Self {
            layers,
            folder: "",
            recipe,
            of,
            resumed: 0,
            report: Vec::new(),
            progress,
        }
    }

    /// A layer as its file is called.
    fn file_of(&self, layer: &LinearShape) -> LinearShape {
        LinearShape {
            prefix: format!("{}{}", self.folder, layer.prefix),
            ..layer.clone()
        }
    }

    fn read(&self, layer: &LinearShape) -> Result<Option<(Packed, CalibratedLayer)>> {
        let method = self.recipe.method.of(&layer.prefix);
        let granularity = self.recipe.granularity;
        let file = self.file_of(layer);
        let read = self.layers.read(&file, method, granularity)?;
        let with_note = read.and_then(|(packed, note)| {
            let note = serde_json::from_str(&note).ok()?;
            Some((packed, note))
        });
        Ok(with_note)
    }

    /// All layers, once they are made.
    pub(super) fn all(&self, config: &Config) -> Result<BTreeMap<String, Packed>> {
        let layers = self.recipe.layers(config).into_iter();
        layers
            .map(|layer| match self.read(&layer)? {
                Some((packed, _)) => Ok((layer.prefix, packed)),
                None => Err(Error::usage(
                    format!("the finished layer {} is gone", layer.prefix),
                    "start again, and leave the folder beside the output alone",
                )),
            })
            .collect()
    }
}

impl Journal for Run<'_> {
    fn made(&mut self, layer: &LinearShape) -> Result<Option<Packed>> {
        let Some((packed, note)) = self.read(layer)? else {
            return Ok(None);
        };
        if !self.report.iter().any(|l| l.name == note.name) {
            self.report.push(note);
            self.resumed += 1;
            (self.progress)(Step::Resumed(self.of.0 + self.resumed));
        }
        Ok(Some(packed))
    }

    fn begins(&mut self, layer: &LinearShape) {
        self.report.retain(|l| l.name != layer.prefix);
        let (before, of) = self.of;
        let done = before + self.report.len();
        let name = &layer.prefix;
        (self.progress)(Step::Layer { name, done, of });
    }

    fn take(&mut self, layer: &LinearShape, packed: &Packed, errors: LayerErrors) -> Result<()> {
        let note = CalibratedLayer {
            name: layer.prefix.clone(),
            shape: [layer.out_features, layer.in_features],
            weight_error: Some(errors.weights),
            output_error_before: errors.outputs.first().copied(),
            output_error: errors.outputs.last().copied(),
            bits_per_weight: packed.bits_per_weight(),
        };
        let text = serde_json::to_string(&note).map_err(bug)?;
        self.layers.write(&self.file_of(layer), packed, &text)?;
        self.report.push(note);
        Ok(())
    }
}
