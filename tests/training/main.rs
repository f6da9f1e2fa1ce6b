//! Training on tiny models: gradients, and what must not change a bit.

mod attention;
mod block8;
mod blocks;
mod clusters;
#[path = "../common/mod.rs"]
mod common;
mod complex;
mod exact;
mod formats;
mod gradient;
mod groups;
mod memory;
mod scales;
mod teacher;

use common::{devices, one_at_a_time};
use fairy2i_gpu::Result;
use fairy2i_gpu::backend::{Backend, block_on};
use fairy2i_gpu::model::config::{Rope, RopeScaling};
use fairy2i_gpu::model::{Config, Granularity, Method, Recipe};
use fairy2i_gpu::train::step::{Batch, Part, StepReport, TrainOptions, Trainer};

/// A model with everything uneven.
pub fn config() -> Config {
    Config {
        architecture: "LlamaForCausalLM".into(),
        vocab: 23,
        hidden: 10,
        intermediate: 14,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 6,
        context: 64,
        rope: Rope {
            theta: 100.0,
            scaling: RopeScaling::None,
        },
        norm_eps: 1e-5,
        tied: false,
        bos: Some(1),
        eos: vec![2],
        variant: Default::default(),
    }
}

pub fn options(method: Method, checkpoint: bool) -> TrainOptions {
    let recipe = Recipe {
        method,
        granularity: Granularity::Tensor,
        skip_head: false,
        rotated: false,
    };
    TrainOptions {
        checkpoint,
        exact: true,
        ..TrainOptions::new(recipe, 2, 7)
    }
}

/// A trainer of random weights for micro-batches of up to 2 x 7 tokens.
pub fn trainer<'a, B: Backend>(
    backend: &'a B,
    config: &Config,
    method: Method,
    checkpoint: bool,
) -> Result<Trainer<&'a B>> {
    Trainer::from_scratch(backend, config, options(method, checkpoint), 42)
}

/// Two micro-batches as (tokens, labels, length): repeated tokens, ignored labels.
pub fn batches(config: &Config) -> Vec<(Vec<u32>, Vec<i32>, usize)> {
    let make = |seed: u32, texts: usize, length: usize| {
        let id = |i: u32| fairy2i_gpu::ops::hash32(i, seed) % config.vocab as u32;
        let tokens: Vec<u32> = (0..(texts * length) as u32).map(id).collect();
        let mut labels: Vec<i32> = tokens.iter().map(|&t| t as i32).collect();
        labels[2] = -100;
        labels[length + 1] = -100;
        (tokens, labels, length)
    };
    vec![make(5, 2, 7), make(6, 2, 4)]
}

pub fn steps<B: Backend>(trainer: &mut Trainer<&B>, count: usize) -> Result<Vec<StepReport>> {
    let data = batches(trainer.config());
    let given: Vec<_> = data
        .iter()
        .map(|(tokens, labels, length)| Batch {
            tokens,
            labels,
            length: *length,
        })
        .collect();
    let backend = *trainer.backend();
    (0..count)
        .map(|_| block_on(backend, trainer.step(&given, 1e-2, 0.1)))
        .collect()
}

/// All tensors of a trainer, as bits.
pub fn state<B: Backend>(trainer: &Trainer<&B>) -> Result<Vec<Vec<u32>>> {
    let mut all = Vec::new();
    for i in 0..trainer.parameters().len() {
        for part in Part::ALL {
            let values = block_on(*trainer.backend(), trainer.read(part, i))?;
            all.push(bytemuck::cast_vec(values));
        }
    }
    Ok(all)
}

pub const W2: Method = Method::Phase { stages: 2 };

#[test]
fn a_run_that_is_resumed_ends_with_the_same_bits() -> Result<()> {
    let _one = one_at_a_time();
    for device in devices() {
        for method in [W2, Method::Ternary] {
            let mut whole = trainer(&device, &config(), method, true)?;
            let reports = steps(&mut whole, 4)?;
            let mut first = trainer(&device, &config(), method, true)?;
            assert_eq!(steps(&mut first, 2)?, reports[..2]);
            let other = options(method, true);
            let mut second = Trainer::from_scratch(&device, &config(), other, 7)?;
            for (i, values) in state(&first)?.into_iter().enumerate() {
                let values: Vec<f32> = bytemuck::cast_vec(values);
                second.write(Part::ALL[i % 3], i / 3, &values)?;
            }
            second.set_progress(first.progress())?;
            assert_eq!(steps(&mut second, 2)?, reports[2..]);
            assert_eq!(state(&second)?, state(&whole)?);
            assert!(reports[3].loss < reports[0].loss);
        }
    }
    Ok(())
}

#[test]
fn checkpointing_changes_no_bit() -> Result<()> {
    let _one = one_at_a_time();
    for device in devices() {
        let mut ends = Vec::new();
        for checkpoint in [false, true] {
            let mut trainer = trainer(&device, &config(), W2, checkpoint)?;
            ends.push((steps(&mut trainer, 2)?, state(&trainer)?));
        }
        assert!(ends[0] == ends[1], "{}", device.name());
    }
    Ok(())
}

