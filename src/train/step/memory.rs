//! Device memory that training needs, known before anything is allocated.

use super::formats::{Formats, portion_words};
use super::options::TrainOptions;
use super::parameters::{Kind, quantized};
use super::scope::Scope;
use super::{quantizer, scratch, teacher};
use crate::backend::Backend;
use crate::error::Result;
use crate::files::run::Part;
use crate::model::Config;
use crate::model::budget::{self, product, sum};
use crate::ops::Features;

/// Bytes of device memory by what they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Parameters.
    pub masters: usize,
    /// Both moments of AdamW.
    pub moments: usize,
    /// Gradients in f32.
    pub gradients: usize,
    /// Codes and scales of all layers, dense weights of one block and the head.
    pub quantized: usize,
    /// Inputs of the blocks, and what their backward passes need.
    pub activations: usize,
    /// Gradients of activations, logits.
    pub scratch: usize,
    /// A teacher's weights, its logits and what it needs for them.
    pub teacher: usize,
}

impl Memory {
    /// What training `config` with `options` takes on a device with these abilities, whose bindings have at most
    /// `max_words` words.
    pub fn of(config: &Config, options: &TrainOptions, level: Features, max_words: usize) -> Self {
        let config = &options.part(config);
        let half = options.halves(config, level);
        let mut list = options.parameters(config);
        if options.learned_scales {
            list.extend(quantizer::scales(options.recipe, config, &list));
        }
        let formats = Formats::trained(options, config, &list);
        let words = |part: Part| {
            let each = list.iter().zip(&formats);
            product(&[4, sum(each.map(|(p, f)| f.words(part, p.len())))])
        };
        let trained = list.iter().zip(&formats);
        let trained = trained.filter(|(_, f)| f.moments.is_some());
        let gradients = sum(trained.map(|(p, _)| p.len()));
        let scales = || list.iter().filter(|p| p.kind == Kind::Scales);
        let shared = match options.scope {
            Scope::Scales => {
                let layers = quantized(options.recipe, config, &list);
                quantizer::shared_words(&list, &layers, scales())
            }
            _ => 0,
        };
        let firsts = match options.nested > 0.0 {
            true => sum(scales().map(|p| p.len())),
            false => 0,
        };
        let listed = (&list[..], &formats[..]);
        let [codes, dense, meanwhile] = quantizer::words(options.recipe, config, listed, half);
        let portions = portion_words(&formats, &list);
        let [activations, rest] = scratch::words(config, options, max_words, half);
        Self {
            masters: words(Part::Master),
            moments: sum([words(Part::First), words(Part::Second)]),
            gradients: product(&[4, sum([gradients, shared])]),
            quantized: 4 * (codes + firsts + dense),
            activations: product(&[4, activations]),
            scratch: product(&[4, sum([rest, meanwhile, portions])]),
            teacher: product(&[4, teacher::words(config, options, max_words, half)]),
        }
    }

    /// All together.
    pub fn total(&self) -> usize {
        sum(self.parts().map(|p| p.1))
    }

    /// The parts with their names.
    pub fn parts(&self) -> [(&'static str, usize); 7] {
        [
            ("masters", self.masters),
            ("moments", self.moments),
            ("gradients", self.gradients),
            ("quantized weights", self.quantized),
            ("activations", self.activations),
            ("scratch", self.scratch),
            ("teacher", self.teacher),
        ]
    }

    /// Refuses what `backend` has no room for.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) with the bytes needed and available.
    pub fn check<B: Backend>(&self, backend: &B) -> Result<()> {
        let hint = "take smaller micro-batches, shorter texts or another device";
        budget::check(backend, "training", &self.parts(), hint)
    }
}

/// By part in one line: `3.0 GiB (masters 1.0 GiB, moments 2.0 GiB)`.
impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let size = |bytes: usize| crate::units::memory(bytes as u64);
        let parts = self.parts().into_iter().filter(|part| part.1 > 0);
        let parts: Vec<_> = parts
            .map(|(name, bytes)| format!("{name} {}", size(bytes)))
            .collect();
        write!(f, "{} ({})", size(self.total()), parts.join(", "))
    }
}
