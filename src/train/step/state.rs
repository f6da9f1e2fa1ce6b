//! What a checkpoint must hold for training to go on with the same bits.

use super::Trainer;
use super::formats::Format;
use super::parameters::{Kind, Parameter};
use super::progress::{EXPONENTS, Progress};
use super::tensors::Tensors;
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::files::checkpoint::Spec;
use crate::files::run::Part;
use crate::model::{Dtype, Method, Packed};
use std::collections::BTreeMap;

impl<B: Backend> Trainer<B> {
    /// Names and shapes of the parameters, in the order of [`Trainer::read`].
    pub fn parameters(&self) -> &[Parameter] {
        &self.list
    }

    /// Where training stands.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// Goes on from where an earlier training stood.
    ///
    /// # Errors
    /// [`Error::Usage`] when it was trained with another precision, or the scale is out of bounds.
    pub fn set_progress(&mut self, progress: Progress) -> Result<()> {
        let scale = progress.loss_scale;
        if scale.adapts != self.progress.loss_scale.adapts || !EXPONENTS.contains(&scale.exponent) {
            return Err(Error::usage(
                format!(
                    "a loss scale of 2^{} that {} does not fit this device's precision",
                    scale.exponent,
                    if scale.adapts { "adapts" } else { "is fixed" }
                ),
                "resume on the device that training began on",
            ));
        }
        self.progress = progress;
        Ok(())
    }

    /// Quantizes with this many stages from now on, at most those of the recipe: steps with one stage in between make
    /// a model whose first stage serves alone. With [`TrainOptions::nested`](crate::train::step::TrainOptions::nested) every step is
    /// made with one stage and with all: only these two numbers may be chosen, and only evaluations follow the choice.
    ///
    /// # Errors
    /// [`Error::Usage`] for another number, or a method without stages.
    pub fn set_stages(&mut self, stages: usize) -> Result<()> {
        let most = self.options.recipe.most_stages();
        if self.options.nested > 0.0 && (stages == 1 || stages == most) {
            self.quantizer.read_first(stages == 1);
            return Ok(());
        }
        if self.options.learned_scales {
            return Err(Error::usage(
                "a number of stages that changes while scales are learned",
                "learn the scales of all stages, or take their means",
            ));
        }
        match (
            self.options.recipe.method,
            &mut self.quantizer.recipe.method,
        ) {
            (Method::Phase { stages: most }, Method::Phase { stages: now })
                if (1..=most).contains(&stages) =>
            {
                if *now != stages {
                    *now = stages;
                    self.quantizer.stale();
                }
                Ok(())
            }
            (method, _) => Err(Error::usage(
                format!("{stages} stages of {method:?}"),
                "choose a number from one to the stages of the recipe",
            )),
        }
    }

    /// From now on the forward pass sees weights that are quantized to this share, and for the rest the masters. At first it is
    /// 1: weights as they are deployed.
    ///
    /// # Errors
    /// [`Error::Usage`] for a share outside 0 to 1.
    pub fn set_quantized_share(&mut self, share: f64) -> Result<()> {
        if !(0.0..=1.0).contains(&share) || share < 1.0 && self.is_sharded() {
            return Err(Error::usage(
                format!("weights that are quantized to a share of {share}"),
                "choose one from 0 to 1, and 1 where masters are dealt to ranks",
            ));
        }
        self.quantizer.set_share(share);
        Ok(())
    }

    /// From now on a step whose gradient is larger than this is skipped like one that is not finite.
    pub fn set_most_norm(&mut self, norm: f64) {
        self.most_norm = norm;
    }

    fn buffer(&self, part: Part, index: usize) -> Result<&B::Buffer> {
        let tensors = self.tensors.get(index).ok_or_else(|| {
            let what = format!("parameter {index} of {}", self.list.len());
            Error::usage(what, "there is none")
        })?;
        Ok(tensors.buffer(part))
    }

    /// How a checkpoint has this part of all parameters.
    pub fn layouts(&self, part: Part) -> Vec<Spec> {
        let of = |(parameter, tensors): (&Parameter, &Tensors<B>)| {
            let (dtype, shape) = match tensors.formats.of(part) {
                Format::F32 => (Dtype::F32, parameter.shape()),
                format => (Dtype::U32, vec![format.words(parameter.len())]),
            };
            let name = parameter.name.clone();
            Spec { name, dtype, shape }
        };
        self.list.iter().zip(&self.tensors).map(of).collect()
    }

