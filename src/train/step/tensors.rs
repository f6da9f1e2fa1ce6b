//! The parameters of a model in training: masters, gradients and moments on the device.

use super::formats::{Format, Formats};
use super::parameters::{EMBED, Kind, Parameter};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::files::run::Part;
use crate::model::{Form, Weights, finite};
use crate::random::{self, SplitMix64};
use half::{bf16, f16};
use std::f64::consts::FRAC_1_SQRT_2;

/// One parameter on a device, row-major.
pub(super) struct Tensors<B: Backend> {
    pub value: B::Buffer,
    /// In f32.
    pub gradient: B::Buffer,
    /// First moment.
    pub first: B::Buffer,
    /// Second moment.
    pub second: B::Buffer,
    pub formats: Formats,
}

impl<B: Backend> Tensors<B> {
    /// Zeros.
    pub(super) fn new(backend: &B, parameter: &Parameter, formats: Formats) -> Result<Self> {
        let (n, name) = (parameter.len(), &parameter.name);
        if (!formats.absent || formats.moments.is_some()) && n > backend.facts().max_words {
            return Err(Error::device(
                format!(
                    "`{name}` has {n} weights, a binding of this device {}",
                    backend.facts().max_words
                ),
                "train on another device, or the CPU backend",
            ));
        }
        // A buffer has at least one word.
        let words = |part| formats.words(part, n).max(1);
        let moment = words(Part::First);
        let gradient = if formats.moments.is_some() { n } else { 1 };
        Ok(Self {
            value: backend.alloc(name, words(Part::Master))?,
            gradient: backend.alloc("gradient", gradient)?,
            first: backend.alloc("first moment", moment)?,
            second: backend.alloc("second moment", moment)?,
            formats,
        })
    }

    /// One of its three tensors.
    pub(super) fn buffer(&self, part: Part) -> &B::Buffer {
        match part {
            Part::Master => &self.value,
            Part::First => &self.first,
            Part::Second => &self.second,
        }
    }

    /// Overwrites its value, rounded to the nearest where it has fewer bits.
    pub(super) fn set(&self, backend: &B, values: &[f32]) -> Result<()> {
        let words = match self.formats.value {
            Format::F32 => return backend.upload(&self.value, 0, bytemuck::cast_slice(values)),
            Format::F16 => pairs(values, |v| f16::from_f32(v).to_bits()),
            _ => pairs(values, |v| bf16::from_f32(v).to_bits()),
        };
        backend.upload(&self.value, 0, &words)
    }

    /// Every parameter from `weights`, in these `formats`. A head that is missing there begins as the embedding.
    /// NaN and infinity are refused, or begin as 0 where `weights` allow them.
    pub(super) fn load(
        backend: &B,
        parameters: &[Parameter],
        weights: &dyn Weights,
        formats: &[Formats],
    ) -> Result<Vec<Self>> {
        let mut all = Vec::with_capacity(parameters.len());
        for (parameter, &formats) in parameters.iter().zip(formats) {
            if formats.absent {
                all.push(Self::new(backend, parameter, formats)?);
                continue;
            }
            let problem = |what: String| Error::Tensors {
                file: "model".into(),
                problems: vec![format!("`{}` {what}", parameter.name)],
            };
            let mut tensor = weights.tensor(&parameter.name)?;
            if tensor.is_none() && Some(parameter) == parameters.last() {
                tensor = weights.tensor(&parameters[EMBED].name)?;
            }
            let tensor = tensor.ok_or_else(|| problem("is missing".into()))?;
            if tensor.shape != parameter.shape() {
                let what = format!("is {:?}, expected {:?}", tensor.shape, parameter.shape());
                return Err(problem(what));
            }
            let tensor = finite::numbers(&parameter.name, tensor, weights.allow_nonfinite())?;
            let values = tensor.to_f32(0..tensor.elements());
            weights.release();
            if values.len() != parameter.len() {
                return Err(problem(
                    "holds codes; train from the dense checkpoint".into(),
                ));
            }
            let tensors = Self::new(backend, parameter, formats)?;
            tensors.set(backend, &values)?;
            all.push(tensors);
        }
        Ok(all)
    }

    /// Every parameter from scratch: norms of one, matrices normal with deviation 0.02, of which the real and the imaginary
    /// part of a complex matrix have equal shares of the variance. Row r of parameter i takes its numbers from [`SplitMix64`] with the seed `at(at(seed, i), r)` of [`crate::random`].
    pub(super) fn random(
        backend: &B,
        parameters: &[Parameter],
        seed: u64,
        formats: &[Formats],
    ) -> Result<Vec<Self>> {
        let fill = |(i, parameter): (usize, &Parameter)| {
            let tensors = Self::new(backend, parameter, formats[i])?;
            if tensors.formats.absent {
                return Ok(tensors);
            }
            let seed = random::at(seed, i as u64);
            let write = |first: usize, words: &mut [u32]| {
                for (row, words) in words.chunks_exact_mut(parameter.columns).enumerate() {
                    let values: &mut [f32] = bytemuck::cast_slice_mut(words);
                    match parameter.kind {
                        Kind::Norm => values.fill(1.0),
                        Kind::Bias => values.fill(0.0),
                        _ => {
                            let seed = random::at(seed, (first + row) as u64);
                            normal(seed, deviation(parameter), values);
                        }
                    }
                }
            };
            if tensors.formats.value == Format::F32 {
                let rows = crate::backend::Fill::new(parameter.rows, parameter.columns, &write);
                backend.upload_with(&tensors.value, 0, &rows)?;
            } else {
                let mut words = vec![0; parameter.len()];
                write(0, &mut words);
                tensors.set(backend, bytemuck::cast_slice(&words))?;
            }
            Ok(tensors)
        };
        parameters.iter().enumerate().map(fill).collect()
    }
}

/// Two values a word, the first one in its lower half.
fn pairs(values: &[f32], bits: impl Fn(f32) -> u16) -> Vec<u32> {
    let pair = |pair: &[f32]| {
        let upper = pair.get(1).map_or(0, |&v| bits(v));
        u32::from(bits(pair[0])) | u32::from(upper) << 16
    };
    values.chunks(2).map(pair).collect()
}

/// Deviation of initial weights.
const DEVIATION: f64 = 0.02;

/// The deviation of a parameter's initial values.
fn deviation(parameter: &Parameter) -> f64 {
    match parameter.form {
        Form::WidelyLinear => DEVIATION,
        Form::Conjugate => DEVIATION * FRAC_1_SQRT_2,
    }
}

/// Normal values of this deviation, by pairs.
fn normal(seed: u64, deviation: f64, values: &mut [f32]) {
    let mut random = SplitMix64::new(seed);
    for pair in values.chunks_mut(2) {
        for (value, number) in pair.iter_mut().zip(random.normal_pair()) {
            *value = (deviation * number) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_values_are_normal() {
        let mut values = vec![0.0; 100_001];
        for (row, values) in values.chunks_mut(100).enumerate() {
            normal(3 << 32 | row as u64, DEVIATION, values);
        }
        let n = values.len() as f64;
        let mean: f64 = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let square: f64 = values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / n;
        assert!(mean.abs() < 3e-4 && (square.sqrt() - DEVIATION).abs() < 2e-4);
    }
}
