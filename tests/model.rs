//! Whole models where a device sets narrow limits, and where input is refused.

mod common;
#[path = "model/scores.rs"]
mod scores;

use common::{Device, devices};
use fairy2i_gpu::backend::{Backend, Gpu, Lockstep, Options, adapters, block_on};
use fairy2i_gpu::model::{
    Choice, Granularity, LoadOptions, Method, Model, Recipe, Sampler, Sampling,
};
use fairy2i_gpu::ops::Features;
use fairy2i_gpu::ops::quantize::Activations;
use fairy2i_gpu::{Error, files};

fn stories() -> files::ModelFolder {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/models/stories260k");
    files::open(path).expect("the test model opens")
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
        exact: false,
    }
}

const PHASE: Method = Method::Phase { stages: 2 };
/// "Once upon a time, there was a", longer than a batch.
const TOKENS: [u32; 18] = [
    1, 403, 407, 261, 378, 432, 383, 286, 261, 376, 298, 315, 421, 395, 317, 426, 338, 401,
];

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
        let twin = Lockstep::new(common::Wide::new(setup.gpu));
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

/// A text's logits have the same bits beside other texts, also where attention is split into ranges of positions.
#[test]
fn a_text_is_the_same_beside_others() {
    const LONG: usize = 260;
    let _one = common::one_at_a_time();
    let prompt: Vec<u32> = (0..LONG).map(|i| TOKENS[i % TOKENS.len()]).collect();
    for device in devices() {
        if device.facts().features == Features::NONE {
            continue;
        }
        let opened = stories();
        let mut options = options(PHASE, Granularity::Tensor, Activations::Int16);
        options.exact = true;
        options.context = LONG + 2;
        let mut quiet = |_: &str| {};
        let weights = &*opened.weights;
        let model = Model::load(&device, &opened.config, weights, options, &mut quiet);
        let model = block_on(&device, model).unwrap();
        let logits = |texts: usize| {
            let mut session = model.sessions(texts).unwrap();
            block_on(&device, session.feed_each(&vec![prompt.clone(); texts])).unwrap();
            let last = vec![TOKENS[0]; texts];
            block_on(&device, session.decode(&last, 1, Choice::Greedy)).unwrap();
            let logits = block_on(&device, session.logits()).unwrap();
            logits.into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        assert!(logits(3) == logits(1), "{}", device.name());
    }
}

/// Tokens chosen in rounds, alone or beside other texts, are those chosen one by one.
#[test]
fn rounds_and_streams_are_single_steps() {
    // two whole rounds and a part of one
    const NEW: usize = 75;
    let _one = common::one_at_a_time();
    let (last, before) = TOKENS.split_last().unwrap();
    for device in devices() {
        let opened = stories();
        let mut options = options(PHASE, Granularity::Tensor, Activations::Int16);
        options.exact = true;
        options.context = TOKENS.len() + NEW;
        let mut quiet = |_: &str| {};
        let weights = &*opened.weights;
        let model = Model::load(&device, &opened.config, weights, options, &mut quiet);
        let model = block_on(&device, model).unwrap();
        let mut session = model.session().unwrap();
        let mut singles = Vec::new();
        block_on(&device, session.feed(&TOKENS)).unwrap();
        while singles.len() < NEW {
            let id = block_on(&device, session.argmax()).unwrap();
            singles.push(id);
            block_on(&device, session.feed(&[id])).unwrap();
        }
        session.rewind(before.len());
        let own = [*last];
        let round = session.decode(&own, NEW, Choice::Greedy);
        assert_eq!(
            block_on(&device, round).unwrap(),
            singles,
            "{}",
            device.name()
        );
        assert_eq!(session.position(), before.len() + NEW);
        let Ok(mut many) = model.sessions(3) else {
            assert!(
                device.facts().features == Features::NONE,
                "{}",
                device.name()
            );
            continue;
        };
        block_on(&device, many.feed_each(&vec![before.to_vec(); 3])).unwrap();
        let newest = [*last; 3];
        let ids = many.decode(&newest, NEW, Choice::Greedy);
        let ids = block_on(&device, ids).unwrap();
        for text in 0..3 {
            let own: Vec<u32> = ids.iter().skip(text).step_by(3).copied().collect();
            assert_eq!(own, singles, "text {text} on {}", device.name());
        }
    }
}

/// How tokens are drawn in the tests below: hot enough for texts to part at once.
fn hot(seed: u64) -> Sampling {
    Sampling {
        temperature: 1.5,
        top_k: 40,
        seed,
        ..Sampling::default()
    }
}

/// Several texts draw each by its own seed: what one of them draws depends neither on its place among the others nor on
/// their number, and is what the seed draws alone, in rounds and one by one.
#[test]
fn texts_drawn_together_are_those_drawn_alone() {
    // a whole round and a part of one
    const NEW: usize = 40;
    let _one = common::one_at_a_time();
    let (last, before) = TOKENS.split_last().unwrap();
    for device in devices() {
        let name = device.name();
        let opened = stories();
        let mut options = options(PHASE, Granularity::Tensor, Activations::Int16);
        options.exact = true;
        options.context = TOKENS.len() + NEW;
        let mut quiet = |_: &str| {};
        let weights = &*opened.weights;
        let model = Model::load(&device, &opened.config, weights, options, &mut quiet);
        let model = block_on(&device, model).unwrap();
        let alone = |seed: u64| {
            let mut session = model.session().unwrap();
            block_on(&device, session.feed(before)).unwrap();
            let mut generators = hot(seed).generators(1);
            let how = hot(seed);
            let choice = Choice::Drawn(&how, &mut generators);
            block_on(&device, session.decode(&[*last], NEW, choice)).unwrap()
        };
        let texts: Vec<_> = (7..10).map(alone).collect();
        assert!(texts[0] != texts[1] && texts[1] != texts[2], "{name}");
        let mut sampler = Sampler::new(hot(8)).unwrap();
        let mut session = model.session().unwrap();
        block_on(&device, session.feed(&TOKENS)).unwrap();
        for &id in &texts[1] {
            assert_eq!(block_on(&device, sampler.next(&session)).unwrap(), id);
            block_on(&device, session.feed(&[id])).unwrap();
        }
        for (first, count) in [(7, 3), (8, 2), (7, 2)] {
            let Ok(mut many) = model.sessions(count) else {
                assert!(device.facts().features == Features::NONE, "{name}");
                continue;
            };
            block_on(&device, many.feed_each(&vec![before.to_vec(); count])).unwrap();
            let (how, newest) = (hot(first), vec![*last; count]);
            let mut generators = how.generators(count);
            let choice = Choice::Drawn(&how, &mut generators);
            let ids = block_on(&device, many.decode(&newest, NEW, choice)).unwrap();
            for text in 0..count {
                let own: Vec<u32> = ids.iter().skip(text).step_by(count).copied().collect();
                let want = &texts[first as usize - 7 + text];
                assert_eq!(&own, want, "text {text} of {count} on {name}");
            }
            // the step after it, drawn from logits that are there already
            let drawn = block_on(&device, many.draw(&how, &mut generators)).unwrap();
            assert_eq!(drawn.len(), count);
        }
    }
}

/// What would move or choose for one text of several is refused, and leaves everything as it is.
#[test]
fn sessions_of_several_texts_refuse_what_is_meant_for_one() {
    let _one = common::one_at_a_time();
    for device in devices() {
        let opened = stories();
        let options = options(PHASE, Granularity::Tensor, Activations::Int16);
        let mut quiet = |_: &str| {};
        let weights = &*opened.weights;
        let model = Model::load(&device, &opened.config, weights, options, &mut quiet);
        let model = block_on(&device, model).unwrap();
        let Ok(mut many) = model.sessions(2) else {
            continue;
        };
        fn usage<T>(result: fairy2i_gpu::Result<T>) {
            assert!(matches!(result, Err(Error::Usage { .. })));
        }
        block_on(&device, many.prepare(&[4])).unwrap();
        usage(block_on(&device, many.feed(&TOKENS)));
        usage(block_on(&device, many.feed_all(&TOKENS)));
        usage(block_on(&device, many.argmax()));
        usage(block_on(&device, many.top_k(3)));
        usage(block_on(&device, many.logits_of(2)));
        usage(block_on(&device, many.feed_each(&[vec![1], vec![1, 2]])));
        usage(block_on(&device, many.decode(&[1], 1, Choice::Greedy)));
        let how = hot(1);
        for count in [1, 3] {
            let mut generators = how.generators(count);
            usage(block_on(&device, many.draw(&how, &mut generators)));
            let choice = Choice::Drawn(&how, &mut generators);
            usage(block_on(&device, many.decode(&[1, 1], 1, choice)));
        }
        let far = many.decode(&[1, 1], usize::MAX, Choice::Greedy);
        assert!(matches!(block_on(&device, far), Err(Error::Context { .. })));
        assert_eq!(many.position(), 0);
    }
}
