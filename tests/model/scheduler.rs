//! Many requests on one model: each gets what it gets alone, and slots come back.

use super::common::{self, Device};
use super::{PHASE, STORIES, prompt};
use fairy2i_gpu::backend::{Backend, Gpu, Options as GpuOptions, Tuning, adapters, block_on};
use fairy2i_gpu::generate::scheduler::{
    Event, Refused, Request, RequestId, Scheduler, SchedulerOptions,
};
use fairy2i_gpu::model::{Granularity, Recipe};
use fairy2i_gpu::ops::Kv;
use fairy2i_gpu::ops::quantize::Activations;
use fairy2i_gpu::{Error, Finish, Generate, Model, Options, Sampling};
use std::collections::HashMap;
use std::time::Duration;

/// The CPU, and every adapter as if it worked beside the host: rounds of decoding overlap there.
fn devices() -> Vec<Device> {
    let mut devices = vec![Device::cpu()];
    for index in 0..pollster::block_on(adapters()).len() {
        let options = GpuOptions {
            tuning: Some(Tuning {
                ahead: true,
                ..Tuning::SOFTWARE
            }),
            ..GpuOptions::default()
        };
        let gpu = pollster::block_on(Gpu::open(index, options)).expect("adapter opens");
        devices.push(gpu.into());
    }
    devices
}

fn load(device: &Device, activations: Activations) -> Model {
    load_with(device, activations, None)
}

fn load_with(device: &Device, activations: Activations, kv: Option<Kv>) -> Model {
    let recipe = Recipe {
        method: PHASE,
        granularity: Granularity::Tensor,
        skip_head: false,
        rotated: false,
    };
    let options = Options {
        recipe: Some(recipe),
        activations,
        context: Some(400),
        batch: 48,
        exact: true,
        kv,
        ..Options::default()
    };
    let files = Model::open(STORIES).expect("the test model opens");
    files.load(device, options).expect("the test model loads")
}

fn scheduler(model: &Model, parallel: usize) -> Scheduler<'_> {
    let options = SchedulerOptions {
        parallel,
        pace: Duration::ZERO, // as small pieces of prompts as there may be
        ..SchedulerOptions::default()
    };
    block_on(model.device(), Scheduler::new(model, options)).expect("room for the slots")
}

/// Requests of mixed lengths, some of which begin alike, greedy ones and drawn ones.
fn requests() -> Vec<Request> {
    let lengths = [1, 7, 300, 18, 41, 270, 2, 90, 41];
    let of = |(i, length): (usize, usize)| Request {
        prompt: prompt(length, 1 + i % 2),
        max_tokens: [5, 30, 12][i % 3],
        sampling: Sampling {
            temperature: [0.0, 1.0, 0.8][i % 3],
            top_p: 1.0,
            min_p: 0.0,
            seed: i as u64,
            ..Sampling::default()
        },
        ..Request::default()
    };
    lengths.into_iter().enumerate().map(of).collect()
}

/// What became of a request.
#[derive(Debug, Default, PartialEq)]
struct Answer {
    ids: Vec<u32>,
    text: String,
    cached: usize,
    finish: Option<Finish>,
    logprobs: Vec<f32>,
}

/// Steps until nothing is left to do, and everything that came.
fn run(scheduler: &mut Scheduler<'_>, device: &Device) -> HashMap<RequestId, Answer> {
    let mut all: HashMap<RequestId, Answer> = HashMap::new();
    let mut events = Vec::new();
    while !scheduler.is_idle() {
        block_on(device, scheduler.step(&mut events)).expect("the device works");
        for (id, event) in events.drain(..) {
            let answer = all.entry(id).or_default();
            assert_eq!(answer.finish, None, "{id} goes on after its end");
            match event {
                Event::Prompt { cached, logprobs } => {
                    answer.cached = cached;
                    answer.logprobs.extend(logprobs.iter().map(|l| l.logprob));
                }
                Event::Piece { piece, logprobs } => {
                    answer.ids.push(piece.id);
                    answer.text.push_str(&piece.text);
                    answer.logprobs.extend(logprobs.map(|l| l.logprob));
                }
                Event::Finished { finish, times } => {
                    answer.finish = Some(finish);
                    assert_eq!(times.new_tokens, answer.ids.len());
                    assert!(times.queued <= times.first_token && times.first_token <= times.total);
                }
                Event::Failed(error) => panic!("{id}: {error}"),
            }
        }
    }
    all
}

