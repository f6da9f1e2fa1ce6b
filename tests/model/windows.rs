//! Layers with a window: rings of the positions that they see give what caches of all positions give.

use super::common::{self, Device, devices};
use super::{PHASE, STORIES, prompt};
use fairy2i_gpu::backend::{Backend, block_on};
use fairy2i_gpu::generate::scheduler::{Event, Request, Scheduler, SchedulerOptions};
use fairy2i_gpu::model::{Choice, Feed, Granularity, Recipe, Session};
use fairy2i_gpu::ops::Kv;
use fairy2i_gpu::ops::quantize::Activations;
use fairy2i_gpu::{Model, Options, Result};
use serde_json::Value;
use std::path::Path;
use tempfile::TempDir;

const WINDOW: usize = 9;
const BATCH: usize = 16;
/// Longer than a ring, which has 9 + 16 + 64 positions, and later around it a second time.
const CONTEXT: usize = 230;

/// The small test model as a Mistral with a window.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (from, to) = (Path::new(STORIES), folder.path());
        for file in ["model.safetensors", "tokenizer.json"] {
            std::fs::copy(from.join(file), to.join(file)).expect("a copy");
        }
        let text = std::fs::read_to_string(from.join("config.json")).expect("a configuration");
        let mut config: Value = serde_json::from_str(&text).expect("JSON");
        config["architectures"] = Value::from(vec!["MistralForCausalLM"]);
        config["model_type"] = "mistral".into();
        config["sliding_window"] = WINDOW.into();
        std::fs::write(to.join("config.json"), config.to_string()).expect("written");
        Self(folder)
    }

    fn load(&self, device: &Device, swa_full: bool, kv: Option<Kv>) -> Model {
        let options = Options {
            recipe: Some(Recipe {
                method: PHASE,
                granularity: Granularity::Tensor,
                skip_head: false,
                rotated: false,
            }),
            activations: Activations::Int16,
            context: Some(CONTEXT),
            batch: BATCH,
            exact: true,
            swa_full,
            kv,
            ..Options::default()
        };
        let files = Model::open(self.0.path()).expect("the test model opens");
        files.load(device, options).expect("the test model loads")
    }
}

/// The bits of the logits behind a prompt and each token that follows it, a few of them decoded one by one.
async fn logits(session: &mut Session<'_, Device>, tokens: &[u32]) -> Result<Vec<u32>> {
    let (prompt, rest) = tokens.split_at(tokens.len() - 5);
    session.feed(prompt).await?;
    let mut all = session.logits().await?;
    for &token in rest {
        session.feed(&[token]).await?;
        all.extend(session.logits().await?);
    }
    Ok(all.into_iter().map(f32::to_bits).collect())
}

/// Prompts in batches, single tokens and rounds of decoding, around the ring and around it again; beginnings that are taken up
/// again where the ring still has their window, and read again where it has not.
#[test]
fn one_sequence_goes_around_the_ring() {
    let _one = common::one_at_a_time();
    let folder = Folder::new();
    for device in devices() {
        for kv in [None, Some(Kv::F16)] {
            let models = [false, true].map(|full| folder.load(&device, full, kv));
            let [ring, full] = models.each_ref().map(|model| {
                let mut session = model.inner().session().expect("room");
                let mut all =
                    block_on(&device, logits(&mut session, &prompt(75, 1))).expect("logits");
                let ids = session.decode(&[3], 70, Choice::Greedy);
                all.extend(block_on(&device, ids).expect("decoded"));
                all.extend(
                    block_on(&device, logits(&mut session, &prompt(60, 5))).expect("logits"),
                );
                (session, all)
            });
            let what = format!("{kv:?} on {}", device.name());
            assert!(ring.1 == full.1, "{what}");
            let (mut ring, mut full) = (ring.0, full.0);
            for position in [200, 140] {
                full.rewind(position);
                ring.rewind(position);
                let kept = position == 200;
                assert_eq!(ring.position(), if kept { 200 } else { 0 }, "{what}");
                if !kept {
                    full.rewind(0);
                }
                let tokens = prompt(25, position);
                let [a, b] = [&mut ring, &mut full]
                    .map(|s| block_on(&device, logits(s, &tokens)).expect("logits"));
                assert!(a == b, "{what}, behind {position}");
            }
        }
    }
}

