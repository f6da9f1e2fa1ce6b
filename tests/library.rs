//! The library as a caller sees it: open, load, generate, in batches, by ids, and what it says when something is wrong.

mod common;

use common::{Device, devices};
use fairy2i_gpu::backend::Backend;
use fairy2i_gpu::model::{Granularity, Method, Recipe};
use fairy2i_gpu::{Error, Finish, Generate, Model, Options, Prompt, Result, Sampling};

fn builtin(device: &Device, options: Options) -> Result<Model> {
    Model::builtin()?.load(device, options)
}

/// The ids and text of `prompt` alone, with the seed `seed`.
fn alone(model: &Model, prompt: &str, options: &Generate, seed: u64) -> Result<(Vec<u32>, String)> {
    let mut options = options.clone();
    options.sampling.seed = seed;
    let mut text = model.generate(prompt, options)?;
    let all = text.by_ref().map(|piece| Ok(piece?.text));
    let all: String = all.collect::<Result<_>>()?;
    Ok((text.ids().to_vec(), all))
}

/// Every piece is one token, and the pieces together are what decoding all ids at once gives.
#[test]
fn pieces_are_tokens_and_their_text() -> Result<()> {
    let _one = common::one_at_a_time();
    for device in devices() {
        let model = builtin(&device, Options::default())?;
        let options = Generate {
            max_tokens: Some(12),
            ..Generate::greedy()
        };
        let mut text = model.generate("Once upon a time", options)?;
        let (mut ids, mut all) = (Vec::new(), String::new());
        for piece in text.by_ref() {
            let piece = piece?;
            ids.push(piece.id);
            all.push_str(&piece.text);
        }
        assert_eq!(text.ids(), ids);
        assert_eq!(text.finish(), Some(Finish::Length));
        let times = text.timings();
        assert_eq!((times.prompt_tokens, times.new_tokens), (5, 12));
        assert!(
            times
                .decode_tokens_per_second()
                .is_some_and(|rate| rate > 0.0)
        );
        let tokenizer = model.tokenizer().expect("the built-in model has one");
        let whole = tokenizer.decode(&[text.prompt_ids(), &ids].concat())?;
        let prompt = tokenizer.decode(text.prompt_ids())?;
        assert_eq!(format!("{prompt}{all}"), whole, "{}", device.name());
        assert!(text.next().is_none(), "an ended text gives nothing more");
    }
    Ok(())
}

/// A sequence of a batch is the one that its seed gives alone, however it is chosen, whatever lies beside it, and also where
/// some end early and others take their places.
#[test]
fn a_batch_gives_the_texts_that_its_seeds_give_alone() -> Result<()> {
    let _one = common::one_at_a_time();
    let prompts = [
        "Once upon a time",
        "The old man went",
        "Once",
        "A cat and a dog",
    ];
    let drawn = Sampling {
        seed: 7,
        ..Sampling::default()
    };
    let penalized = Sampling {
        repetition_penalty: 1.3,
        ..drawn
    };
    for device in devices() {
        for (batch, sampling, stop) in [
            (256, Generate::greedy().sampling, None),
            (256, drawn, Some("a")),
            (2, drawn, Some("a")),
            (256, penalized, None),
        ] {
            let exact = Options {
                exact: true,
                batch,
                ..Options::default()
            };
            let model = builtin(&device, exact)?;
            let options = Generate {
                max_tokens: Some(8),
                sampling,
                stop: stop.map(str::to_owned).into_iter().collect(),
                ..Generate::default()
            };
            let mut batch = model.batch(prompts, options.clone())?;
            assert_eq!(batch.len(), prompts.len());
            let mut texts = vec![String::new(); prompts.len()];
            for piece in batch.by_ref() {
                let (i, piece) = piece?;
                texts[i].push_str(&piece.text);
            }
            for (i, prompt) in prompts.into_iter().enumerate() {
                let (ids, text) = alone(&model, prompt, &options, sampling.seed + i as u64)?;
                let what = format!("{prompt}, {options:?}, {}", device.name());
                assert_eq!(batch.ids(i), ids, "{what}");
                assert_eq!(texts[i], text, "{what}");
                assert!(batch.finish(i).is_some(), "{what}");
            }
            let lengths = (0..prompts.len()).map(|i| batch.ids(i).len());
            let (least, most) = (lengths.clone().min(), lengths.max());
            assert_eq!(stop.is_some(), least < most, "{least:?} to {most:?}");
        }
    }
    Ok(())
}

