//! The linear layers of a few blocks, made of noise, which are run as a model would run them with any [`Tuning`].

use crate::backend::{Backend, Tuning, upload_new};
use crate::error::Result;
use crate::model::blueprint::Output;
use crate::model::linear::{Input, Linear, LinearScratch, Run};
use crate::model::{Config, LoadOptions};
use crate::ops::quantize::Activations;
use std::time::Duration;
use web_time::Instant;

/// Bytes of codes that no device has in its caches, so that they come from memory as those of a large model do.
const UNCACHED: usize = 96 << 20;

/// What is timed.
pub(super) struct Bed<'b, B: Backend> {
    backend: &'b B,
    config: &'b Config,
    activations: Activations,
    blocks: Vec<Vec<Linear<B>>>,
    scratch: LinearScratch<B>,
    norm: B::Buffer,
    x: B::Buffer,
    y: B::Buffer,
}

impl<'b, B: Backend> Bed<'b, B> {
    /// For up to `tokens` tokens; scratch buffers have room for `widest`, which has the largest numbers.
    pub(super) async fn new(
        backend: &'b B,
        config: &'b Config,
        options: &LoadOptions,
        (stages, tokens): (usize, usize),
        widest: Tuning,
    ) -> Result<Self> {
        let scratch = LoadOptions {
            batch: tokens,
            exact: true,
            ..*options
        };
        let scratch = LinearScratch::new(backend, config, &scratch, &widest)?;
        let activations = options.activations;
        let mut blocks = Vec::new();
        let (mut bytes, copies) = (0, config.layers.max(1));
        while blocks.len() < copies && bytes < UNCACHED {
            let mut block = Vec::new();
            for (of, layers) in config.blueprint().stacks.iter().zip(config.stacks(0)) {
                let outs = layers.iter().map(|layer| layer.out_features).collect();
                let (form, inputs) = (layers[0].form, layers[0].in_features);
                let name = of.name.to_owned();
                let made =
                    Linear::synthetic(backend, name, form, outs, inputs, stages, activations);
                let made = made.await?.rotated(options.recipe.rotated);
                block.push(made.in_runs(config.half_run(of)));
            }
            bytes += block.iter().map(Linear::bytes).sum::<usize>();
            blocks.push(block);
            // Drivers that run shaders on the host have its caches, and take long to make noise.
            if backend.tunable().is_some_and(|tunable| tunable.software) {
                break;
            }
        }
        let (inputs, outputs) = (config.widest_input(), config.widest_output());
        Ok(Self {
            backend,
            config,
            activations,
            blocks,
            scratch,
            norm: upload_new(backend, "norm", &vec![1f32.to_bits(); inputs])?,
            x: backend.alloc("inputs", tokens * inputs)?,
            y: backend.alloc("outputs", tokens * outputs)?,
        })
    }

    /// Blocks of a round.
    pub(super) fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// Runs all layers once, as a device with this tuning would.
    pub(super) async fn round(&self, tuning: Tuning, tokens: usize) -> Result<()> {
        let run = Run {
            tokens,
            accumulate: false,
            activations: self.activations,
            exact: true,
            tuning,
        };
        let backend = self.backend;
        let blueprint = self.config.blueprint();
        for block in &self.blocks {
            let mut n_absmax_partials = 0;
            for (of, linear) in blueprint.stacks.iter().zip(block) {
                let norm = of.norm.map(|_| (&self.norm, self.config.rms()));
                let input = Input {
                    x: &self.x,
                    n_absmax_partials: if norm.is_some() { 0 } else { n_absmax_partials },
                    norm,
                };
                let (scratch, y) = (&self.scratch, &self.y);
                n_absmax_partials = match of.output {
                    Output::Gated => {
                        let gate = (blueprint.gate, y);
                        linear
                            .apply_gated(backend, scratch, input, gate, run)
                            .await?
                    }
                    Output::Attention | Output::Residual => {
                        linear.apply(backend, scratch, input, y, run).await?;
                        0
                    }
                };
            }
        }
        Ok(())
    }

    /// Seconds of a round, of as many as take `least`.
    pub(super) async fn time(&self, tuning: Tuning, tokens: usize, least: Duration) -> Result<f64> {
        let mut rounds = 1;
        loop {
            let begun = Instant::now();
            for _ in 0..rounds {
                self.round(tuning, tokens).await?;
            }
            self.backend.download(&self.y, 0, 1).await?;
            let took = begun.elapsed();
            if took >= least {
                return Ok(took.as_secs_f64() / f64::from(rounds));
            }
            let times = least.as_secs_f64() / took.as_secs_f64().max(1e-6);
            rounds = (f64::from(rounds) * (1.1 * times).clamp(2.0, 32.0)) as u32;
        }
    }
}
