//! Sequences that decode together: each gets the tokens that it gets alone.

use super::common::{self, Device, devices};
use super::{PHASE, TOKENS, options, prompt, stories};
use fairy2i_gpu::Error;
use fairy2i_gpu::backend::{Backend, block_on};
use fairy2i_gpu::model::{Choice, Granularity, Model, Sampler, Sampling, Session};
use fairy2i_gpu::ops::Kv;
use fairy2i_gpu::ops::quantize::Activations;
use fairy2i_gpu::random::SplitMix64;

/// The test model, whose bits do not depend on what is processed together.
fn load(device: &Device, context: usize, kv: Option<Kv>) -> Model<&Device> {
    let opened = stories();
    let mut options = options(PHASE, Granularity::Tensor, Activations::Int16);
    (options.exact, options.context, options.kv) = (true, context, kv);
    let mut quiet = |_: &str| {};
    let model = Model::load(
        device,
        &opened.config,
        &*opened.weights,
        options,
        &mut quiet,
    );
    block_on(&device, model).expect("the test model loads")
}

/// Prompts of different lengths: of one token, of a few, and of so many that attention is split into ranges.
fn prompts() -> [Vec<u32>; 4] {
    [1, 7, 18, 270].map(|length| prompt(length, 1))
}

/// How the sequences draw, each in its own way; the last one takes the most likely tokens.
fn ways() -> [Sampling; 4] {
    [
        hot(7),
        Sampling {
            top_k: 5,
            min_p: 0.0,
            ..hot(8)
        },
        Sampling {
            top_p: 0.5,
            top_k: 0,
            ..hot(9)
        },
        Sampling {
            temperature: 0.0,
            ..hot(10)
        },
    ]
}

/// The tokens that follow `prompt` alone, drawn or the most likely ones.
fn alone(
    device: &Device,
    session: &mut Session<'_, &Device>,
    (prompt, how): (&[u32], Option<Sampling>),
    new: usize,
) -> Vec<u32> {
    let (last, before) = prompt.split_last().expect("a token");
    session.rewind(0);
    if !before.is_empty() {
        block_on(device, session.feed(before)).expect("room");
    }
    let mut random = how.unwrap_or_default().generators(1);
    let how = how.map(|how| [how]);
    let choice = match &how {
        Some(how) => Choice::Drawn(how, &mut random),
        None => Choice::Greedy,
    };
    block_on(device, session.decode(&[*last], new, choice)).expect("room")
}

/// Prompts of different lengths go on together as each does alone, greedy in one kind of cache and each drawn in its own way
/// in the other: over the end of a round, and where attention of some, but not of all, is split.
#[test]
fn sequences_of_different_lengths_are_those_alone() {
    const NEW: usize = 40;
    let _one = common::one_at_a_time();
    for device in devices() {
        for (kv, ways) in [(Kv::F32, None), (Kv::F16, Some(ways()))] {
            let model = load(&device, 270 + NEW, Some(kv));
            let (mut one, mut many) = (model.session().unwrap(), model.sessions(4).unwrap());
            let single = |(i, prompt): (usize, &Vec<u32>)| {
                let how = ways.map(|ways| ways[i]);
                alone(&device, &mut one, (prompt, how), NEW)
            };
            let want: Vec<_> = prompts().iter().enumerate().map(single).collect();
            let before = prompts().map(|prompt| prompt[..prompt.len() - 1].to_vec());
            block_on(&device, many.feed_each(&before)).unwrap();
            let last = prompts().map(|prompt| prompt[prompt.len() - 1]);
            let seeds = [7, 8, 9, 10];
            let mut random = seeds.map(SplitMix64::new);
            let choice = match &ways {
                Some(ways) => Choice::Drawn(ways, &mut random),
                None => Choice::Greedy,
            };
            let ids = block_on(&device, many.decode(&last, NEW, choice)).unwrap();
            for (i, want) in want.iter().enumerate() {
                let own: Vec<u32> = ids.iter().skip(i).step_by(4).copied().collect();
                let drawn = ways.is_some();
                assert_eq!(&own, want, "{i}, {kv:?}, {drawn}, {}", device.name());
                assert_eq!(many.length(i), Some(before[i].len() + NEW));
            }
        }
    }
}

