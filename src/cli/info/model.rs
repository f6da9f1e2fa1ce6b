//! `info MODEL`: what a model is and what it needs.

use crate::backend::Backend;
use crate::cli::args::{DeviceArgs, RecipeArgs};
use crate::cli::device::{self, Task};
use crate::cli::{out, source};
use crate::error::Result;
use crate::files::{ModelFolder, plan};
use crate::model::{Config, Dtype, Recipe, RopeScaling};
use crate::ops::Kv;
use crate::quantize::calibrated::{CALIBRATION, CalibrationReport};
use serde::Serialize;
use std::path::Path;

#[derive(Serialize)]
struct ModelInfo {
    model: String,
    architecture: String,
    vocabulary: usize,
    /// Whether sizes count complex values.
    complex: bool,
    hidden: usize,
    intermediate: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    context: usize,
    rope_theta: f64,
    rope_scaling: &'static str,
    tied_embeddings: bool,
    bos: Option<u32>,
    eos: Vec<u32>,
    tokenizer: bool,
    parameters: usize,
    /// How the linear layers are stored, or would be with the options given.
    method: String,
    /// Weights in quantized (or all dense) linear layers, a tied head included.
    linear_weights: usize,
    /// Bits per weight of those, scales and padding included.
    bits_per_linear_weight: f64,
    /// All tensors.
    weight_bytes: usize,
    /// All tensors over all parameters.
    bits_per_parameter: f64,
    files: Vec<File>,
    /// Where it would run.
    device: String,
    /// How that device keeps keys and values: `f16` or `f32`.
    cache: &'static str,
    cache_bytes_per_token: usize,
    /// Weights and the cache of a full context.
    memory_bytes: usize,
    /// How it was calibrated; null where it was not.
    calibration: Option<CalibrationReport>,
}

#[derive(Serialize)]
struct File {
    name: String,
    bytes: u64,
}

/// A device's name, and how it keeps keys and values.
struct Cache;

impl Task for Cache {
    type Output = (String, Kv);

    fn run<B: Backend>(self, backend: &B) -> Result<Self::Output> {
        Ok((backend.name(), backend.facts().kv))
    }
}

/// Prints what `model` is, with its linear layers as `args` say, and its cache as the chosen device keeps it.
pub(super) fn run(model: &Path, args: &RecipeArgs, device: &DeviceArgs, json: bool) -> Result<()> {
    let opened = source::open(Some(model))?;
    let recipe = source::recipe(&opened, args)?;
    let (device, kv) = device::run_on(device, Cache)?;
    let info = gather(model, &opened, &recipe, device, kv)?;
    if json {
        return out::json(&info);
    }
    out::print(&text(&info))
}

fn gather(
    model: &Path,
    opened: &ModelFolder,
    recipe: &Recipe,
    device: String,
    kv: Kv,
) -> Result<ModelInfo> {
    let config = &opened.config;
    let blueprint = config.blueprint();
    let reals = blueprint.reals();
    let storage = Storage::of(opened, recipe)?;
    let kv = kv.for_heads(config.head_dim);
    let cache = 2 * config.layers * config.kv_heads * config.head_dim * kv.bytes();
    let files = crate::builtin::sizes(Some(model))?;
    Ok(ModelInfo {
        model: model.display().to_string(),
        architecture: config.architecture.clone(),
        vocabulary: config.vocab,
        complex: blueprint.complex,
        hidden: config.hidden / reals,
        intermediate: config.intermediate / reals,
        layers: config.layers,
        heads: config.heads,
        kv_heads: config.kv_heads,
        head_dim: config.head_dim / reals,
        context: config.context,
        rope_theta: config.rope.theta,
        rope_scaling: match config.rope.scaling {
            RopeScaling::None => "none",
            RopeScaling::Linear { .. } => "linear",
            RopeScaling::Dynamic { .. } => "dynamic",
            RopeScaling::Yarn(_) => "yarn",
            RopeScaling::LongRope(_) => "longrope",
            RopeScaling::Llama3 { .. } => "llama3",
        },
        tied_embeddings: config.tied,
        bos: config.bos,
        eos: config.eos.clone(),
        tokenizer: opened.tokenizer.is_some(),
        parameters: config.parameters(),
        method: recipe.to_string(),
        linear_weights: storage.weights,
        bits_per_linear_weight: 8.0 * storage.linear as f64 / storage.weights as f64,
        weight_bytes: storage.all,
        bits_per_parameter: 8.0 * storage.all as f64 / config.parameters() as f64,
        files: files
            .into_iter()
            .map(|(name, bytes)| File { name, bytes })
            .collect(),
        device,
        cache: match kv {
            Kv::F16 => "f16",
            Kv::F32 => "f32",
        },
        cache_bytes_per_token: cache,
        memory_bytes: storage.all + cache * config.context,
        calibration: calibration(opened)?,
    })
}

/// Longest calibration report that is read.
const LONGEST: usize = 16 << 20;

