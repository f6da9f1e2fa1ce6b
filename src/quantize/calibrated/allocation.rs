//! Stages that are allocated by what each stack of layers does to the model's predictions.

use super::{Sequences, Step, Uncalibrated};
use crate::backend::{Device, block_on};
use crate::error::Result;
use crate::model::{Method, Mixed, Recipe};
use crate::quantize::calibrate::{CalibrateOptions, Judged, allocate, fewest, sensitivities};
use serde::{Deserialize, Serialize};

/// Stages that were allocated under a number of bits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Allocation {
    /// Bits for each quantized weight that were allowed, scales and padding included.
    pub bits: f64,
    /// What came of it, in the words of [`Mixed`].
    pub stages: String,
    /// What it was decided by, in forward order.
    pub stacks: Vec<AllocatedStack>,
}

/// Layers that run as one product, and their stages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AllocatedStack {
    /// Names without `.weight`.
    pub layers: Vec<String>,
    /// Mean Kullback-Leibler divergence from the full-precision model's predictions, in nats a token, with these layers
    /// alone at the fewest stages.
    pub divergence: f64,
    /// By how much one stage more divides the squared error of their outputs.
    pub factor: f64,
    /// Stages that they have now.
    pub stages: usize,
}

/// Tokens of the text that stacks are weighed with, on hardware and on a CPU.
const WEIGHED: [usize; 2] = [32_768, 8_192];

/// Tokens on which predictions are compared.
const COMPARED: [usize; 2] = [8_192, 1_024];

impl Uncalibrated<'_> {
    /// The recipe with as many stages as `bits` for each weight allow, where they are worth most.
    ///
    /// # Errors
    /// [`crate::Error::Usage`] for too few bits, those of the device.
    pub(super) fn allocate(
        &self,
        device: &Device,
        sequences: &Sequences,
        bits: f64,
        progress: &mut dyn FnMut(Step<'_>),
    ) -> Result<(Recipe, Allocation)> {
        let config = self.files.config();
        let first = fewest(config, &self.recipe, bits)?;
        let options = CalibrateOptions::new(Recipe {
            method: Method::Phase { stages: first },
            ..self.recipe
        });
        let (mut stacks, mut mixed) = (Vec::new(), Mixed::from(first as u8));
        // more than four stages there are not
        if first < 4 {
            let cpu = usize::from(!device.is_hardware());
            let other = match sequences.held_out.is_empty() {
                true => &sequences.used,
                false => &sequences.held_out,
            };
            let judged = Judged {
                text: some(&sequences.used, WEIGHED[cpu]),
                compared: some(other, COMPARED[cpu]),
                stages: first,
            };
            let mut next = |name: &str, done, of| progress(Step::Weighed { name, done, of });
            let work = sensitivities(device, config, self.weights, judged, options, &mut next);
            stacks = block_on(device, work)?;
            mixed = allocate(config, &self.recipe, bits, (first, &stacks))?;
        }
        let stacks = stacks.into_iter().map(|s| AllocatedStack {
            stages: mixed.of(&s.layers[0].prefix),
            layers: s.layers.into_iter().map(|l| l.prefix).collect(),
            divergence: s.divergence,
            factor: s.errors[0] / s.errors[1].max(f64::MIN_POSITIVE),
        });
        let allocation = Allocation {
            bits,
            stages: mixed.to_string(),
            stacks: stacks.collect(),
        };
        let recipe = Recipe {
            method: Method::phase(mixed),
            ..self.recipe
        };
        Ok((recipe, allocation))
    }
}

/// The first sequences, `tokens` of them or one sequence.
fn some(sequences: &[Vec<u32>], tokens: usize) -> &[Vec<u32>] {
    let longest = sequences.iter().map(Vec::len).max().unwrap_or(1);
    &sequences[..sequences.len().min((tokens / longest).max(1))]
}
