//! `families.json`: tiny models of every family whose weights are a formula: logits in full precision and through the quantizer, and
//! greedy continuations.
//!
//! The weights go through a folder as Hugging Face has it, so that names and both spellings of configurations are judged too.

use super::common::Device;
use super::{Report, nmse, tensors};
use fairy2i_gpu::backend::{Backend, block_on};
use fairy2i_gpu::files::ModelFolder;
use fairy2i_gpu::model::{Granularity, LoadOptions, Method, Model, Recipe, Session};
use fairy2i_gpu::ops::Kv;
use fairy2i_gpu::ops::quantize::Activations;
use fairy2i_gpu::train::step::{Batch, Part, TrainOptions, Trainer};
use safetensors::SafeTensors;
use serde_json::Value;
use std::path::Path;

/// NMSE of logits on the CPU and on a GPU.
const CPU: f64 = 1e-9;
const GPU: f64 = 1e-8;

/// Tokens whose logits come one by one from the cache, behind a prompt of the others.
const DECODED: usize = 3;

fn recipe(method: Method) -> Recipe {
    Recipe {
        method,
        granularity: Granularity::Tensor,
        skip_head: false,
        rotated: false,
    }
}

/// Writes a model as Hugging Face does.
fn write(case: &Value, folder: &Path) {
    let amplitude = case["amplitude"].as_f64().unwrap() as f32;
    let shape = |i: usize, _: &str| serde_json::from_value(case["shapes"][i].clone()).unwrap();
    super::write(&tensors(case, amplitude, shape), folder);
}

/// Opens the model with the configuration under `spelling`.
fn open(case: &Value, folder: &Path, spelling: &str) -> fairy2i_gpu::Result<ModelFolder> {
    std::fs::write(folder.join("config.json"), case[spelling].to_string()).unwrap();
    fairy2i_gpu::files::open(folder)
}

/// One model on one device.
struct Run<'a> {
    device: &'a Device,
    opened: &'a ModelFolder,
    /// Most tokens of a sequence.
    context: usize,
}

impl<'a> Run<'a> {
    async fn load(&self, method: Method) -> fairy2i_gpu::Result<Model<&'a Device>> {
        let options = LoadOptions {
            recipe: recipe(method),
            activations: Activations::Float,
            context: self.context,
            // several batches, so that the cache is read across them, on both kinds of kernels
            batch: 19,
            kv: Some(Kv::F32),
            swa_full: false,
            exact: true,
        };
        let config = &self.opened.config;
        Model::load(
            self.device,
            config,
            &*self.opened.weights,
            options,
            &mut |_| {},
        )
        .await
    }

    /// Logits of all tokens. The last ones are decoded unless the length of the whole sequence decides how all are rotated.
    async fn logits(
        &self,
        session: &mut Session<'_, &'a Device>,
        tokens: &[u32],
        decoded: usize,
    ) -> fairy2i_gpu::Result<Vec<f32>> {
        session.rewind(0);
        let (first, rest) = tokens.split_at(tokens.len() - decoded);
        let mut all = session.feed_all(first).await?;
        for token in rest {
            all.extend(session.feed_all(&[*token]).await?);
        }
        Ok(all)
    }

    /// Greedy ids behind the tokens: each from the whole sequence anew, or with the cache.
    async fn greedy(
        &self,
        session: &mut Session<'_, &'a Device>,
        tokens: &[u32],
        n: usize,
        cached: bool,
    ) -> fairy2i_gpu::Result<Vec<u32>> {
        let mut all = tokens.to_vec();
        session.rewind(0);
        session.feed(&all).await?;
        for _ in 0..n {
            let logits = session.logits().await?;
            let best = (0..logits.len())
                .max_by(|&a, &b| logits[a].total_cmp(&logits[b]))
                .unwrap();
            all.push(best as u32);
            match cached {
                true => session.feed(&[best as u32]).await?,
                false => {
                    session.rewind(0);
                    session.feed(&all).await?;
                }
            }
        }
        Ok(all.split_off(tokens.len()))
    }
}

