//! Models that were quantized and written as the authors of Fairy2i have them: read again, they compute what the packed folder
//! of the same codes and scales computes, bit for bit.

use super::logits::logits;
use super::small::{Files, config, container, on_disk, tensors};
use fairy2i_gpu::backend::Device;
use fairy2i_gpu::convert::{ExportOptions, Gguf, QuantizeOptions, export_gguf, quantize_folder};
use fairy2i_gpu::files;
use fairy2i_gpu::generate::ModelFiles;
use fairy2i_gpu::model::{Granularity, Method, Recipe};
use fairy2i_gpu::ops::quantize::Activations;
use safetensors::SafeTensors;
use serde_json::json;
use std::path::Path;

const RECIPE: Recipe = Recipe {
    method: Method::Phase { stages: 2 },
    granularity: Granularity::Tile {
        rows: 64,
        columns: 64,
    },
    skip_head: true,
    rotated: false,
};

/// A model in full precision, whose weights have both signs and dense parts that 16 bits hold.
fn model(architecture: &str, model_type: &str) -> Files {
    let json = json!({
        "architectures": [architecture], "model_type": model_type, "hidden_act": "silu", "vocab_size": 32,
        "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 4, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "tie_word_embeddings": false,
        "bos_token_id": 1, "eos_token_id": 2
    });
    let mut all = tensors(&config(&json), None);
    for tensor in all
        .iter_mut()
        .filter(|tensor| !tensor.name.contains("norm"))
    {
        let dense = tensor.name.contains("embed") || tensor.name.contains("lm_head");
        for value in tensor.bytes.chunks_exact_mut(4) {
            let x = f32::from_le_bytes([value[0], value[1], value[2], value[3]]) - 1.0;
            let x = if dense { (x * 64.0).round() / 64.0 } else { x };
            value.copy_from_slice(&x.to_le_bytes());
        }
    }
    Files::from([
        ("config.json".to_owned(), json.to_string().into_bytes()),
        ("model.safetensors".to_owned(), container(&all)),
    ])
}

/// A copy of the packed folder `from` whose scales have 16 bits.
fn with_half_scales(from: &Path) -> tempfile::TempDir {
    let read = |name: &str| std::fs::read(from.join(name)).expect("a file");
    let bytes = read("model.safetensors");
    let stored = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let mut halves = bytes.clone();
    for (name, tensor) in stored.iter().filter(|(name, _)| name.ends_with(".scales")) {
        let start = tensor.data().as_ptr() as usize - bytes.as_ptr() as usize;
        let own = &mut halves[start..start + tensor.data().len()];
        for scale in own.chunks_exact_mut(4) {
            let half =
                half::f16::from_f32(f32::from_le_bytes([scale[0], scale[1], scale[2], scale[3]]));
            assert!(half.to_f32() > 0.0, "{name}");
            scale.copy_from_slice(&half.to_f32().to_le_bytes());
        }
    }
    assert_ne!(halves, bytes);
    on_disk(&Files::from([
        ("config.json".to_owned(), read("config.json")),
        ("model.safetensors".to_owned(), halves),
    ]))
}

fn export(folder: &Path, out: &Path) -> Vec<u8> {
    let files = ModelFiles::from(files::open(folder).expect("the folder opens"));
    let (cpu, options) = (Device::cpu(), ExportOptions::default());
    export_gguf(&files, out, &cpu, Gguf::Fairy2i, options, &mut |_| {}).expect("it is written");
    std::fs::read(out).expect("it is there")
}

#[test]
fn what_was_quantized_computes_the_same_from_either_file() {
    for (architecture, model_type) in [("LlamaForCausalLM", "llama"), ("Qwen2ForCausalLM", "qwen2")]
    {
        let disk = tempfile::tempdir().expect("a folder");
        let at = |name: &str| disk.path().join(name);
        let source = files::Source::memory("m", model(architecture, model_type));
        let original = ModelFiles::from(files::open_source(source).expect("it opens"));
        let options = QuantizeOptions {
            recipe: RECIPE,
            ..QuantizeOptions::default()
        };
        quantize_folder(
            &original,
            at("packed"),
            &Device::cpu(),
            options,
            &mut |_| {},
        )
        .expect("it is packed");
        let halves = with_half_scales(&at("packed"));
        let written = export(halves.path(), &at("halves.gguf"));
        // Scales are rounded while they are written.
        assert!(export(&at("packed"), &at("packed.gguf")) == written);
        let file = files::open(at("halves.gguf")).expect("it opens");
        let folder = files::open(halves.path()).expect("it opens");
        assert_eq!(file.recipe, Some(RECIPE));
        let biases = "model.layers.1.self_attn.v_proj.bias";
        let biases = file.weights.tensor(biases).expect("it is read");
        assert_eq!(biases.is_some(), model_type == "qwen2");
        for activations in [Activations::Int8, Activations::Int16, Activations::Float] {
            assert_eq!(
                logits(&file, activations),
                logits(&folder, activations),
                "{architecture}"
            );
        }
    }
}
