//! `llama.json`: tiny LLaMAs whose weights are a formula, in full precision and through every quantizer.

use super::common::Device;
use super::{Report, nmse, tensors};
use fairy2i_gpu::backend::{Backend, block_on};
use fairy2i_gpu::files::config;
use fairy2i_gpu::model::{
    Config, Dtype, Granularity, LoadOptions, Method, Model, Recipe, Tensor, Weights,
};
use fairy2i_gpu::ops::Kv;
use fairy2i_gpu::ops::quantize::Activations;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;

/// Tensors in memory.
pub struct Formula(HashMap<String, (Vec<usize>, Vec<f32>)>);

impl Weights for Formula {
    fn tensor(&self, name: &str) -> fairy2i_gpu::Result<Option<Tensor<'_>>> {
        Ok(self.0.get(name).map(|(shape, values)| Tensor {
            dtype: Dtype::F32,
            shape: shape.clone(),
            bytes: bytemuck::cast_slice(values).into(),
        }))
    }

    fn recipe(&self) -> Recipe {
        recipe("full")
    }
}

/// The recipe behind a method's name in the fixtures.
pub fn recipe(method: &str) -> Recipe {
    let method = match method {
        "full" => Method::Full,
        "bitnet" => Method::Binary,
        "bitnet_1_58" => Method::Ternary,
        other => Method::Phase {
            stages: other
                .strip_prefix("complex_phase_v")
                .and_then(|v| v.parse().ok())
                .unwrap_or_else(|| panic!("unknown method {other}")),
        },
    };
    Recipe {
        method,
        granularity: Granularity::Tensor,
        skip_head: false,
        rotated: false,
    }
}

/// Shapes of all tensors by name.
fn shapes(config: &Config) -> HashMap<String, Vec<usize>> {
    let linears = config.linears().into_iter().map(|l| {
        (
            format!("{}.weight", l.prefix),
            vec![l.out_features, l.in_features],
        )
    });
    let norms = config.norms().into_iter().map(|n| (n, vec![config.hidden]));
    let embed = (config.embed_name(), vec![config.vocab, config.hidden]);
    linears.chain(norms).chain([embed]).collect()
}

pub fn weights(config: &Config, case: &Value) -> Formula {
    let shapes = shapes(config);
    let tensors = tensors(case, 0.08, |_, name| shapes[name].clone());
    let tensors = tensors.into_iter();
    Formula(
        tensors
            .map(|(name, shape, values)| (name, (shape, values)))
            .collect(),
    )
}

pub fn config(case: &Value) -> Config {
    let mut fields = case["config"].clone();
    fields["architectures"] = json!(["LlamaForCausalLM"]);
    fields["model_type"] = json!("llama");
    fields["hidden_act"] = json!("silu");
    let bytes = serde_json::to_vec(&fields).unwrap();
    config::parse("fixture", &bytes, None).unwrap().0
}

async fn logits(
    device: &Device,
    config: &Config,
    weights: &Formula,
    tokens: &[u32],
    method: &str,
    (activations, exact): (Activations, bool),
) -> fairy2i_gpu::Result<Vec<f32>> {
    let options = LoadOptions {
        recipe: recipe(method),
        activations,
        context: config.context,
        // several batches, so that the cache is read across them, on both kinds of kernels
        batch: 19,
        kv: exact.then_some(Kv::F32),
        swa_full: false,
        exact,
    };
    let model = Model::load(device, config, weights, options, &mut |_| {}).await?;
    let mut session = model.session()?;
    let (first, rest) = tokens.split_at(tokens.len() - 3);
    let mut all = session.feed_all(first).await?;
    for token in rest {
        all.extend(session.feed_all(&[*token]).await?);
    }
    session.rewind(0);
    session.feed(tokens).await?;
    let last = session.logits().await?;
    let error = nmse(&last, &all[all.len() - config.vocab..]);
    // other kernels, and at 16 bits an integer here and there
    let bound = match activations {
        _ if !exact => FAST,
        Activations::Float => 1e-9,
        _ => 1e-6,
    };
    assert!(error < bound, "feed and feed_all differ by {error:e}");
    Ok(all)
}

/// What caches in f16 and cooperative matrices may cost, where a device takes them.
const FAST: f64 = 1e-5;

/// All logits of all methods on all devices. On exact paths, with the cache in f32: float activations within 1e-9 on the
/// CPU and 1e-8 on a GPU, 16-bit activations within 1e-6. As the device likes it best, 16-bit activations within 1e-5.
pub fn judge(json: &Value, folder: &Path, devices: &[Device]) -> Report {
    let mut report = Report::default();
    let file = folder.join("llama_logits.safetensors");
    let bytes = std::fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let expected = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    for (name, case) in json.as_object().unwrap() {
        let config = config(case);
        let weights = weights(&config, case);
        let ids = case["tokens"].as_array().unwrap().iter();
        let tokens: Vec<u32> = ids.map(|t| t.as_u64().unwrap() as u32).collect();
        for method in case["methods"].as_object().unwrap().keys() {
            let key = format!("{name}.{method}.logits");
            let want = expected.tensor(&key).unwrap();
            let want: Vec<f32> = bytemuck::pod_collect_to_vec(want.data());
            let (float, int16) = (Activations::Float, Activations::Int16);
            for mode in [(float, true), (int16, true), (int16, false)] {
                for device in devices {
                    let id = format!("llama, {name}, {method}, {mode:?}, {}", device.name());
                    let got = logits(device, &config, &weights, &tokens, method, mode);
                    let bound = match mode {
                        (_, false) => FAST,
                        (Activations::Float, _) if device.is_cpu() => 1e-9,
                        (Activations::Float, _) => 1e-8,
                        _ => 1e-6,
                    };
                    match block_on(device, got).map(|got| nmse(&got, &want)) {
                        Ok(error) => report.bound(&id, error, bound),
                        Err(error) => report.check(false, || format!("{id}: {error}")),
                    }
                }
            }
        }
    }
    report
}