/// What the folder says of its calibration; nothing where that is not ours.
fn calibration(opened: &ModelFolder) -> Result<Option<CalibrationReport>> {
    let bytes = opened.source.read_optional(CALIBRATION, LONGEST)?;
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

/// Bytes of a model's tensors.
struct Storage {
    /// Weights in the linear layers that `linear` counts.
    weights: usize,
    /// Bytes of packed layers; of dense ones where nothing is packed.
    linear: usize,
    /// Bytes of everything.
    all: usize,
}

impl Storage {
    fn of(opened: &ModelFolder, recipe: &Recipe) -> Result<Self> {
        let packed = plan::plan(&opened.config, Some(recipe));
        let any_packed = packed.iter().any(|p| p.role == plan::Role::Codes);
        let mut sum = Self {
            weights: 0,
            linear: 0,
            all: 0,
        };
        for planned in &packed {
            let elements: usize = planned.shape.iter().product();
            let bytes = match planned.role {
                plan::Role::Codes | plan::Role::Scales => 4 * elements,
                plan::Role::Dense | plan::Role::Norm => elements * width(opened, &planned.name)?,
            };
            sum.all += bytes;
            let linear = match planned.role {
                plan::Role::Codes | plan::Role::Scales => true,
                plan::Role::Dense => !any_packed && planned.name != opened.config.embed_name(),
                plan::Role::Norm => false,
            };
            sum.linear += if linear { bytes } else { 0 };
        }
        for layer in opened.config.linears() {
            let head = layer.prefix == Config::HEAD;
            // a head that stays dense is counted only where all others are dense too and it is stored at all
            let counted = !head
                || if any_packed {
                    !recipe.skip_head
                } else {
                    !opened.config.tied
                };
            if counted {
                sum.weights += layer.out_features * layer.columns();
            }
        }
        Ok(sum)
    }
}

/// Bytes of an element of a dense tensor, as stored.
fn width(opened: &ModelFolder, name: &str) -> Result<usize> {
    let dtype = opened.weights.dtype(name)?;
    Ok(dtype.map_or(4, Dtype::bytes))
}

fn text(info: &ModelInfo) -> String {
    let mut fields = vec![
        ("model", format!("{} ({})", info.model, info.architecture)),
        ("shape", shape(info)),
        ("vocabulary", vocabulary(info)),
        (
            "context",
            format!(
                "{} tokens, RoPE base {}, scaling {}",
                info.context, info.rope_theta, info.rope_scaling
            ),
        ),
        ("parameters", out::scaled(info.parameters as f64, "")),
        ("method", info.method.clone()),
        (
            "bits",
            format!(
                "{:.3} per weight of the {} weights in linear layers, scales and padding included; {:.2} per parameter of the whole",
                info.bits_per_linear_weight,
                out::scaled(info.linear_weights as f64, ""),
                info.bits_per_parameter
            ),
        ),
    ];
    if let Some(report) = &info.calibration {
        fields.push(("calibrated", calibrated(report)));
    }
    for file in &info.files {
        let size = out::bytes(file.bytes as f64);
        fields.push(("file", format!("{size}  {}", file.name)));
    }
    let memory = format!(
        "{} of weights, {} of cache per token ({} on {}), {} with a full context",
        out::bytes(info.weight_bytes as f64),
        out::bytes(info.cache_bytes_per_token as f64),
        info.cache,
        info.device,
        out::bytes(info.memory_bytes as f64)
    );
    fields.push(("memory", memory));
    let lines = fields
        .iter()
        .map(|(name, value)| format!("{name:<13}{value}\n"));
    lines.collect()
}

fn calibrated(c: &CalibrationReport) -> String {
    let perplexity = c.perplexity.map_or(String::new(), |[full, made]| {
        let first = c.first_stage_perplexity;
        let first = first.map_or(String::new(), |p| format!(", first stage alone {p:.2}"));
        format!("; perplexity of held-out text {full:.2}, then {made:.2}{first}")
    });
    format!(
        "{}, fairy2i-gpu {}: {} tokens of {} (seed {}, SHA-256 {}){perplexity}",
        c.method.split(',').next().unwrap_or_default(),
        c.version,
        c.tokens,
        c.sources.join(", "),
        c.seed,
        c.text_sha256.get(..12).unwrap_or_default(),
    )
}

fn shape(info: &ModelInfo) -> String {
    format!(
        "{} layers, hidden {}{}, intermediate {}, {} heads of {} ({} for keys and values)",
        info.layers,
        info.hidden,
        if info.complex { " (complex)" } else { "" },
        info.intermediate,
        info.heads,
        info.head_dim,
        info.kv_heads
    )
}

fn vocabulary(info: &ModelInfo) -> String {
    let mut text = info.vocabulary.to_string();
    if info.tied_embeddings {
        text.push_str(", tied head");
    }
    if !info.tokenizer {
        text.push_str(", no tokenizer.json");
    }
    text
}