/// Sequences of different lengths that decode beside pieces of prompts, and one that begins with what another has.
#[test]
fn several_sequences_have_rings_of_their_own() {
    let _one = common::one_at_a_time();
    let folder = Folder::new();
    for device in devices() {
        let models = [false, true].map(|full| folder.load(&device, full, None));
        let run = |model: &Model| {
            let mut session = model.inner().sessions(3).expect("room");
            let fed = [150, 7].map(|length| prompt(length, 3));
            session.end(2);
            let steps = async {
                session.feed_to(0, &fed[0]).await?;
                session.feed_to(1, &fed[1]).await?;
                assert!(session.begin_in(2, 0));
                session.copy_prefix(0, 2, 140).await?;
                let refused = session.copy_prefix(0, 2, 60).await;
                let mut all = Vec::new();
                let mut last = [5, 6];
                for i in 0..20 {
                    let tokens = &prompt(4, 7);
                    let piece = Feed {
                        sequence: 2,
                        tokens,
                    };
                    let pieces = if i < 5 { &[piece][..] } else { &[] };
                    let choice = Choice::Greedy;
                    let ids = session.step(&[0, 1], &last, pieces, choice).await?;
                    last.copy_from_slice(&ids);
                    all.extend(ids);
                }
                let each = session.decode(&[1, 2, 3], 40, Choice::Greedy).await?;
                all.extend(each);
                Result::Ok((all, refused.is_err()))
            };
            block_on(&device, steps).expect("the steps run")
        };
        let [ring, full] = models.each_ref().map(run);
        assert!(
            ring.1 && !full.1,
            "60 of 150 tokens are lost to a ring alone"
        );
        assert_eq!(ring.0, full.0[..ring.0.len()], "{}", device.name());
    }
}

/// Requests that begin alike, one after the other in one slot: a beginning that a ring has lost is read again, and answers stay.
#[test]
fn requests_take_up_what_is_left() {
    let _one = common::one_at_a_time();
    let folder = Folder::new();
    for device in devices() {
        let [ring, full] = [false, true].map(|full| {
            let model = folder.load(&device, full, None);
            let options = SchedulerOptions {
                parallel: 1,
                ..SchedulerOptions::default()
            };
            let scheduler = Scheduler::new(&model, options);
            let mut scheduler = block_on(&device, scheduler).expect("room");
            let mut answers = Vec::new();
            for tail in [2, 120, 11] {
                let request = Request {
                    prompt: [prompt(60, 1), prompt(tail, 5)].concat(),
                    max_tokens: 8,
                    ..Request::default()
                };
                scheduler.submit(request).expect("taken");
                let (mut ids, mut events) = (Vec::new(), Vec::new());
                while !scheduler.is_idle() {
                    block_on(&device, scheduler.step(&mut events)).expect("works");
                }
                for (_, event) in events {
                    match event {
                        Event::Piece { piece, .. } => ids.push(piece.id),
                        Event::Prompt { cached, .. } => ids.push(cached as u32),
                        _ => {}
                    }
                }
                answers.push(ids);
            }
            answers
        });
        let cached = |answers: &[Vec<u32>]| answers.iter().map(|ids| ids[0]).collect::<Vec<_>>();
        assert_eq!(cached(&full), [0, 60, 60], "{}", device.name());
        assert_eq!(cached(&ring), [0, 60, 0], "{}", device.name());
        for (ring, full) in ring.iter().zip(&full) {
            assert_eq!(ring[1..], full[1..], "{}", device.name());
        }
    }
}