#[test]
fn every_recipe_learns() -> Result<()> {
    let _one = one_at_a_time();
    let recipes = [
        (Method::Full, Granularity::Tensor),
        (W2, Granularity::Row),
        (Method::Phase { stages: 4 }, Granularity::Group(16)),
        (
            W2,
            Granularity::Tile {
                rows: 64,
                columns: 64,
            },
        ),
        (Method::Binary, Granularity::Tensor),
    ];
    for device in devices() {
        for (method, granularity) in recipes {
            for skip_head in [false, true] {
                let mut options = options(method, true);
                (options.recipe.granularity, options.recipe.skip_head) = (granularity, skip_head);
                let mut config = config();
                config.tied = skip_head;
                let mut trainer = Trainer::from_scratch(&device, &config, options, 1)?;
                let reports = steps(&mut trainer, 6)?;
                assert!(
                    reports[5].loss < reports[0].loss,
                    "{method:?} {granularity:?}"
                );
            }
        }
    }
    Ok(())
}

#[test]
fn a_loss_that_is_not_finite_changes_nothing() -> Result<()> {
    let _one = one_at_a_time();
    for device in devices() {
        let mut trainer = trainer(&device, &config(), Method::Full, true)?;
        let last = trainer
            .parameters()
            .iter()
            .position(|p| p.name == "model.norm.weight");
        trainer.write(Part::Master, last.unwrap(), &[3e38; 10])?;
        let before = state(&trainer)?;
        let reports = steps(&mut trainer, 2)?;
        assert!(reports.iter().all(|r| r.skipped));
        assert_eq!(trainer.progress().updates, 0);
        assert_eq!(state(&trainer)?, before);
    }
    Ok(())
}

#[test]
fn an_outlier_changes_nothing() -> Result<()> {
    let _one = one_at_a_time();
    let cpu = fairy2i_gpu::backend::Cpu::new();
    let mut trainer = trainer(&cpu, &config(), W2, true)?;
    let usual = steps(&mut trainer, 1)?[0].grad_norm;
    let before = state(&trainer)?;
    trainer.set_most_norm(usual / 100.0);
    assert!(steps(&mut trainer, 1)?[0].skipped);
    assert_eq!(state(&trainer)?, before);
    trainer.set_most_norm(f64::INFINITY);
    assert!(!steps(&mut trainer, 1)?[0].skipped);
    assert_eq!(trainer.progress().updates, 2);
    Ok(())
}

#[test]
fn an_evaluation_is_the_loss_of_the_next_step() -> Result<()> {
    let _one = one_at_a_time();
    for device in devices() {
        let mut trainer = trainer(&device, &config(), W2, true)?;
        steps(&mut trainer, 1)?;
        let (tokens, labels, length) = &batches(&config())[0];
        let batch = Batch {
            tokens,
            labels,
            length: *length,
        };
        let (sum, count) = block_on(&device, trainer.evaluate(&[batch]))?;
        let report = block_on(&device, trainer.step(&[batch], 0.0, 0.0))?;
        assert_eq!((sum / count as f64, count), (report.loss, report.tokens));
    }
    Ok(())
}

#[test]
fn steps_of_one_stage_are_those_of_a_model_with_one() -> Result<()> {
    let _one = one_at_a_time();
    let w1 = Method::Phase { stages: 1 };
    for device in devices() {
        let mut one = trainer(&device, &config(), w1, true)?;
        let mut nested = trainer(&device, &config(), W2, true)?;
        nested.set_stages(1)?;
        assert_eq!(steps(&mut nested, 2)?, steps(&mut one, 2)?);
        assert_eq!(state(&nested)?, state(&one)?);
        let mut two = trainer(&device, &config(), W2, true)?;
        for (i, values) in state(&one)?.into_iter().enumerate() {
            let values: Vec<f32> = bytemuck::cast_vec(values);
            two.write(Part::ALL[i % 3], i / 3, &values)?;
        }
        two.set_progress(one.progress())?;
        nested.set_stages(2)?;
        assert_eq!(steps(&mut nested, 1)?, steps(&mut two, 1)?);
        assert!(nested.set_stages(3).is_err() && nested.set_stages(0).is_err());
        assert!(
            trainer(&device, &config(), Method::Full, true)?
                .set_stages(1)
                .is_err()
        );
    }
    Ok(())
}

#[test]
fn what_does_not_fit_is_refused() -> Result<()> {
    let cpu = fairy2i_gpu::backend::Cpu::new();
    let mut trainer = trainer(&cpu, &config(), W2, true)?;
    let labels = [3; 40];
    let mut refused = |tokens: &[u32], labels: &[i32], length| {
        let batch = Batch {
            tokens,
            labels,
            length,
        };
        block_on(&cpu, trainer.step(&[batch], 0.1, 0.0)).is_err()
    };
    assert!(
        refused(&[1, 2, 23], &labels[..3], 3),
        "a token beyond the vocabulary"
    );
    assert!(refused(&[1, 2, 3], &[1, 2, 23], 3), "a label beyond it");
    assert!(refused(&[1, 2, 3], &labels[..2], 3), "too few labels");
    assert!(refused(&[1, 2, 3], &[-100; 3], 3), "nothing counts");
    assert!(refused(&[1; 8], &labels[..8], 8), "too long");
    assert!(refused(&[1; 9], &labels[..9], 3), "too many");
    assert!(refused(&[1; 5], &labels[..5], 3), "no whole texts");
    assert!(refused(&[], &[], 3), "nothing");
    let mut bad = options(Method::Phase { stages: 5 }, true);
    assert!(Trainer::from_scratch(&cpu, &config(), bad, 0).is_err());
    bad = options(W2, true);
    bad.length = 65;
    assert!(Trainer::from_scratch(&cpu, &config(), bad, 0).is_err());
    Ok(())
}
