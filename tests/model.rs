//! Whole models where a device sets narrow limits, and where input is refused.

#[path = "model/autotune.rs"]
mod autotune;
mod common;
#[path = "model/scheduler.rs"]
mod scheduler;
#[path = "model/scores.rs"]
mod scores;
#[path = "model/together.rs"]
mod together;
#[path = "model/windows.rs"]
mod windows;

use common::{Device, devices};
use fairy2i_gpu::backend::{
    Backend, DeviceFacts, Gpu, Lockstep, Options, Tuning, adapters, block_on,
};
use fairy2i_gpu::model::{Granularity, LoadOptions, Method, Model, Recipe};
use fairy2i_gpu::ops::Features;
use fairy2i_gpu::ops::attention::Ranges;
use fairy2i_gpu::ops::quantize::Activations;
use fairy2i_gpu::{Error, files};

/// The folder of the test model.
const STORIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/models/stories260k");

fn stories() -> files::ModelFolder {
    files::open(STORIES).expect("the test model opens")
}

fn options(method: Method, granularity: Granularity, activations: Activations) -> LoadOptions {
    LoadOptions {
        recipe: Recipe {
            method,
            granularity,
            skip_head: false,
            rotated: false,
        },
        activations,
        context: 64,
        batch: 16,
        kv: None,
        swa_full: false,
        exact: false,
    }
}

const PHASE: Method = Method::Phase { stages: 2 };
/// "Once upon a time, there was a", longer than a batch.
const TOKENS: [u32; 18] = [
    1, 403, 407, 261, 378, 432, 383, 286, 261, 376, 298, 315, 421, 395, 317, 426, 338, 401,
];

/// A prompt of any length, another one for each `salt`.
fn prompt(length: usize, salt: usize) -> Vec<u32> {
    (0..length)
        .map(|i| TOKENS[(i * salt + length) % 18])
        .collect()
}

async fn logits<B: Backend>(backend: B, options: LoadOptions) -> fairy2i_gpu::Result<Vec<u32>> {
    let opened = stories();
    let weights = &*opened.weights;
    let model = Model::load(backend, &opened.config, weights, options, &mut |_| {}).await?;
    let mut session = model.session()?;
    session.feed(&TOKENS).await?;
    Ok(session
        .logits()
        .await?
        .into_iter()
        .map(f32::to_bits)
        .collect())
}

/// Every weight and the embedding are split over bindings of 8 KB; the results are the same bits.
#[test]
fn small_bindings_change_nothing() {
    let _one = common::one_at_a_time();
    let all = pollster::block_on(adapters());
    if all.is_empty() {
        common::setups(); // says so, or fails in CI
    }
    for index in 0..all.len() {
        for (method, mode) in [
            (PHASE, Activations::Int16),
            (PHASE, Activations::Float),
            (Method::Full, Activations::Float),
        ] {
            let run = |max_binding| {
                let options_of_gpu = Options {
                    max_binding,
                    ..Options::default()
                };
                let gpu = pollster::block_on(Gpu::open(index, options_of_gpu)).unwrap();
                let mut options = options(method, Granularity::Tensor, mode);
                options.exact = true; // pieces may be too small for cooperative matrices
                block_on(&gpu, logits(&gpu, options)).unwrap()
            };
            assert_eq!(run(Some(24 << 10)), run(None), "{method:?} {mode:?}");
        }
    }
}

/// All granularities and methods run in lockstep with the reference on every device.
#[test]
fn every_recipe_agrees_in_lockstep() {
    let _one = common::one_at_a_time();
    for device in devices() {
        let twin = Lockstep::new(device);
        for granularity in [
            Granularity::Tensor,
            Granularity::Row,
            Granularity::Group(16),
            Granularity::Tile {
                rows: 4,
                columns: 16,
            },
        ] {
            for mode in [Activations::Int16, Activations::Int8, Activations::Float] {
                let options = options(PHASE, granularity, mode);
                block_on(&twin, logits(&twin, options)).unwrap();
            }
        }
        for method in [Method::Binary, Method::Ternary, Method::Full] {
            let options = options(method, Granularity::Tensor, Activations::Int16);
            block_on(&twin, logits(&twin, options)).unwrap();
        }
        assert!(twin.compared() > 1000);
    }
}

/// Numbers that fit no device.
const TUNING: Tuning = Tuning {
    source: "a test",
    processors: 3,
    ranges: Ranges {
        groups: 5,
        least: 2,
    },
    gemv_tokens: 2,
    bits_tokens: [3, 2],
    exact_tokens: [6, 5],
    ahead: true,
    expand_tokens: 4,
    tall_tokens: 4,
    fused_subgroup: 4,
    fused_groups: 2,
    integer_gemv_tokens: 3,
    first_submission: 1,
    submission_work: 1.0,
    memory_blocks: (1 << 16, 1 << 20),
};

