//! Packed models as the authors of Fairy2i hold them, schema 2: two stages, scales of 16 bits for each tile of 64 x 64.

use super::super::fairy2i::{ARCHITECTURE, bundled};
use super::super::names::in_block;
use super::super::types::CODES;
use super::super::writer::Outline;
use super::{block_type, packed_only, sizes, tables};
use crate::error::{Error, Result};
use crate::files::ModelFolder;
use crate::files::copy_from::encode;
use crate::files::plan::{Role, plan};
use crate::model::{Config, Dtype, Form, Granularity, Method, Packed, RopeScaling};

/// Rows and columns of a tile.
const TILE: usize = 64;
/// U and W of both stages.
const BRANCHES: usize = 4;

/// What a file of `files` says, and the names of the dense tensors of the model and of the file.
///
/// # Errors
/// [`Error::Usage`] for a model of another family, another number of stages, other scales, or sizes that are no multiples
/// of 128.
pub fn fairy2i(files: &ModelFolder) -> Result<(Outline, Vec<(String, String)>)> {
    let config = &files.config;
    let base = base(files)?;
    let mut outline = Outline::new(ARCHITECTURE, TILE as u32);
    sizes(&mut outline, ARCHITECTURE, config, 2);
    facts(&mut outline, base);
    tables::tokenizer(&mut outline, &files.source, config)?;
    let mut dense = Vec::new();
    for planned in plan(config, files.recipe.as_ref()) {
        let (module, last) = planned.name.rsplit_once('.').unwrap_or((&planned.name, ""));
        let what = || packed_only(files, &format!("a tensor `{}`", planned.name));
        let name = stored_name(module).ok_or_else(what)?;
        let name = if last == "bias" {
            format!("{name}.bias")
        } else {
            name
        };
        match planned.role {
            Role::Scales => continue,
            Role::Codes => {
                let [rows, _, _, words] = planned.shape[..] else {
                    return Err(what());
                };
                let tiles = rows / TILE * (words / 4);
                if rows % TILE != 0 || words % 4 != 0 {
                    return Err(packed_only(
                        files,
                        "layers whose sizes are no multiples of 128",
                    ));
                }
                let codes = format!("{name}.bundle.codes");
                outline.tensor(&codes, &[tiles, TILE, BRANCHES, 16], CODES);
                let scales = format!("{name}.bundle.scales");
                outline.tensor(&scales, &[tiles, BRANCHES, 2], block_type(Dtype::F16));
                continue;
            }
            Role::Dense if module == "model.embed_tokens" => {
                let pairs = [config.vocab, config.hidden / 2];
                outline.tensor(&name, &pairs, block_type(Dtype::F32));
            }
            Role::Dense if module == Config::HEAD => {
                outline.tensor(&name, &planned.shape, block_type(Dtype::F16));
            }
            Role::Dense | Role::Norm => {
                outline.tensor(&name, &planned.shape, block_type(Dtype::F32));
            }
        }
        dense.push((planned.name, name));
    }
    Ok((outline, dense))
}

/// The family that the file names.
fn base(files: &ModelFolder) -> Result<&'static str> {
    let config = &files.config;
    let base = match config.architecture.as_str() {
        "LlamaForCausalLM" => "llama",
        "Qwen2ForCausalLM" => "qwen2",
        other => return Err(packed_only(files, &format!("a {other}"))),
    };
    let recipe = files.recipe;
    let recipe = recipe.ok_or_else(|| packed_only(files, "no packed layers"))?;
    let tile = Granularity::Tile {
        rows: TILE,
        columns: TILE,
    };
    let fits = [tile, Granularity::Tensor].contains(&recipe.granularity)
        && recipe.method == Method::Phase { stages: 2 }
        && recipe.skip_head
        && !recipe.rotated;
    if !fits {
        return Err(packed_only(
            files,
            &format!("layers packed otherwise ({recipe})"),
        ));
    }
    if config.tied {
        return Err(packed_only(files, "a head that is the embedding"));
    }
    if config.rope.scaling != RopeScaling::None {
        return Err(packed_only(files, "scaled rotary embeddings"));
    }
    Ok(base)
}