/// Stop strings, ids as prompts, and several models on one device.
#[test]
fn what_a_caller_may_ask_for() -> Result<()> {
    let device = Device::cpu();
    let model = builtin(&device, Options::default())?;
    let (ids, text) = alone(&model, "Once upon a time", &Generate::greedy(), 0)?;
    let second = builtin(&device, Options::default())?;
    let prompt = Model::builtin()?.encode("Once upon a time")?;
    let mut again = second.generate(prompt, Generate::greedy())?;
    assert!(again.by_ref().all(|piece| piece.is_ok()));
    assert_eq!(again.ids(), ids);

    let stop = Generate {
        stop: vec!["girl".to_owned()],
        ..Generate::greedy()
    };
    let mut stopped = second.generate("Once upon a time", stop)?;
    let before: String = stopped
        .by_ref()
        .map(|piece| Ok(piece?.text))
        .collect::<Result<_>>()?;
    assert_eq!(stopped.finish(), Some(Finish::Stop));
    assert_eq!(text.split("girl").next(), Some(before.as_str()));

    let none = Generate {
        max_tokens: Some(0),
        ..Generate::greedy()
    };
    let mut nothing = second.generate("Once", none)?;
    assert!(nothing.next().is_none());
    assert_eq!(nothing.finish(), Some(Finish::Length));
    Ok(())
}

/// What does not fit or makes no sense is an error, and says nothing of a command line.
#[test]
fn what_makes_no_sense_is_refused() -> Result<()> {
    let device = Device::cpu();
    let options = Options {
        context: Some(8),
        ..Options::default()
    };
    let model = builtin(&device, options)?;
    let ask = |max_tokens, stop: &[&str]| Generate {
        max_tokens,
        stop: stop.iter().map(|&s| s.to_owned()).collect(),
        ..Generate::greedy()
    };
    let refused = |prompt: &str, options| model.generate(prompt, options).err().expect("refused");
    let long = refused("Once upon a time", ask(Some(4), &[]));
    assert!(
        matches!(
            long,
            Error::Context {
                prompt: 5,
                new: 4,
                context: 8
            }
        ),
        "{long}"
    );
    let empty = refused("Once", ask(None, &[""]));
    let hot = Generate {
        sampling: Sampling {
            temperature: f32::NAN,
            ..Sampling::default()
        },
        ..Generate::default()
    };
    let hot = refused("Once", hot);
    let unknown = Model::open("no-such-folder").err().expect("not there");
    for error in [long, empty, hot, unknown] {
        assert_eq!(error.exit_code(), 2, "{error}");
        assert!(!error.to_string().contains("--"), "{error}");
    }
    assert_eq!(
        model.generate("Once", ask(None, &[]))?.count(),
        6,
        "what the context leaves"
    );
    Ok(())
}

/// A folder that is packed with two stages is read with one, too; what it does not have is refused.
#[test]
fn first_stages_are_loaded_by_themselves() -> Result<()> {
    let _one = common::one_at_a_time();
    for device in devices() {
        let load = |stages| {
            let options = Options {
                stages,
                ..Options::default()
            };
            builtin(&device, options)
        };
        let (two, one) = (load(None)?, load(Some(1))?);
        assert_eq!(two.recipe(), load(Some(2))?.recipe());
        assert!(one.recipe().to_string().contains("stages 1"));
        let bytes = [&one, &two].map(|model| model.inner().bytes_per_token());
        assert_eq!(2 * bytes[0], bytes[1]);
        for stages in [0, 3] {
            let Err(error) = load(Some(stages)) else {
                panic!("{stages} stages were loaded")
            };
            assert_eq!(error.exit_code(), 2, "{error}");
        }
    }
    Ok(())
}