/// Tuning decides how fast something is computed, never what: every op agrees with its reference at numbers that fit no
/// device, on every adapter and on the CPU.
#[test]
fn other_tuning_changes_nothing_but_speed() {
    let _one = common::one_at_a_time();
    let tuned = |facts: DeviceFacts| DeviceFacts {
        tuning: TUNING,
        ..facts
    };
    let mut devices = vec![common::Stated::new(Device::cpu(), tuned)];
    for index in 0..pollster::block_on(adapters()).len() {
        let options = Options {
            tuning: Some(TUNING),
            ..Options::default()
        };
        let gpu = pollster::block_on(Gpu::open(index, options)).expect("adapter opens");
        devices.push(common::Stated::new(gpu.into(), |facts| facts));
    }
    for device in devices {
        let checked = Lockstep::new(device);
        assert_eq!(checked.facts().tuning, TUNING);
        for mode in [Activations::Int16, Activations::Int8, Activations::Float] {
            let options = options(PHASE, Granularity::Tensor, mode);
            block_on(&checked, logits(&checked, options)).unwrap();
        }
        let dense = options(Method::Full, Granularity::Tensor, Activations::Float);
        block_on(&checked, logits(&checked, dense)).unwrap();
    }
}

/// Tokens of a real model, one by one, through the kernels that only wide subgroups are given: every result is the
/// reference's.
#[test]
fn decoding_agrees_in_lockstep_as_on_wide_subgroups() {
    let _one = common::one_at_a_time();
    let opened = files::open_source(fairy2i_gpu::builtin::source()).expect("the built-in model");
    for setup in common::setups() {
        if !setup.gpu.facts().features.covers(Features::SUBGROUP_INT64) {
            continue;
        }
        let twin = Lockstep::new(common::Stated::wide(setup.gpu));
        for mode in [Activations::Int16, Activations::Int8] {
            let options = options(PHASE, Granularity::Tensor, mode);
            let decode = async {
                let weights = &*opened.weights;
                let model =
                    Model::load(&twin, &opened.config, weights, options, &mut |_| {}).await?;
                let mut session = model.session()?;
                session.feed(&[1, 1858, 617, 261, 604]).await?;
                for _ in 0..12 {
                    let next = session.argmax().await?;
                    session.feed(&[next]).await?;
                }
                Ok(())
            };
            block_on(&twin, decode).unwrap_or_else(|e| panic!("{}: {e}", setup.name));
        }
    }
}

/// What does not fit is refused before anything runs.
#[test]
fn context_and_ids_are_checked() {
    let _one = common::one_at_a_time();
    for device in devices() {
        let opened = stories();
        let options = options(PHASE, Granularity::Tensor, Activations::Int16);
        let mut quiet = |_: &str| {};
        let weights = &*opened.weights;
        let model = Model::load(&device, &opened.config, weights, options, &mut quiet);
        let model = block_on(&device, model).unwrap();
        let mut session = model.session().unwrap();
        let refused = block_on(&device, session.feed(&[1; 65]));
        assert!(matches!(refused, Err(Error::Context { context: 64, .. })));
        let refused = block_on(&device, session.feed(&[512])).unwrap_err();
        assert!(refused.to_string().contains("512"), "{refused}");
        assert_eq!(refused.exit_code(), 2);
        assert!(block_on(&device, session.feed(&[])).is_err());
        assert_eq!(session.position(), 0);
    }
}

/// What a device chooses is what the host would choose from the same logits.
#[test]
fn choices_on_the_device_are_those_of_the_host() {
    let _one = common::one_at_a_time();
    for device in devices() {
        let opened = stories();
        let options = options(PHASE, Granularity::Tensor, Activations::Int16);
        let mut quiet = |_: &str| {};
        let weights = &*opened.weights;
        let model = Model::load(&device, &opened.config, weights, options, &mut quiet);
        let model = block_on(&device, model).unwrap();
        let mut session = model.session().unwrap();
        block_on(&device, session.feed(&TOKENS)).unwrap();
        let logits = block_on(&device, session.logits()).unwrap();
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        order.sort_by(|&a, &b| {
            logits[b as usize]
                .total_cmp(&logits[a as usize])
                .then(a.cmp(&b))
        });
        assert_eq!(block_on(&device, session.argmax()).unwrap(), order[0]);
        let top = block_on(&device, session.top_k(40)).unwrap();
        assert_eq!(top.iter().map(|t| t.0).collect::<Vec<_>>(), order[..40]);
        assert!(top.iter().all(|&(i, v)| v == logits[i as usize]));
        let _: &Device = model.backend();
    }
}