    /// A part of parameter `index` of [`Trainer::parameters`] as the device holds it: see [`Trainer::layouts`].
    ///
    /// # Errors
    /// [`Error::Usage`] without such a parameter, [`Error::Device`] from the device.
    pub async fn words(&self, part: Part, index: usize) -> Result<Vec<u32>> {
        let buffer = self.buffer(part, index)?;
        let words = self.words_of(part, index);
        self.backend.download(buffer, 0, words).await
    }

    pub(super) fn words_of(&self, part: Part, index: usize) -> usize {
        let format = self.tensors[index].formats.of(part);
        format.words(self.list[index].len())
    }

    /// Values of a part of parameter `index` of [`Trainer::parameters`].
    ///
    /// # Errors
    /// As [`Trainer::words`].
    pub async fn read(&self, part: Part, index: usize) -> Result<Vec<f32>> {
        let words = self.words(part, index).await?;
        Ok(self.values(part, index, words))
    }

    /// The values of a part of parameter `index` that these words hold.
    pub(super) fn values(&self, part: Part, index: usize, words: Vec<u32>) -> Vec<f32> {
        let format = self.tensors[index].formats.of(part);
        if format == Format::F32 {
            return bytemuck::cast_vec(words);
        }
        let positive = part == Part::Second;
        format.values(&words, self.list[index].len(), positive)
    }

    /// The gradient of the last step, times its loss scale and not clipped: for tests.
    ///
    /// # Errors
    /// As [`Trainer::read`].
    pub async fn gradient(&self, index: usize) -> Result<Vec<f32>> {
        self.buffer(Part::Master, index)?;
        let (tensors, len) = (&self.tensors[index], self.list[index].len());
        let words = self.backend.download(&tensors.gradient, 0, len).await?;
        Ok(bytemuck::cast_vec(words))
    }

    /// The quantized layers, by their names without `.weight`, as the forward pass sees them: what is packed from the
    /// masters anew would have other scales where those are learned.
    ///
    /// # Errors
    /// [`Error::Usage`] for another method than fairy2i, failures of the device.
    pub async fn packed(&mut self) -> Result<Vec<(String, Packed)>> {
        self.refresh().await?;
        let (quantizer, list) = (&self.quantizer, &self.list);
        let mut all = Vec::new();
        while let Some(layer) = quantizer.packed(&self.backend, list, all.len()).await? {
            all.push(layer);
        }
        Ok(all)
    }

    /// Takes codes and scales of all layers that are quantized, by their names without `.weight`. From now on the codes
    /// stay, and only scales are trained.
    ///
    /// # Errors
    /// [`Error::Usage`] for layers that are missing, or of another shape or method; failures of the device.
    pub fn hold(&mut self, layers: &BTreeMap<String, Packed>) -> Result<()> {
        self.quantizer
            .hold(&self.backend, &self.list, &self.tensors, layers)
    }

    /// Overwrites a part of parameter `index` by its values; a master of fewer bits is rounded to the nearest.
    ///
    /// # Errors
    /// [`Error::Usage`] when there is no such parameter, it has another number of values, or it is a moment of fewer bits:
    /// [`Trainer::set_words`] takes those.
    pub fn write(&mut self, part: Part, index: usize, values: &[f32]) -> Result<()> {
        self.buffer(part, index)?;
        let (parameter, tensors) = (&self.list[index], &self.tensors[index]);
        let plain = tensors.formats.of(part) == Format::F32;
        if values.len() != parameter.len() || !plain && part != Part::Master {
            return Err(self.misfit(values.len(), "values", index));
        }
        if plain {
            return self.set_words(part, index, bytemuck::cast_slice(values));
        }
        if self.holds(part, index) {
            tensors.set(&self.backend, values)?;
        }
        self.quantizer.stale();
        Ok(())
    }

    /// Overwrites a part of parameter `index` by what [`Trainer::words`] gave. One that another rank has is left to it.
    ///
    /// # Errors
    /// [`Error::Usage`] when there is no such parameter, or it has another number of words.
    pub fn set_words(&mut self, part: Part, index: usize, words: &[u32]) -> Result<()> {
        let buffer = self.buffer(part, index)?;
        if words.len() != self.words_of(part, index) {
            return Err(self.misfit(words.len(), "words", index));
        }
        if self.holds(part, index) {
            self.backend.upload(buffer, 0, words)?;
        }
        if (self.list[index].kind, part) == (Kind::Scales, Part::Master) {
            self.quantizer.scales_are_known();
        }
        self.quantizer.stale();
        Ok(())
    }

    fn misfit(&self, n: usize, what: &str, index: usize) -> Error {
        let parameter = &self.list[index];
        let (name, shape) = (&parameter.name, parameter.shape());
        let what = format!("{n} {what} for `{name}` {shape:?}");
        let hint = "the checkpoint is of another model, or was trained with other moments";
        Error::usage(what, hint)
    }
}
