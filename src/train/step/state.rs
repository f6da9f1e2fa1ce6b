//! What a checkpoint must hold for training to go on with the same bits.

use super::Trainer;
use super::formats::Format;
use super::parameters::{Held, Kind, Parameter};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::files::checkpoint::Spec;
use crate::files::run::{LossScale, Part};
use crate::model::{Dtype, Method, Packed};
use std::collections::BTreeMap;

/// Where training stands, beside the tensors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Updates made so far: AdamW's step count. Skipped steps do not count.
    pub updates: u64,
    /// Base-2 logarithm of the loss scale.
    pub scale_exponent: i32,
    /// Steps since the loss scale was changed.
    pub since_change: u32,
    /// Whether the scale adapts: products are in half precision.
    pub adapts: bool,
}

/// Loss scale at the beginning, where it adapts: 2^15.
const FIRST_EXPONENT: i32 = 15;
/// Good steps after which it is doubled.
const PATIENCE: u32 = 500;
/// Its bounds: a gradient of 2^-24 still counts, and none overflows f32.
const EXPONENTS: std::ops::RangeInclusive<i32> = 0..=24;

impl From<Progress> for LossScale {
    fn from(progress: Progress) -> Self {
        Self {
            exponent: progress.scale_exponent,
            since_change: progress.since_change,
            adapts: progress.adapts,
        }
    }
}

impl Progress {
    /// Where a trainer stands that has made so many updates and left this loss scale.
    pub fn resumed(scale: LossScale, updates: u64) -> Self {
        Self {
            updates,
            scale_exponent: scale.exponent,
            since_change: scale.since_change,
            adapts: scale.adapts,
        }
    }

    pub(super) fn new(adapts: bool) -> Self {
        Self {
            updates: 0,
            scale_exponent: if adapts { FIRST_EXPONENT } else { 0 },
            since_change: 0,
            adapts,
        }
    }

    /// What the loss is multiplied by.
    pub fn scale(&self) -> f64 {
        f64::from(self.scale_exponent).exp2()
    }

    /// After a step: halves the scale if it overflowed, doubles it after many that did not.
    pub(super) fn note(&mut self, skipped: bool) {
        if !skipped {
            self.updates += 1;
        }
        if !self.adapts {
            return;
        }
        self.since_change += 1;
        let change = match skipped {
            true => -1,
            false if self.since_change >= PATIENCE => 1,
            false => return,
        };
        self.since_change = 0;
        let to = self.scale_exponent + change;
        self.scale_exponent = to.clamp(*EXPONENTS.start(), *EXPONENTS.end());
    }
}

impl<B: Backend> Trainer<B> {
    /// Names and shapes of the parameters, in the order of [`Trainer::read`].
    pub fn parameters(&self) -> &[Parameter] {
        &self.list
    }

    /// Where training stands.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// Goes on from there.
    ///
    /// # Errors
    /// [`Error::Usage`] when it was trained with another precision, or the scale is out of bounds.
    pub fn set_progress(&mut self, progress: Progress) -> Result<()> {
        if progress.adapts != self.progress.adapts || !EXPONENTS.contains(&progress.scale_exponent)
        {
            return Err(Error::usage(
                format!(
                    "a loss scale of 2^{} that {} does not fit this device's precision",
                    progress.scale_exponent,
                    if progress.adapts {
                        "adapts"
                    } else {
                        "is fixed"
                    }
                ),
                "resume on the device that training began on",
            ));
        }
        self.progress = progress;
        Ok(())
    }

    /// Quantizes with this many stages from now on, at most those of the recipe: steps with one stage in between make
    /// a model whose first stage serves alone. With [`TrainOptions::nested`](crate::train::step::TrainOptions::nested) every step is
    /// made with one stage and with all, which are the numbers that may be chosen, and it is evaluations that follow the
    /// choice.
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