/// Drafts change the time that a text takes, and not one token of it: greedy and drawn, beyond the positions from which
/// attention is split, and with a draft that is as good as nothing.
#[test]
fn speculation_gives_the_same_tokens() -> Result<()> {
    let _one = common::one_at_a_time();
    let stories = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/models/stories260k");
    // attention of a single token is split from position 256 on
    let long: Vec<u32> = (0..250).map(|i| 5 + i * 7 % 400).collect();
    let greedy = Generate {
        max_tokens: Some(14),
        ..Generate::greedy()
    };
    let drawn = |seed, temperature| Generate {
        max_tokens: Some(14),
        sampling: Sampling {
            seed,
            temperature,
            ..Sampling::default()
        },
        ..Generate::default()
    };
    for device in devices() {
        let options = |draft| Options {
            draft,
            ..Options::default()
        };
        let small = |draft| -> Result<Model> {
            let recipe = Recipe {
                method: Method::Phase { stages: 3 },
                granularity: Granularity::Row,
                skip_head: false,
                rotated: false,
            };
            let options = Options {
                recipe: Some(recipe),
                ..options(draft)
            };
            Model::open(stories)?.load(&device, options)
        };
        let large = |draft| builtin(&device, options(draft));
        let models = [
            (
                large(None)?,
                large(Some(1))?,
                Prompt::from("Once upon a time"),
            ),
            (small(None)?, small(Some(2))?, Prompt::from(long.clone())),
        ];
        let (mut drafted, mut accepted) = (0, 0);
        for (plain, with_draft, prompt) in &models {
            for options in [greedy.clone(), drawn(1, 0.8)] {
                let mut text = plain.generate(prompt.clone(), options.clone())?;
                let pieces = text.by_ref().collect::<Result<Vec<_>>>()?;
                let options = Generate {
                    speculate: 3,
                    ..options.clone()
                };
                let mut same = with_draft.generate(prompt.clone(), options)?;
                assert_eq!(same.by_ref().collect::<Result<Vec<_>>>()?, pieces);
                assert_eq!((same.ids(), same.finish()), (text.ids(), text.finish()));
                let times = same.timings();
                assert!(times.drafted > 0 && times.accepted <= times.drafted);
                (drafted, accepted) = (drafted + times.drafted, accepted + times.accepted);
            }
        }
        assert!(
            accepted > 0 && accepted < drafted,
            "{accepted} of {drafted}"
        );
    }
    Ok(())
}

#[test]
fn drafts_that_cannot_be_are_refused() -> Result<()> {
    let _one = common::one_at_a_time();
    let device: Device = devices().swap_remove(0);
    let load = |draft| {
        let options = Options {
            draft: Some(draft),
            ..Options::default()
        };
        builtin(&device, options)
    };
    assert!(load(2).is_err() && load(0).is_err());
    let (model, plain) = (load(1)?, builtin(&device, Options::default())?);
    let with = |speculate, sampling| Generate {
        speculate,
        sampling,
        max_tokens: Some(4),
        ..Generate::default()
    };
    let usual = Sampling::default();
    let penalized = Sampling {
        repetition_penalty: 1.1,
        ..usual
    };
    assert!(plain.generate("Once", with(1, usual)).is_err());
    assert!(model.generate("Once", with(8, usual)).is_err());
    assert!(model.generate("Once", with(1, penalized)).is_err());
    assert!(model.batch(["Once", "A cat"], with(1, usual)).is_err());
    assert!(model.generate("Once", with(7, usual)).is_ok());
    Ok(())
}