/// Nine requests in three slots, with prompts in pieces of a few tokens beside those that decode: every answer is the one that
/// [`Model::generate`] gives to the same prompt alone, on every device, with both kinds of integer activations.
#[test]
fn answers_are_those_alone() {
    let _one = common::one_at_a_time();
    for device in devices() {
        for activations in [Activations::Int16, Activations::Int8] {
            let model = load(&device, activations);
            let mut scheduler = scheduler(&model, 3);
            let requests = requests();
            let ids: Vec<_> = requests
                .iter()
                .map(|request| scheduler.submit(request.clone()).expect("taken"))
                .collect();
            let answers = run(&mut scheduler, &device);
            for (id, request) in ids.iter().zip(&requests) {
                let options = Generate {
                    max_tokens: Some(request.max_tokens),
                    sampling: request.sampling,
                    ..Generate::default()
                };
                let mut alone = model.generate(request.prompt.clone(), options).unwrap();
                let text: String = alone.by_ref().map(|piece| piece.unwrap().text).collect();
                let answer = &answers[id];
                let what = format!("{id}, {activations:?}, {}", device.name());
                assert_eq!(answer.ids, alone.ids(), "{what}");
                assert_eq!(
                    (&answer.text, answer.finish),
                    (&text, alone.finish()),
                    "{what}"
                );
            }
            let counters = scheduler.counters();
            assert_eq!(counters.finished, 9);
            let cached: usize = answers.values().map(|answer| answer.cached).sum();
            assert_eq!(counters.cached_tokens as usize, cached);
            let fed: usize = requests.iter().map(|r| r.prompt.len() - 1).sum();
            assert_eq!(counters.prompt_tokens as usize, fed - cached);
        }
    }
}

/// A request that begins as another one did begins behind it, in the slot itself or by a copy, and gets the same answer.
#[test]
fn prefixes_are_shared() {
    let _one = common::one_at_a_time();
    for device in devices() {
        let model = load(&device, Activations::Int16);
        let request = |tail: usize| Request {
            prompt: [prompt(60, 1), prompt(tail, 5)].concat(),
            max_tokens: 20,
            ..Request::default()
        };
        let mut fresh = Vec::new();
        for tail in [9, 11, 80] {
            let mut scheduler = scheduler(&model, 1);
            let id = scheduler.submit(request(tail)).unwrap();
            fresh.push(run(&mut scheduler, &device).remove(&id).unwrap());
        }
        let mut scheduler = scheduler(&model, 2);
        let first = scheduler.submit(request(9)).unwrap();
        let answers = run(&mut scheduler, &device);
        assert_eq!(answers[&first], fresh[0]);
        // Both at once: one of them gets the slot, the other a copy.
        let ids = [11, 80].map(|tail| scheduler.submit(request(tail)).unwrap());
        let mut answers = run(&mut scheduler, &device);
        for (id, fresh) in ids.iter().zip(&fresh[1..]) {
            let answer = answers.remove(id).unwrap();
            assert!(answer.cached >= 60, "{} of {id}", answer.cached);
            assert_eq!(
                &Answer {
                    cached: 0,
                    ..answer
                },
                fresh,
                "{}",
                device.name()
            );
        }
        // Nothing of it for those who want nothing of it.
        let own = Request {
            reuse_prefix: false,
            ..request(80)
        };
        let id = scheduler.submit(own).unwrap();
        assert_eq!(run(&mut scheduler, &device)[&id], fresh[2]);
    }
}

/// Cancelling frees the slot at once; a full queue and bad requests are refused; what cannot fit is said with its counts.
#[test]
fn slots_come_back_and_bad_requests_are_refused() {
    let _one = common::one_at_a_time();
    let device = Device::cpu();
    let model = load(&device, Activations::Int16);
    let options = SchedulerOptions {
        parallel: 1,
        most_waiting: 2,
        ..SchedulerOptions::default()
    };
    let mut scheduler = block_on(&device, Scheduler::new(&model, options)).unwrap();
    let request = Request {
        prompt: prompt(5, 1),
        max_tokens: 300,
        ..Request::default()
    };
    let first = scheduler.submit(request.clone()).unwrap();
    let mut events = Vec::new();
    block_on(&device, scheduler.step(&mut events)).unwrap();
    assert_eq!(scheduler.slots()[0].request, Some(first));
    let second = scheduler.submit(request.clone()).unwrap();
    let third = scheduler.submit(request.clone()).unwrap();
    let refused = scheduler.submit(request.clone());
    assert!(matches!(refused, Err(Refused::Full { waiting: 2 })));
    assert!(scheduler.cancel(first) && scheduler.cancel(second));
    assert!(!scheduler.cancel(first));
    assert_eq!(scheduler.slots()[0].request, None);
    events.clear();
    block_on(&device, scheduler.step(&mut events)).unwrap();
    assert_eq!(scheduler.slots()[0].request, Some(third));
    assert!(events.iter().all(|(id, _)| *id == third));
    assert!(scheduler.cancel(third) && scheduler.is_idle());
    assert_eq!(scheduler.counters().cancelled, 3);
    let bad = |change: &dyn Fn(&mut Request)| {
        let mut request = request.clone();
        change(&mut request);
        match scheduler.check(&request) {
            Err(error) => error,
            Ok(()) => panic!("it is taken"),
        }
    };
    let context = bad(&|request| request.max_tokens = 396);
    let counts = Error::Context {
        prompt: 5,
        new: 396,
        context: 400,
    };
    assert_eq!(context.to_string(), counts.to_string());
    bad(&|request| request.max_tokens = usize::MAX);
    bad(&|request| request.prompt.clear());
    bad(&|request| request.prompt = vec![512]);
    bad(&|request| request.stop = vec![String::new()]);
    bad(&|request| request.logprobs = Some(21));
    bad(&|request| request.logit_bias = vec![(512, 1.0)]);
    bad(&|request| request.logit_bias = vec![(1, f32::NAN)]);
    bad(&|request| request.sampling.temperature = f32::NAN);
}

