//! GGUF files that are written: read again, they are the same model; and nothing half-written stays.

use super::refused;
use super::small::{Files, config, config_json, container, open, parse, tensors, whole};
use fairy2i_gpu::backend::Device;
use fairy2i_gpu::convert::{ExportOptions, Gguf, export_gguf};
use fairy2i_gpu::files::{self, ModelFolder};
use fairy2i_gpu::generate::ModelFiles;
use fairy2i_gpu::model::{Dtype, Tensor};
use serde_json::json;
use std::path::Path;

const STORIES: &[u8] = include_bytes!("../data/stories260k.tokenizer.json");
const NOVELLA: &[u8] = include_bytes!("../data/novella.tokenizer.json");

fn export(
    folder: ModelFolder,
    out: &Path,
    kind: Gguf,
    replace: bool,
) -> fairy2i_gpu::Result<usize> {
    let options = ExportOptions {
        replace,
        ..ExportOptions::default()
    };
    let files = ModelFiles::from(folder);
    export_gguf(&files, out, &Device::cpu(), kind, options, &mut |_| {})
}

fn values(model: &ModelFolder, name: &str) -> Vec<f32> {
    let tensor: Tensor<'_> = model.weights.tensor(name).unwrap().unwrap();
    tensor.to_f32(0..tensor.elements())
}

#[test]
fn dense_files_read_back_as_the_folder() {
    let mut files = whole();
    files.insert("tokenizer.json".to_owned(), STORIES.to_vec());
    let settings = json!({"chat_template": "{{ messages }}", "bos_token": "<s>"});
    files.insert(
        "tokenizer_config.json".to_owned(),
        settings.to_string().into_bytes(),
    );
    let disk = tempfile::tempdir().unwrap();
    let out = disk.path().join("out.gguf");
    let folder = open(&files).unwrap();
    export(open(&files).unwrap(), &out, Gguf::Dense(Dtype::F32), false).unwrap();
    let back = files::open(&out).unwrap();
    assert_eq!(back.config, folder.config);
    for planned in files::plan::plan(&folder.config, None) {
        let name = &planned.name;
        assert_eq!(values(&back, name), values(&folder, name), "{name}");
    }
    let [a, b] = [&folder, &back].map(|m| m.tokenizer.as_ref().unwrap());
    for text in ["Once upon a time, <s> \"x\" é\n", ""] {
        assert_eq!(a.encode(text, true).unwrap(), b.encode(text, true).unwrap());
    }
    assert!(back.chat_template.is_some());
    // Files of this program are replaced if the caller says so, and others never.
    let again = |replace| {
        export(
            open(&files).unwrap(),
            &out,
            Gguf::Dense(Dtype::F16),
            replace,
        )
    };
    refused(again(false), &["out.gguf", "is there already"]);
    again(true).unwrap();
    let head = files::open(&out)
        .unwrap()
        .weights
        .dtype("lm_head.weight")
        .unwrap();
    assert_eq!(head, Some(Dtype::F16));
    std::fs::write(&out, b"precious").unwrap();
    refused(again(true), &["out.gguf", "is there already"]);
    assert_eq!(std::fs::read(&out).unwrap(), b"precious");
    assert_eq!(
        std::fs::read_dir(disk.path()).unwrap().count(),
        1,
        "nothing else is left"
    );
}

#[test]
fn rotary_scaling_and_byte_pairs_are_written() {
    let mut json = config_json();
    json["vocab_size"] = 4096.into();
    json["head_dim"] = 16.into();
    json["rope_theta"] = 500_000.0.into();
    json["rope_scaling"] = json!({
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192
    });
    let files = Files::from([
        ("config.json".to_owned(), json.to_string().into_bytes()),
        (
            "model.safetensors".to_owned(),
            container(&tensors(&config(&json), None)),
        ),
        ("tokenizer.json".to_owned(), NOVELLA.to_vec()),
    ]);
    let disk = tempfile::tempdir().unwrap();
    let out = disk.path().join("out.gguf");
    let folder = open(&files).unwrap();
    export(open(&files).unwrap(), &out, Gguf::Dense(Dtype::F32), false).unwrap();
    let back = files::open(&out).unwrap();
    assert_eq!(back.config, folder.config);
    let [a, b] = [&folder, &back].map(|m| m.tokenizer.as_ref().unwrap());
    let text = "It's 1234 o'clock,  <unk>\n";
    assert_eq!(a.encode(text, true).unwrap(), b.encode(text, true).unwrap());
}