/// A sequence that ends early makes room for another one, and the others go on as they would alone; a sequence may also rest.
#[test]
fn sequences_come_and_go() {
    let _one = common::one_at_a_time();
    for device in devices() {
        let name = device.name();
        let model = load(&device, 64, None);
        let (mut one, mut many) = (model.session().unwrap(), model.sessions(3).unwrap());
        let [_, short, long, _] = prompts();
        let want: Vec<_> = [&long, &short, &long, &TOKENS[..5].to_vec()]
            .into_iter()
            .zip([1, 2, 3, 4])
            .map(|(prompt, seed)| alone(&device, &mut one, (prompt, Some(hot(seed))), 21))
            .collect();
        let mut random: Vec<_> = (1..5).map(SplitMix64::new).collect();
        let mut got = vec![Vec::new(); 4];
        let mut last = [long[17], short[6], long[17], TOKENS[4]];
        let before = [&long[..17], &short[..6], &long[..17]].map(<[u32]>::to_vec);
        block_on(&device, many.feed_each(&before)).unwrap();
        let slots = [0, 1, 2, 1];
        let mut decode = |many: &mut Session<'_, &Device>, members: &[usize], steps: usize| {
            let slots: Vec<_> = members.iter().map(|&i| slots[i]).collect();
            let newest: Vec<_> = members.iter().map(|&i| last[i]).collect();
            let mut own: Vec<_> = members.iter().map(|&i| random[i].clone()).collect();
            let choice = Choice::Drawn(&[hot(0)], &mut own);
            let ids = many.decode_some(&slots, &newest, steps, choice);
            let ids = block_on(&device, ids).unwrap();
            for (at, &i) in members.iter().enumerate() {
                let chosen: Vec<u32> = ids
                    .iter()
                    .skip(at)
                    .step_by(members.len())
                    .copied()
                    .collect();
                last[i] = chosen[steps - 1];
                random[i] = own[at].clone();
                got[i].extend(chosen);
            }
        };
        decode(&mut many, &[0, 1, 2], 5);
        many.end(1); // the second one ends early
        decode(&mut many, &[2, 0], 4); // in another order
        decode(&mut many, &[2], 3); // the first one rests
        assert_eq!((many.begin(), many.begin()), (Some(1), None), "{name}");
        block_on(&device, many.feed_to(1, &TOKENS[..4])).unwrap();
        decode(&mut many, &[0, 3], 9);
        decode(&mut many, &[3, 0, 2], 3);
        for (i, length) in [(0, 21), (1, 5), (2, 15), (3, 12)] {
            assert_eq!(got[i], want[i][..length], "sequence {i} on {name}");
        }
        let logits = block_on(&device, many.logits_of(1)).unwrap();
        assert_eq!(logits.len(), model.config().vocab);
        assert_eq!(many.n_seqs(), 3);
    }
}

/// A sequence's logits have the same bits beside other sequences, also where attention is split into ranges of positions.
#[test]
fn a_sequence_is_the_same_beside_others() {
    const LONG: usize = 260;
    let _one = common::one_at_a_time();
    let prompt: Vec<u32> = (0..LONG).map(|i| TOKENS[i % TOKENS.len()]).collect();
    for device in devices() {
        let opened = stories();
        let mut options = options(PHASE, Granularity::Tensor, Activations::Int16);
        options.exact = true;
        options.context = LONG + 2;
        let mut quiet = |_: &str| {};
        let weights = &*opened.weights;
        let model = Model::load(&device, &opened.config, weights, options, &mut quiet);
        let model = block_on(&device, model).unwrap();
        let logits = |n_seqs: usize| {
            let mut session = model.sessions(n_seqs).unwrap();
            block_on(&device, session.feed_each(&vec![prompt.clone(); n_seqs])).unwrap();
            let last = vec![TOKENS[0]; n_seqs];
            block_on(&device, session.decode(&last, 1, Choice::Greedy)).unwrap();
            let logits = block_on(&device, session.logits()).unwrap();
            logits.into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        assert!(logits(3) == logits(1), "{}", device.name());
    }
}

/// Tokens chosen in rounds, alone or beside other sequences, are those chosen one by one.
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
        let mut many = model.sessions(3).unwrap();
        block_on(&device, many.feed_each(&vec![before.to_vec(); 3])).unwrap();
        let newest = [*last; 3];
        let ids = many.decode(&newest, NEW, Choice::Greedy);
        let ids = block_on(&device, ids).unwrap();
        for sequence in 0..3 {
            let own: Vec<u32> = ids.iter().skip(sequence).step_by(3).copied().collect();
            assert_eq!(own, singles, "sequence {sequence} on {}", device.name());
        }
    }
}

/// How tokens are drawn in the tests below: hot enough for sequences to part at once.
fn hot(seed: u64) -> Sampling {
    Sampling {
        temperature: 1.5,
        top_k: 40,
        seed,
        ..Sampling::default()
    }
}