/// What every file of this kind says.
fn facts(outline: &mut Outline, base: &str) {
    outline.unsigned("general.file_type", 42);
    let key = |key: &str| format!("{ARCHITECTURE}.{key}");
    for (name, number) in [
        ("schema_version", 2),
        ("quant.residual_steps", 2),
        ("quant.tile_size", 64),
        ("weight.m_block", 64),
        ("weight.k_block", 64),
        ("weight.m_subtile", 16),
    ] {
        outline.unsigned(&key(name), number);
    }
    let (layout, profile) = match base {
        "qwen2" => ("qwen2_real", "qwen2"),
        _ => ("llama_real", "llama_bpe"),
    };
    let mut texts = vec![
        ("base_arch", base),
        ("attn.layout", layout),
        ("tokenizer.profile", profile),
        ("quant.format", "bundle_v1"),
        ("quant.variant", "tile64_v2"),
        ("quant.codebook", "{+/-1,+/-i}"),
        ("quant.scale_stat", "dominant_mean_abs"),
        ("weight.layout", "bundle_m64k64_v1"),
        ("weight.scale_scope", "m64_k64"),
        ("weight.code_order", "m16_q4_branch_lane"),
        ("weight.branch_order", "U0,U1,W0,W1"),
    ];
    texts.push(("weight.scale_dtype", "f16"));
    if base == "qwen2" {
        texts.push(("quant.numeric_profile", "legacy_f16_v1"));
    }
    for (name, text) in texts {
        outline.text(&key(name), text);
    }
}

/// The name in the file of what Hugging Face calls `module`.
pub(in super::super) fn stored_name(module: &str) -> Option<String> {
    match module {
        "model.embed_tokens" => Some("token_embd".to_owned()),
        "model.norm" => Some("output_norm".to_owned()),
        Config::HEAD => Some("output".to_owned()),
        _ => {
            let (layer, module) = module.strip_prefix("model.layers.")?.split_once('.')?;
            let (name, _) = in_block(super::super::families::Norms::Before, module)?;
            Some(format!("blk.{layer}.{name}"))
        }
    }
}

/// The bytes of a dense tensor as the file has it: the embedding in pairs of bfloat16, the head in 16 bits, the rest in 32.
///
/// # Errors
/// [`Error::Usage`] for values too large for the element type.
pub fn dense_bytes(name: &str, shape: &[usize], values: &[f32]) -> Result<Vec<u8>> {
    let module = name.rsplit_once('.').map_or(name, |(module, _)| module);
    if module == Config::HEAD {
        return encode(name, 0, values, Dtype::F16);
    }
    if module != "model.embed_tokens" {
        return encode(name, 0, values, Dtype::F32);
    }
    let hidden = shape.last().copied().unwrap_or(1);
    let mut bytes = Vec::with_capacity(2 * values.len());
    for row in values.chunks_exact(hidden) {
        let halves = row.split_at(hidden / 2);
        let [first, second] = [halves.0, halves.1].map(|half| encode(name, 0, half, Dtype::BF16));
        for (a, b) in first?.chunks(2).zip(second?.chunks(2)) {
            bytes.extend(a);
            bytes.extend(b);
        }
    }
    Ok(bytes)
}

/// The two tensors of a packed layer: their names and their bytes.
///
/// # Errors
/// [`Error::Usage`] for a scale that no 16-bit float holds.
pub fn bundle(prefix: &str, packed: &Packed) -> Result<[(String, Vec<u8>); 2]> {
    let bug = |what: &str| {
        Error::usage(
            format!("layer `{prefix}` {what}"),
            "please report this as a bug",
        )
    };
    let name = stored_name(prefix).ok_or_else(|| bug("has no place"))?;
    if packed.form != Form::WidelyLinear || packed.stages() != 2 {
        return Err(bug("is packed otherwise"));
    }
    let (rows, columns) = (packed.out_features / 2, packed.in_features / 2);
    let codes = bundled(&packed.codes, rows, columns, BRANCHES);
    let tiles = rows / TILE * (columns / TILE);
    // Each row of a tile has a copy of its scales.
    let per_tile = match packed.granularity {
        Granularity::Tensor => packed.scales.repeat(tiles),
        _ => {
            let row = packed.scales.len() / rows.max(1);
            let firsts = packed.scales.chunks_exact(row.max(1)).step_by(TILE);
            firsts.flatten().copied().collect()
        }
    };
    let mut scales = Vec::with_capacity(2 * per_tile.len());
    for scale in per_tile {
        let half = half::f16::from_f32(scale);
        if half.is_infinite() || half.to_bits() == 0 && scale != 0.0 {
            return Err(Error::usage(
                format!("layer `{prefix}` has a scale of {scale}, which no 16-bit float holds"),
                "write a Hugging Face folder",
            ));
        }
        scales.extend(half.to_le_bytes());
    }
    Ok([
        (format!("{name}.bundle.codes"), codes),
        (format!("{name}.bundle.scales"), scales),
    ])
}