/// The folder of a packed model of two stages.
fn packed(granularity: serde_json::Value, skip_head: bool) -> Files {
    let mut json = config_json();
    for (field, size) in [
        ("hidden_size", 128),
        ("intermediate_size", 256),
        ("num_key_value_heads", 2),
    ] {
        json[field] = size.into();
    }
    json["quantization_config"] = json!({
        "quant_method": "fairy2i", "version": 1, "method": "fairy2i", "stages": 2, "skip_lm_head": skip_head
    });
    for (field, value) in granularity.as_object().unwrap() {
        json["quantization_config"][field] = value.clone();
    }
    let (_, recipe) = files::config::parse("c", json.to_string().as_bytes(), None).unwrap();
    let config = parse(&json).unwrap();
    let mut all = tensors(&config, recipe.as_ref());
    for tensor in all.iter_mut() {
        // Values that 16 bits hold.
        if tensor.dtype == "F32" {
            let values = tensor.bytes.chunks_exact(4).enumerate();
            let halves = values.flat_map(|(i, _)| (0.5 + (i % 127) as f32 / 256.0).to_le_bytes());
            tensor.bytes = halves.collect();
        }
    }
    Files::from([
        ("config.json".to_owned(), json.to_string().into_bytes()),
        ("model.safetensors".to_owned(), container(&all)),
    ])
}

#[test]
fn packed_models_read_back_with_the_same_codes_and_scales() {
    let disk = tempfile::tempdir().unwrap();
    let tile = json!({"version": 3, "granularity": "tile", "tile_rows": 64, "group_size": 64});
    for (n, granularity) in [tile, json!({"granularity": "tensor"})]
        .into_iter()
        .enumerate()
    {
        let out = disk.path().join(format!("{n}.gguf"));
        let files = packed(granularity, true);
        let folder = open(&files).unwrap();
        export(open(&files).unwrap(), &out, Gguf::Fairy2i, false).unwrap();
        let back = files::open(&out).unwrap();
        for layer in folder
            .config
            .linears()
            .iter()
            .filter(|l| l.prefix != "lm_head")
        {
            let load = |m: &ModelFolder| {
                fairy2i_gpu::model::weights::packed(&*m.weights, m.recipe.unwrap(), layer).unwrap()
            };
            let [a, b] = [&folder, &back].map(load);
            assert_eq!(a.codes, b.codes, "{}", layer.prefix);
            match a.scales.len() == b.scales.len() {
                true => assert_eq!(a.scales, b.scales, "{}", layer.prefix),
                // The scales of the matrix stand in every tile.
                false => assert!(
                    b.scales.chunks(8).all(|tile| tile == a.scales),
                    "{}",
                    layer.prefix
                ),
            }
        }
        for planned in files::plan::plan(&folder.config, folder.recipe.as_ref()) {
            if !planned.name.ends_with(".codes") && !planned.name.ends_with(".scales") {
                assert_eq!(values(&back, &planned.name), values(&folder, &planned.name));
            }
        }
    }
}

#[test]
fn what_such_files_cannot_hold_is_refused() {
    let disk = tempfile::tempdir().unwrap();
    let out = disk.path().join("out.gguf");
    let row = packed(json!({"granularity": "row"}), true);
    for (files, name) in [
        (row, "scales per row"),
        (
            packed(json!({"granularity": "tensor"}), false),
            "packed otherwise",
        ),
        (whole(), "no packed layers"),
    ] {
        refused(
            export(open(&files).unwrap(), &out, Gguf::Fairy2i, false),
            &[name],
        );
    }
    let mut files = whole();
    files.insert(
        "tokenizer.json".to_owned(),
        br#"{"model":{"type":"WordLevel"}}"#.to_vec(),
    );
    let source = files::Source::memory("m", files);
    let mut folder = open(&whole()).unwrap();
    folder.source = source;
    refused(
        export(folder, &out, Gguf::Dense(Dtype::F16), false),
        &["without merges"],
    );
    assert!(!out.exists());
    assert_eq!(std::fs::read_dir(disk.path()).unwrap().count(), 0);
}