/// What is judged of a family on a device, in full precision or quantized.
async fn judge_one(
    run: &Run<'_>,
    case: &Value,
    (id, key): (&str, &str),
    expected: &SafeTensors<'_>,
    report: &mut Report,
) -> fairy2i_gpu::Result<()> {
    let method = match key {
        "full" => Method::Full,
        _ => Method::Phase { stages: 2 },
    };
    let model = run.load(method).await?;
    let mut session = model.session()?;
    let tokens: Vec<u32> = serde_json::from_value(case["tokens"].clone()).unwrap();
    let bound = if run.device.is_cpu() { CPU } else { GPU };
    let name = id.split(',').next().unwrap();
    let greedy = &case["greedy"][key];
    let by_length = greedy["ids"] != greedy["ids_with_cache"];
    for (suffix, tokens) in [("", &tokens[..]), ("_first24", &tokens[..24])] {
        let Ok(want) = expected.tensor(&format!("{name}.{key}{suffix}")) else {
            continue;
        };
        let want: Vec<f32> = bytemuck::pod_collect_to_vec(want.data());
        let decoded = if by_length || !suffix.is_empty() {
            0
        } else {
            DECODED
        };
        let got = run.logits(&mut session, tokens, decoded).await?;
        report.bound(&format!("{id}{suffix}"), nmse(&got, &want), bound);
    }
    for (field, cached) in [("ids", false), ("ids_with_cache", true)] {
        // Everything anew for each token costs much, and is the same unless the length decides.
        if !cached && !by_length {
            continue;
        }
        let want: Vec<u32> = serde_json::from_value(greedy[field].clone()).unwrap();
        let got = run
            .greedy(&mut session, &tokens, want.len(), cached)
            .await?;
        report.check(got == want, || {
            format!("{id}, {field}: {got:?} instead of {want:?}")
        });
    }
    Ok(())
}

/// How far a loss in f32 may be off.
const LOSS: f64 = 1e-5;

/// How far the slope of the loss along a gradient may be off the gradient's length, where it is measured by a difference of two
/// losses in f32, and how far a GPU's gradients may be off the CPU's.
const SLOPE: f64 = 2e-2;
const GRADIENT: f64 = 1e-4;

/// Mean loss of the tokens of a sequence whose logits these are.
fn mean_loss(logits: &[f32], tokens: &[u32], vocab: usize) -> f64 {
    let each = logits.chunks_exact(vocab).zip(&tokens[1..]);
    let losses = each.map(|(logits, &next)| {
        let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let exps = logits
            .iter()
            .map(|&l| (f64::from(l) - f64::from(top)).exp());
        f64::from(top) + exps.sum::<f64>().ln() - f64::from(logits[next as usize])
    });
    losses.sum::<f64>() / (tokens.len() - 1) as f64
}

/// A norm of a vector.
fn length(values: &[f32]) -> f64 {
    let squares = values.iter().map(|&v| f64::from(v) * f64::from(v));
    squares.sum::<f64>().sqrt()
}

/// Training in full precision: the loss is that of the fixture's logits, its slope along the gradient of every parameter is as
/// large as that gradient, and devices agree. Returns the gradients.
fn train(
    (device, opened): (&Device, &ModelFolder),
    tokens: &[u32],
    (id, want): (&str, f64),
    known: Option<&[Vec<f32>]>,
    report: &mut Report,
) -> fairy2i_gpu::Result<Vec<Vec<f32>>> {
    let options = TrainOptions {
        exact: true,
        ..TrainOptions::new(recipe(Method::Full), 1, tokens.len())
    };
    let mut trainer = Trainer::load(device, &opened.config, &*opened.weights, options)?;
    let labels: Vec<i32> = tokens.iter().map(|&t| t as i32).collect();
    let batch = [Batch {
        tokens,
        labels: &labels,
        length: tokens.len(),
    }];
    let step = block_on(device, trainer.step(&batch, 0.0, 0.0))?;
    report.bound(&format!("{id}, loss"), (step.loss / want - 1.0).abs(), LOSS);
    let list = trainer.parameters().to_vec();
    let mut gradients = Vec::new();
    for i in 0..list.len() {
        gradients.push(block_on(device, trainer.gradient(i))?);
    }
    for (i, gradient) in gradients.iter().enumerate() {
        let (id, norm) = (format!("{id}, {}", list[i].name), length(gradient));
        report.check(norm > 0.0, || format!("{id}: no gradient"));
        if let Some(known) = known {
            let error = nmse(gradient, &known[i]).sqrt();
            report.bound(&id, error, GRADIENT);
            continue;
        }
        let values = block_on(device, trainer.read(Part::Master, i))?;
        // So far that the loss changes by much more than its roundings, and by too little for curvature to matter.
        let distance = (2e-3 / norm).min(0.1 * length(&values));
        let mut at = |offset: f64| -> fairy2i_gpu::Result<f64> {
            let moved = values.iter().zip(gradient);
            let moved = moved.map(|(v, g)| v + (offset * f64::from(*g) / norm) as f32);
            trainer.write(Part::Master, i, &moved.collect::<Vec<_>>())?;
            let (sum, count) = block_on(device, trainer.evaluate(&batch))?;
            Ok(sum / count as f64)
        };
        let slope = (at(distance)? - at(-distance)?) / (2.0 * distance);
        at(0.0)?;
        report.bound(&id, (slope / norm - 1.0).abs(), SLOPE);
    }
    Ok(gradients)
}

