//! The checkpoints that the papers' authors published, as they lie in a folder after a download: small ones of exactly that
//! layout, made here. Masters are bf16 in shards, and Python code, training leftovers and a download's own files lie beside.

use super::{Run, good, json, run, small};
use serde_json::{Value, json as value};
use std::fs;
use std::path::Path;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// LLaMA-2-7B's configuration at a 64th of its width.
fn llama() -> Value {
    value!({
        "_name_or_path": "/data/checkpoints/step-20000", "architectures": ["LlamaForCausalLM"], "attention_bias": false,
        "attention_dropout": 0.0, "auto_map": {"AutoModelForCausalLM": "load_model.Fairy2iForCausalLM"},
        "bos_token_id": 1, "eos_token_id": 2, "head_dim": 16, "hidden_act": "silu", "hidden_size": 64,
        "initializer_range": 0.02, "intermediate_size": 172, "max_position_embeddings": 256, "mlp_bias": false,
        "model_type": "llama", "num_attention_heads": 4, "num_hidden_layers": 2, "num_key_value_heads": 4,
        "pretraining_tp": 1, "rms_norm_eps": 1e-5, "rope_scaling": null, "rope_theta": 10000.0,
        "tie_word_embeddings": false, "torch_dtype": "bfloat16", "transformers_version": "4.52.4", "use_cache": false,
        "vocab_size": 512
    })
}

/// iFairy-700M's at a 32nd. Its code never looks at `hidden_act`, which comes from the configuration it was derived from.
fn ifairy(hidden_act: &str) -> Value {
    value!({
        "architectures": ["ComplexNetLM"], "attention_dropout": 0.0,
        "auto_map": {
            "AutoConfig": "configuration_Fairy_plus_minus_i.ComplexNetConfig",
            "AutoModelForCausalLM": "modeling_Fairy_plus_minus_i.ComplexNetLM"
        },
        "hidden_act": hidden_act, "hidden_size": 48, "initializer_range": 0.02, "intermediate_size": 128,
        "max_position_embeddings": 256, "model_type": "complexnet", "num_attention_heads": 4, "num_hidden_layers": 2,
        "num_key_value_heads": 4, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "torch_dtype": "bfloat16",
        "transformers_version": "4.49.0", "use_cache": true, "vocab_size": 512
    })
}

/// Tensors as training leaves them: both signs, in bf16, norms near 1.
fn masters(config: &Value) -> Vec<small::StoredTensor> {
    let mut all = small::tensors(&small::config(config), None);
    for (k, tensor) in all.iter_mut().enumerate() {
        let norm = tensor.name.contains("norm");
        let values = tensor.bytes.chunks_exact(4);
        let values = values.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let value = |(i, x): (usize, f32)| match norm {
            true => x,
            false => (x - 1.0) * 0.2 + 0.01 * ((i * (k + 3)) % 7) as f32,
        };
        let values = values.enumerate().map(value);
        tensor.bytes = values
            .flat_map(|x| half::bf16::from_f32(x).to_le_bytes())
            .collect();
        tensor.dtype = "BF16";
    }
    all
}

