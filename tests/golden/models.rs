//! `models.json`: real checkpoints: greedy continuations, logits, perplexities and choices, as transformers computes
//! them in float32.

use super::common::Device;
use super::evaluation::{self, Judged};
use super::llama::recipe;
use super::{Report, nmse};
use fairy2i_gpu::backend::{Backend, block_on};
use fairy2i_gpu::files;
use fairy2i_gpu::model::{LoadOptions, Method, Model, Session};
use fairy2i_gpu::ops::quantize::Activations;
use serde_json::Value;
use std::path::Path;

/// Tokens of each text that software adapters take of all but the smallest model: they decode some twelve a second.
const SOFTWARE_IDS: usize = 12;
/// The model with two bits that was trained for them.
const TRAINED: &str = "novella-w2.complex_phase_v2";

/// The smallest model.
const SMALLEST: &str = "stories260k";

/// Gap between the two largest logits; the ids are only sure where it is not tiny.
fn gap(logits: &[f32]) -> f32 {
    let mut best = [f32::NEG_INFINITY; 2];
    for &v in logits {
        if v > best[0] {
            best = [v, best[0]];
        } else if v > best[1] {
            best[1] = v;
        }
    }
    best[0] - best[1]
}

async fn greedy<B: Backend>(
    session: &mut Session<'_, B>,
    prompt: &[u32],
    expected: &[u32],
    tie: f32,
    id: &str,
    report: &mut Report,
) -> fairy2i_gpu::Result<()> {
    session.rewind(0);
    session.feed(prompt).await?;
    for (i, &want) in expected.iter().enumerate() {
        let got = session.argmax().await?;
        if got == want {
            report.checked += 1;
        } else {
            let logits = session.logits().await?;
            let gap = gap(&logits);
            if gap < tie {
                println!("{id}: token {i}: {got} instead of {want}, a tie within {gap:e}");
            } else {
                report.check(false, || {
                    format!("{id}: token {i}: {got} instead of {want}, gap {gap:e}")
                });
            }
            return Ok(());
        }
        session.feed(&[got]).await?;
    }
    Ok(())
}

fn ids(value: &Value) -> Vec<u32> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_u64().unwrap() as u32)
        .collect()
}

struct Checked<'a> {
    name: &'a str,
    method: &'a str,
    fixture: &'a Value,
    logits: Option<Vec<f32>>,
}

async fn check_on(
    device: &Device,
    opened: &files::ModelFolder,
    checked: &Checked<'_>,
    mode: Activations,
    report: &mut Report,
) -> fairy2i_gpu::Result<()> {
    let id = format!(
        "models, {}.{}, {mode:?}, {}",
        checked.name,
        checked.method,
        device.name()
    );
    let options = LoadOptions {
        recipe: recipe(checked.method),
        activations: mode,
        context: 128,
        batch: 64,
        kv: Some(fairy2i_gpu::ops::Kv::F32),
        swa_full: false,
        exact: true,
    };
    let model = Model::load(
        device,
        &opened.config,
        &*opened.weights,
        options,
        &mut |_| {},
    )
    .await?;
    let mut session = model.session()?;
    // weights quantized otherwise than they were trained for give flat distributions, and rounding activations
    // to 16 bits moves their logits more
    let trained = match recipe(checked.method).method {
        Method::Phase { stages } => checked.name.ends_with(&format!("-w{stages}")),
        method => method == Method::Full,
    };
    let tie = if trained || mode == Activations::Float {
        1e-4
    } else {
        1e-3
    };
    let slow = device.adapter().is_some_and(|adapter| adapter.software);
    let most = match slow && checked.name != SMALLEST && !evaluation::all() {
        true => SOFTWARE_IDS,
        false => usize::MAX,
    };
    for text in checked.fixture["greedy"].as_array().unwrap() {
        let (prompt, mut all) = (ids(&text["prompt_ids"]), ids(&text["ids"]));
        all.truncate(most.saturating_add(prompt.len()));
        let id = format!("{id}, {}", text["prompt"]);
        if let Some(tokenizer) = &opened.tokenizer {
            let got = tokenizer.encode(text["prompt"].as_str().unwrap(), true)?;
            if got != prompt {
                report.check(false, || {
                    format!("{id}: the prompt becomes {got:?}, not {prompt:?}")
                });
            }
        }
        greedy(
            &mut session,
            &prompt,
            &all[prompt.len()..],
            tie,
            &id,
            report,
        )
        .await?;
    }
    if let Some(want) = &checked.logits {
        let first = ids(&checked.fixture["greedy"][0]["ids"]);
        session.rewind(0);
        let rows = want.len() / opened.config.vocab;
        let got = session.feed_all(&first[..rows]).await?;
        // codes on a sector's edge turn on the last bit of the papers' f32 means: a few per checkpoint
        let quantized = checked.method != "full";
        let bound = match mode {
            _ if quantized => 1e-6,
            Activations::Float if device.is_cpu() => 1e-9,
            Activations::Float => 1e-8,
            _ => 1e-6,
        };
        report.bound(&format!("{id}, logits"), nmse(&got, want), bound);
    }
    Ok(())
}

/// Identical greedy ids in float and 16-bit activations on all devices; ties within 1e-4 are said, not hidden.
pub fn judge(json: &Value, folder: &Path, devices: &[Device]) -> Report {
    let mut report = Report::default();
    let bytes = std::fs::read(folder.join("models_logits.safetensors")).unwrap_or_default();
    let logits = safetensors::SafeTensors::deserialize(&bytes).ok();
    for (key, fixture) in json.as_object().unwrap() {
        let (name, method) = key.split_once('.').unwrap();
        let config = format!("{name}/config.json");
        let found = super::find("FAIRY2I_MODELS", "models", "models", &config);
        let Some(path) = found.as_deref().and_then(Path::parent) else {
            println!(
                "models, {key}: SKIPPED, there is no checkpoint `{name}` here (FAIRY2I_MODELS)"
            );
            continue;
        };
        let opened = match files::open(path) {
            Ok(opened) => opened,
            Err(error) => {
                report.check(false, || format!("models, {key}: {error}"));
                continue;
            }
        };
        // a packed folder stands for one method only
        let stored = opened.recipe.map(|r| r.method);
        if stored.is_some_and(|m| m != Method::Full && m != recipe(method).method) {
            println!(
                "models, {key}: SKIPPED, {} is packed otherwise",
                path.display()
            );
            continue;
        }
        let tensor = logits
            .as_ref()
            .and_then(|l| l.tensor(&format!("{key}.logits")).ok());
        let checked = Checked {
            name,
            method,
            fixture,
            logits: tensor.map(|t| bytemuck::pod_collect_to_vec(t.data())),
        };
        for mode in [Activations::Float, Activations::Int16] {
            for device in devices {
                let run = check_on(device, &opened, &checked, mode, &mut report);
                if let Err(error) = block_on(device, run) {
                    report.check(false, || {
                        format!("models, {key}, {mode:?}, {}: {error}", device.name())
                    });
                }
            }
            // Float activations of quantized layers are slow on a processor.
            let small = name == SMALLEST || key == TRAINED && mode == Activations::Int16;
            if !small && !evaluation::all() {
                continue;
            }
            let judged = Judged {
                id: format!("models, {key}"),
                folder: path,
                recipe: recipe(method),
                activations: mode,
                fixture,
                choices: &fixture["choices"],
            };
            // Software adapters take the smallest model; one kind of activations is enough for them.
            let one = name == SMALLEST && mode == Activations::Float;
            for device in evaluation::devices(devices, one) {
                judged.judge(device, &mut report);
            }
        }
    }
    report
}