/// Several sequences draw each by its own seed: what one of them draws depends neither on its place among the others nor on
/// their number, and is what the seed draws alone, in rounds and one by one.
#[test]
fn sequences_drawn_together_are_those_drawn_alone() {
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
            let choice = Choice::Drawn(&[how], &mut generators);
            block_on(&device, session.decode(&[*last], NEW, choice)).unwrap()
        };
        let drawn: Vec<_> = (7..10).map(alone).collect();
        assert!(drawn[0] != drawn[1] && drawn[1] != drawn[2], "{name}");
        let mut sampler = Sampler::new(hot(8)).unwrap();
        let mut session = model.session().unwrap();
        block_on(&device, session.feed(&TOKENS)).unwrap();
        for &id in &drawn[1] {
            assert_eq!(block_on(&device, sampler.next(&session)).unwrap(), id);
            block_on(&device, session.feed(&[id])).unwrap();
        }
        for (first, count) in [(7, 3), (8, 2), (7, 2)] {
            let mut many = model.sessions(count).unwrap();
            block_on(&device, many.feed_each(&vec![before.to_vec(); count])).unwrap();
            let (how, newest) = (hot(first), vec![*last; count]);
            let mut generators = how.generators(count);
            let choice = Choice::Drawn(&[how], &mut generators);
            let ids = block_on(&device, many.decode(&newest, NEW, choice)).unwrap();
            for sequence in 0..count {
                let own: Vec<u32> = ids.iter().skip(sequence).step_by(count).copied().collect();
                let want = &drawn[first as usize - 7 + sequence];
                assert_eq!(&own, want, "sequence {sequence} of {count} on {name}");
            }
            // the step after it, drawn from logits that are there already
            let next = block_on(&device, many.draw(&[how], &mut generators)).unwrap();
            assert_eq!(next.len(), count);
        }
    }
}

/// What a sampler draws on a device, from the best few or from everything, is what it draws from logits on the host.
#[test]
fn tokens_drawn_on_devices_are_those_of_the_host() {
    let _one = common::one_at_a_time();
    let ways = [0, 1, 5, 40, 200, 300].map(|top_k| Sampling {
        top_k,
        top_p: if top_k == 5 { 1.0 } else { 0.97 },
        min_p: if top_k == 200 { 0.0 } else { 0.01 },
        ..hot(top_k as u64)
    });
    for device in devices() {
        let model = load(&device, 64, None);
        for how in ways {
            let mut session = model.session().unwrap();
            block_on(&device, session.feed(&TOKENS)).unwrap();
            let mut drawn = Sampler::new(how).unwrap();
            let mut picked = drawn.clone();
            for _ in 0..12 {
                let logits = block_on(&device, session.logits()).unwrap();
                let id = block_on(&device, drawn.next(&session)).unwrap();
                let same = picked.pick_from_logits(&logits).unwrap();
                assert_eq!(id, same, "{how:?} on {}", device.name());
                block_on(&device, session.feed(&[id])).unwrap();
            }
        }
    }
}

/// What would move or choose for one sequence of several is refused, and leaves everything as it is.
#[test]
fn sessions_of_several_sequences_refuse_what_is_meant_for_one() {
    let _one = common::one_at_a_time();
    for device in devices() {
        let opened = stories();
        let options = options(PHASE, Granularity::Tensor, Activations::Int16);
        let mut quiet = |_: &str| {};
        let weights = &*opened.weights;
        let model = Model::load(&device, &opened.config, weights, options, &mut quiet);
        let model = block_on(&device, model).unwrap();
        let mut many = model.sessions(2).unwrap();
        fn usage<T>(result: fairy2i_gpu::Result<T>) {
            assert!(matches!(result, Err(Error::Usage { .. })));
        }
        block_on(&device, many.prepare(&[4])).unwrap();
        usage(block_on(&device, many.feed(&TOKENS)));
        usage(block_on(&device, many.feed_all(&TOKENS)));
        usage(block_on(&device, many.argmax()));
        usage(block_on(&device, many.top_k(3)));
        usage(block_on(&device, many.logits_of(2)));
        usage(block_on(&device, many.feed_each(&[vec![1]])));
        usage(block_on(&device, many.feed_each(&[vec![1], vec![600]])));
        usage(block_on(&device, many.feed_to(2, &[1])));
        usage(block_on(
            &device,
            many.decode_some(&[0, 0], &[1, 1], 1, Choice::Greedy),
        ));
        usage(block_on(
            &device,
            many.decode_some(&[2], &[1], 1, Choice::Greedy),
        ));
        usage(block_on(
            &device,
            many.decode_some(&[], &[], 1, Choice::Greedy),
        ));
        usage(block_on(&device, many.decode(&[1], 1, Choice::Greedy)));
        let how = hot(1);
        for count in [1, 3] {
            let mut generators = how.generators(count);
            usage(block_on(&device, many.draw(&[how], &mut generators)));
            let choice = Choice::Drawn(&[how], &mut generators);
            usage(block_on(&device, many.decode(&[1, 1], 1, choice)));
        }
        let mut generators = how.generators(2);
        let choice = Choice::Drawn(&[how; 3], &mut generators);
        usage(block_on(&device, many.decode(&[1, 1], 1, choice)));
        let far = many.decode(&[1, 1], usize::MAX, Choice::Greedy);
        assert!(matches!(block_on(&device, far), Err(Error::Context { .. })));
        assert_eq!(many.position(), 0);
    }
}