/// The folder: `shards` files of weights with an index, or one; a tokenizer; `code` and what else is published beside.
fn published(config: &Value, shards: usize, code: &[&str]) -> tempfile::TempDir {
    let tensors = masters(config);
    let mut files = small::Files::new();
    let mut map = serde_json::Map::new();
    for (i, part) in tensors.chunks(tensors.len().div_ceil(shards)).enumerate() {
        let name = match shards {
            1 => "model.safetensors".to_owned(),
            _ => format!("model-{:05}-of-{shards:05}.safetensors", i + 1),
        };
        map.extend(part.iter().map(|t| (t.name.clone(), name.clone().into())));
        files.insert(name, small::container(part));
    }
    if shards > 1 {
        let bytes: usize = tensors.iter().map(|t| t.bytes.len()).sum();
        let index = value!({"metadata": {"total_size": bytes}, "weight_map": map});
        files.insert(
            "model.safetensors.index.json".to_owned(),
            index.to_string().into_bytes(),
        );
    }
    let generation = value!({
        "_from_model_config": true, "bos_token_id": 1, "do_sample": true, "eos_token_id": 2, "max_length": 256,
        "pad_token_id": 0, "temperature": 0.6, "top_p": 0.9, "transformers_version": "4.52.4"
    });
    let special = value!({
        "bos_token": {"content": "<s>", "lstrip": false, "normalized": false, "rstrip": false, "single_word": false},
        "eos_token": {"content": "</s>", "lstrip": false, "normalized": false, "rstrip": false, "single_word": false},
        "unk_token": {"content": "<unk>", "lstrip": false, "normalized": false, "rstrip": false, "single_word": false}
    });
    for (name, bytes) in [
        ("config.json", config.to_string().into_bytes()),
        (
            "generation_config.json",
            generation.to_string().into_bytes(),
        ),
        ("special_tokens_map.json", special.to_string().into_bytes()),
        (
            "tokenizer.model",
            b"\n\x0e\n\x05<unk>\x15\x00\x00\x00\x00\x18\x02".to_vec(),
        ),
        (
            "README.md",
            b"---\nlicense: llama2\n---\n# a model".to_vec(),
        ),
        (
            ".gitattributes",
            b"*.safetensors filter=lfs diff=lfs merge=lfs -text".to_vec(),
        ),
        ("training_args.bin", b"PK\x03\x04 a pickle".to_vec()),
        ("trainer_state.json", b"{\"global_step\": 20000}".to_vec()),
    ] {
        files.insert(name.to_owned(), bytes);
    }
    for name in code {
        files.insert(
            (*name).to_owned(),
            b"raise SystemExit('this was run')\n".to_vec(),
        );
    }
    let tokenizer = Path::new(ROOT).join("tests/data/models/stories260k/tokenizer.json");
    files.insert(
        "tokenizer.json".to_owned(),
        fs::read(tokenizer).expect("a test file"),
    );
    let folder = small::on_disk(&files);
    // What `hf download --local-dir` notes about its files.
    let notes = folder.path().join(".cache/huggingface/download");
    fs::create_dir_all(&notes).expect("made");
    fs::write(notes.join("config.json.metadata"), b"0123\n4567\n1.0\n").expect("written");
    folder
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn greedy(args: &[&str]) -> Value {
    let all = [
        "generate", "--json", "--temp", "0", "-n", "12", "-p", "Once",
    ];
    json(&[&all[..], args].concat())["ids"].clone()
}

/// Names of the files in a folder that end so.
fn ending(folder: &str, end: &str) -> Vec<String> {
    let all = fs::read_dir(folder).expect("a folder");
    let all = all.map(|e| {
        e.expect("an entry")
            .file_name()
            .to_string_lossy()
            .into_owned()
    });
    all.filter(|name| name.ends_with(end)).collect()
}

/// `info`, `quantize`, `generate` and `export` of a published folder, to be read with `stages` stages.
fn works(folder: &Path, stages: &str, layers: usize) {
    let out = tempfile::tempdir().expect("a folder");
    let original = text(folder);
    let [packed, plain] = ["packed", "plain"].map(|name| text(&out.path().join(name)));
    let info = json(&["info", &original, "--json"]);
    assert_eq!(info["layers"], 2, "{info}");
    let Run {
        code,
        stderr,
        stdout,
    } = run(&["quantize", &original, &packed, "--stages", stages, "--json"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    let report: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(
        report["layers"].as_array().map(Vec::len),
        Some(layers),
        "{report}"
    );
    let ids = greedy(&["-m", &packed]);
    assert_eq!(ids.as_array().map(Vec::len), Some(12), "{ids}");
    assert_eq!(greedy(&["-m", &original, "--stages", stages]), ids);
    for name in [
        "tokenizer.json",
        "tokenizer.model",
        "generation_config.json",
    ] {
        let read = |folder: &Path| fs::read(folder.join(name)).expect(name);
        assert_eq!(read(Path::new(&packed)), read(folder), "{name}");
    }
    // Code is neither run nor passed on.
    assert_eq!(ending(&packed, ".py"), [""; 0]);
    good(&["export", &packed, &plain, "--dtype", "f32"]);
    let float = ["--activations", "float"];
    let ids = greedy(&[&["-m", &packed][..], &float].concat());
    assert_eq!(greedy(&[&["-m", &plain][..], &float].concat()), ids);
}

#[test]
fn fairy2i_w2_works_as_downloaded() {
    let code = ["load_model.py", "qat_modules.py", "quantization.py"];
    let folder = published(&llama(), 3, &code);
    assert_eq!(ending(&text(folder.path()), ".safetensors").len(), 3);
    works(folder.path(), "2", 15);
    // What is written is an ordinary LLaMA, which needs no code.
    let other = tempfile::tempdir().expect("a folder");
    let out = other.path().join("plain");
    let all = ["export", &text(folder.path()), &text(&out), "--stages", "2"];
    good(&all);
    let config: Value =
        serde_json::from_slice(&fs::read(out.join("config.json")).expect("a file")).expect("JSON");
    assert!(config.get("auto_map").is_none() && config["architectures"][0] == "LlamaForCausalLM");
}

#[test]
fn ifairy_works_as_downloaded() {
    let code = [
        "configuration_Fairy_plus_minus_i.py",
        "modeling_Fairy_plus_minus_i.py",
    ];
    for (act, shards) in [("silu", 1), ("relu2", 2)] {
        let folder = published(&ifairy(act), shards, &code);
        works(folder.path(), "1", 14);
    }
}
