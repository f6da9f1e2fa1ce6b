//! `smollm2.json`: SmolLM2-135M-Instruct in full precision, as transformers runs it in float32: the ids of prompts and
//! chats, what it continues them with, perplexities, and log-likelihoods of choices.
//!
//! The model has 269 MB and is no part of the repository: `FAIRY2I_SMOLLM2` names its folder. The GGUF file in Q4_1 that its
//! weights were dequantized from lies there too; ids, texts and chats have to be the same from that file alone.

use super::Report;
use super::common::Device;
use super::evaluation::{self, Judged};
use fairy2i_gpu::backend::{Backend, block_on};
use fairy2i_gpu::files::chat_template::ChatInput;
use fairy2i_gpu::files::{self, ModelFolder, Tokenizer};
use fairy2i_gpu::model::{LoadOptions, Model};
use fairy2i_gpu::ops::Kv;
use fairy2i_gpu::ops::quantize::Activations;
use serde_json::Value;
use std::io::Write;

const FOLDER: &str = "FAIRY2I_SMOLLM2";
/// The GGUF file in it.
const GGUF: &str = "smollm2-135m-instruct-q4_1.gguf";

fn ids(value: &Value) -> Vec<u32> {
    let ids = value.as_array().expect("a list of ids").iter();
    ids.map(|id| id.as_u64().expect("an id") as u32).collect()
}

/// Judges the fixture on the devices that `open` opens, if the model is there.
pub fn judge(fixture: &Value, open: impl FnOnce() -> Vec<Device>) -> Report {
    let mut report = Report::default();
    let Some(folder) = std::env::var_os(FOLDER) else {
        // Not by a macro, whose output is shown only where a test fails.
        let skip = format!("\n*** SmolLM2 was SKIPPED: {FOLDER} does not name its folder ***\n\n");
        let _ = std::io::stderr().write_all(skip.as_bytes());
        return report;
    };
    let opened = files::open(&folder).expect("the model opens");
    let gguf = files::open(std::path::Path::new(&folder).join(GGUF)).expect("the file opens");
    let lists = ["greedy", "chat"].map(|kind| fixture[kind].as_array().expect("a list"));
    let cases: Vec<&Value> = lists.into_iter().flatten().collect();
    for model in [&opened, &gguf] {
        written(model, fixture, &cases, &mut report);
    }
    for (number, device) in open().into_iter().enumerate() {
        if evaluation::all() {
            let judged = Judged {
                id: "smollm2".to_owned(),
                folder: folder.as_ref(),
                recipe: opened.weights.recipe(),
                activations: Activations::Float,
                fixture,
                choices: &fixture["tasks"],
            };
            judged.judge(&device, &mut report);
        }
        // One device shows that the weights are the same.
        let gguf = (number == 0).then_some(&gguf);
        for model in [&opened].into_iter().chain(gguf) {
            let done = block_on(&device, greedy(&device, model, &cases, &mut report));
            let name = device.name();
            report.check(done.is_ok(), || format!("{name}: {}", done.unwrap_err()));
        }
    }
    report
}

/// Texts to ids and back, and chats to texts and ids.
fn written(opened: &ModelFolder, fixture: &Value, cases: &[&Value], report: &mut Report) {
    let tokenizer = opened.tokenizer.as_ref().expect("it has a tokenizer");
    for case in cases {
        texts(tokenizer, case, report);
    }
    let template = opened.chat_template.as_ref();
    let template = template.expect("it has a chat template");
    for case in fixture["chat"].as_array().expect("a list") {
        let input = ChatInput {
            messages: case["messages"].as_array().expect("messages").clone(),
            add_generation_prompt: true,
            ..ChatInput::default()
        };
        let text = template.render(&input).expect("a text");
        report.check(text == case["prompt"], || format!("{text:?} for {case}"));
        let got = template.encode(tokenizer, &input).expect("ids");
        report.check(got == ids(&case["prompt_ids"]), || {
            format!("{got:?} for {case}")
        });
    }
}

/// Text to ids and back.
fn texts(tokenizer: &Tokenizer, case: &Value, report: &mut Report) {
    let (prompt, text) = (case["prompt"].as_str(), case["text"].as_str());
    let (prompt, text) = (prompt.expect("a prompt"), text.expect("a text"));
    let (prompt_ids, ids) = (ids(&case["prompt_ids"]), ids(&case["ids"]));
    let got = tokenizer.encode(prompt, true).expect("ids");
    report.check(got == prompt_ids, || format!("{prompt:?}: {got:?}"));
    let mut stream = tokenizer.stream(&prompt_ids).expect("a stream");
    let mut got: String = ids
        .iter()
        .map(|&id| stream.push(id).expect("text"))
        .collect();
    got += &stream.finish().expect("text");
    let want = text.strip_suffix("<|im_end|>").unwrap_or(text);
    report.check(got == want, || format!("{prompt:?}: {got:?}"));
}

/// The continuations, which no rounding of float32 changes: the best logit is 0.02 above the second everywhere.
async fn greedy(
    device: &Device,
    opened: &ModelFolder,
    cases: &[&Value],
    report: &mut Report,
) -> fairy2i_gpu::Result<()> {
    let options = LoadOptions {
        recipe: opened.weights.recipe(),
        activations: Activations::Float,
        context: 128,
        batch: 64,
        kv: Some(Kv::F32),
        swa_full: false,
        exact: true,
    };
    let weights = &*opened.weights;
    let model = Model::load(device, &opened.config, weights, options, &mut |_| {}).await?;
    let mut session = model.session()?;
    for case in cases {
        let want = ids(&case["ids"]);
        session.rewind(0);
        session.feed(&ids(&case["prompt_ids"])).await?;
        let mut got = Vec::new();
        while got.len() < want.len() {
            got.push(session.argmax().await?);
            session.feed(&got[got.len() - 1..]).await?;
        }
        report.check(got == want, || {
            format!("{}: {}: {got:?}", device.name(), case["prompt"])
        });
        if got.last() == Some(&2) {
            report.check(opened.config.eos.contains(&2), || "2 is no end".to_owned());
        }
    }
    Ok(())
}