    /// From now on the forward pass sees so much of the quantized weights, and for the rest the masters: 1, as they are
    /// deployed, unless told otherwise.
    ///
    /// # Errors
    /// [`Error::Usage`] for a share outside 0 to 1.
    pub fn set_quantized_share(&mut self, share: f64) -> Result<()> {
        if !(0.0..=1.0).contains(&share) {
            return Err(Error::usage(
                format!("weights that are quantized to a share of {share}"),
                "choose one from 0 to 1",
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
        let held = self.held.get(index).ok_or_else(|| {
            let what = format!("parameter {index} of {}", self.list.len());
            Error::usage(what, "there is none")
        })?;
        Ok(held.buffer(part))
    }

    /// How a checkpoint has this part of all parameters.
    pub fn layouts(&self, part: Part) -> Vec<Spec> {
        let of = |(parameter, held): (&Parameter, &Held<B>)| {
            let (dtype, shape) = match held.formats.of(part) {
                Format::F32 => (Dtype::F32, parameter.shape()),
                format => (Dtype::U32, vec![format.words(parameter.len())]),
            };
            let name = parameter.name.clone();
            Spec { name, dtype, shape }
        };
        self.list.iter().zip(&self.held).map(of).collect()
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

    fn words_of(&self, part: Part, index: usize) -> usize {
        let format = self.held[index].formats.of(part);
        format.words(self.list[index].len())
    }

    /// Values of a part of parameter `index` of [`Trainer::parameters`].
    ///
    /// # Errors
    /// As [`Trainer::words`].
    pub async fn read(&self, part: Part, index: usize) -> Result<Vec<f32>> {
        let words = self.words(part, index).await?;
        let format = self.held[index].formats.of(part);
        if format == Format::F32 {
            return Ok(bytemuck::cast_vec(words));
        }
        let positive = part == Part::Second;
        Ok(format.values(&words, self.list[index].len(), positive))
    }

    /// The gradient of the last step, times its loss scale and not clipped: for tests.
    ///
    /// # Errors
    /// As [`Trainer::read`].
    pub async fn gradient(&self, index: usize) -> Result<Vec<f32>> {
        self.buffer(Part::Master, index)?;
        let (held, len) = (&self.held[index], self.list[index].len());
        let words = self.backend.download(&held.gradient, 0, len).await?;
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
    /// stay: scales alone are trained of them.
    ///
    /// # Errors
    /// [`Error::Usage`] for layers that are missing, or of another shape or method; failures of the device.
    pub fn hold(&mut self, layers: &BTreeMap<String, Packed>) -> Result<()> {
        self.quantizer
            .hold(&self.backend, &self.list, &self.held, layers)
    }

    /// Overwrites a part of parameter `index` by its values; a master of fewer bits is rounded to the nearest.
    ///
    /// # Errors
    /// [`Error::Usage`] when there is no such parameter, it has another number of values, or it is a moment of fewer bits:
    /// [`Trainer::set_words`] takes those.
    pub fn write(&mut self, part: Part, index: usize, values: &[f32]) -> Result<()> {
        self.buffer(part, index)?;
        let (parameter, held) = (&self.list[index], &self.held[index]);
        let plain = held.formats.of(part) == Format::F32;
        if values.len() != parameter.len() || !plain && part != Part::Master {
            return Err(self.misfit(values.len(), "values", index));
        }
        if plain {
            return self.set_words(part, index, bytemuck::cast_slice(values));
        }
        held.set(&self.backend, values)?;
        self.quantizer.stale();
        Ok(())
    }

    /// Overwrites a part of parameter `index` by what [`Trainer::words`] gave.
    ///
    /// # Errors
    /// [`Error::Usage`] when there is no such parameter, or it has another number of words.
    pub fn set_words(&mut self, part: Part, index: usize, words: &[u32]) -> Result<()> {
        let buffer = self.buffer(part, index)?;
        if words.len() != self.words_of(part, index) {
            return Err(self.misfit(words.len(), "words", index));
        }
        self.backend.upload(buffer, 0, words)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_follows_overflows() {
        let mut progress = Progress::new(true);
        progress.note(true);
        assert_eq!((progress.scale(), progress.updates), (16384.0, 0));
        for _ in 0..PATIENCE {
            progress.note(false);
        }
        assert_eq!((progress.scale(), progress.updates), (32768.0, 500));
        for _ in 0..100 {
            progress.note(true);
        }
        assert_eq!(progress.scale(), 1.0);
        let mut fixed = Progress::new(false);
        fixed.note(true);
        assert_eq!(fixed.scale(), 1.0);
    }
}