/// Training of every dense family whose norms do not subtract the mean.
pub fn judge_training(json: &Value, folder: &Path, devices: &[Device]) -> Report {
    let mut report = Report::default();
    let bytes = std::fs::read(folder.join("families_logits.safetensors")).unwrap();
    let expected = SafeTensors::deserialize(&bytes).unwrap();
    for (name, case) in json["families"].as_object().unwrap() {
        let place = tempfile::tempdir().unwrap();
        write(case, place.path());
        let opened = open(case, place.path(), "config").unwrap();
        let tokens: Vec<u32> = serde_json::from_value(case["tokens"].clone()).unwrap();
        let config = &opened.config;
        let refused = config.variant.experts.is_some()
            || config.blueprint().centered
            || tokens.len() > config.context;
        let logits = expected.tensor(&format!("{name}.full")).unwrap();
        let logits: Vec<f32> = bytemuck::pod_collect_to_vec(logits.data());
        let want = mean_loss(&logits, &tokens, opened.config.vocab);
        let mut known = None;
        for device in devices {
            let id = format!("{name}, training, {}", device.name());
            let subject = (device, &opened);
            let trained = train(subject, &tokens, (&id, want), known.as_deref(), &mut report);
            match trained {
                Ok(gradients) => {
                    report.check(!refused, || format!("{id}: not refused"));
                    known.get_or_insert(gradients);
                }
                Err(error) => report.check(refused, || format!("{id}: {error}")),
            }
        }
    }
    report
}

/// Every family on every device; both spellings of its configuration are the same model.
pub fn judge(json: &Value, folder: &Path, devices: &[Device]) -> Report {
    let mut report = Report::default();
    let file = folder.join("families_logits.safetensors");
    let bytes = std::fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let expected = SafeTensors::deserialize(&bytes).unwrap();
    for (name, case) in json["families"].as_object().unwrap() {
        let place = tempfile::tempdir().unwrap();
        write(case, place.path());
        let opened = match (
            open(case, place.path(), "config_4x"),
            open(case, place.path(), "config"),
        ) {
            (Ok(old), Ok(new)) => {
                report.check(old.config == new.config, || {
                    format!(
                        "{name}: two spellings, two models: {:?} and {:?}",
                        old.config, new.config
                    )
                });
                new
            }
            (old, new) => {
                for error in [old.err(), new.err()].into_iter().flatten() {
                    report.check(false, || format!("{name}: {error}"));
                }
                continue;
            }
        };
        for device in devices {
            for key in ["full", "w2"] {
                if case["greedy"][key].is_null() {
                    continue;
                }
                let id = format!("{name}, {key}, {}", device.name());
                let context = opened.config.context.clamp(96, 128);
                let run = Run {
                    device,
                    opened: &opened,
                    context,
                };
                let judged = judge_one(&run, case, (&id, key), &expected, &mut report);
                if let Err(error) = block_on(device, judged) {
                    report.check(false, || format!("{id}: {error}"));
                }
            }
        }
    }
    report
}