/// Log-probabilities of prompts and new tokens are those of scoring the whole sequence.
#[test]
fn log_probabilities_are_those_of_scores() {
    use fairy2i_gpu::model::{Scorer, Segment};
    let _one = common::one_at_a_time();
    for device in devices() {
        // A token that is decoded sees its own key before it is rounded to the caches' precision, one of a prompt behind that.
        let model = load_with(&device, Activations::Int16, Some(Kv::F32));
        let mut scheduler = scheduler(&model, 2);
        let request = |logprobs, max_tokens| Request {
            prompt: prompt(70, 5),
            max_tokens,
            logprobs,
            prompt_logprobs: true,
            sampling: Generate::greedy().sampling,
            ..Request::default()
        };
        let both = [request(Some(3), 6), request(Some(0), 0)];
        let ids = both.map(|request| scheduler.submit(request).unwrap());
        let answers = run(&mut scheduler, &device);
        let answer = &answers[&ids[0]];
        let all = [prompt(70, 5), answer.ids.clone()].concat();
        let mut scorer = Scorer::new(model.inner(), None, 400).unwrap();
        let segment = Segment {
            position: 0,
            tokens: &all[..all.len() - 1],
            targets: &all[1..],
        };
        let scores = block_on(&device, scorer.score(&[segment])).unwrap();
        assert_eq!(answer.logprobs.len(), scores.len());
        for (i, (got, want)) in answer.logprobs.iter().zip(&scores).enumerate() {
            // Another kernel attends for tokens that are decoded: where its sums are rounded otherwise, an activation may become
            // the integer beside the one that it is in a prompt.
            let bound = if i < 69 { 1e-4 } else { 1e-3 };
            assert!((got + want.nll).abs() < bound, "{i}: {got}, {}", want.nll);
        }
        let prompt_only = &answers[&ids[1]];
        assert_eq!(prompt_only.logprobs[..], answer.logprobs[..69]);
        assert_eq!(
            (prompt_only.finish, prompt_only.ids.len()),
            (Some(Finish::Length), 0)
        );
    }
}

/// Drafts from the text itself change nothing but how many tokens a pass gives, greedy and drawn, served and generated.
#[test]
fn lookups_change_no_token() {
    let _one = common::one_at_a_time();
    for device in devices() {
        let model = load(&device, Activations::Int16);
        let mut accepted = 0;
        for temperature in [0.0, 0.7] {
            let sampling = Sampling {
                temperature,
                seed: 3,
                ..Sampling::default()
            };
            let generate = |lookup| {
                let options = Generate {
                    max_tokens: Some(100),
                    sampling,
                    lookup,
                    ..Generate::default()
                };
                let mut text = model.generate(prompt(40, 1), options).unwrap();
                text.by_ref().for_each(|piece| drop(piece.unwrap()));
                (text.ids().to_vec(), text.timings().accepted)
            };
            let (plain, none) = generate(0);
            assert_eq!(none, 0);
            let (ids, some) = generate(6);
            assert_eq!(ids, plain, "{temperature}, {}", device.name());
            let options = SchedulerOptions {
                parallel: 2,
                lookup: 6,
                ..SchedulerOptions::default()
            };
            let mut scheduler = block_on(&device, Scheduler::new(&model, options)).unwrap();
            let request = Request {
                prompt: prompt(40, 1),
                max_tokens: 100,
                sampling,
                ..Request::default()
            };
            let id = scheduler.submit(request).unwrap();
            assert_eq!(run(&mut scheduler, &device)[&id].ids, plain);
            accepted += some + scheduler.counters().accepted as usize;
        }
        assert!(accepted > 0, "no draft was right on {}", device.name());
    }
}
