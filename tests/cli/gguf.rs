//! GGUF files through all commands that take or write a model: what a file gives is what the folder gives that it was made
//! from.

use super::{good, json, refused, run, small};
use serde_json::{Value, json as value};
use std::fs;
use std::path::Path;

const STORIES: &[u8] = include_bytes!("../data/stories260k.tokenizer.json");

/// `config.json` of a tiny model whose layers are whole tiles of 64 x 64 complex elements.
fn config(architecture: &str) -> Value {
    let model_type = architecture.trim_end_matches("ForCausalLM").to_lowercase();
    value!({
        "architectures": [architecture], "model_type": model_type, "hidden_act": "silu", "vocab_size": 512,
        "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 1, "num_attention_heads": 4,
        "num_key_value_heads": 4, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": 2
    })
}

/// A model in a folder of its own, with a tokenizer, beside which files are written.
struct Made(tempfile::TempDir);

impl Made {
    fn new(architecture: &str) -> Self {
        let json = config(architecture);
        let mut tensors = small::tensors(&small::config(&json), None);
        for tensor in tensors.iter_mut().filter(|t| !t.name.contains("norm")) {
            for value in tensor.bytes.chunks_exact_mut(4) {
                // Both signs, and values that 16 bits hold.
                let x = f32::from_le_bytes([value[0], value[1], value[2], value[3]]);
                let x = ((x - 1.0) * 64.0).round() / 128.0;
                value.copy_from_slice(&x.to_le_bytes());
            }
        }
        let made = Self(tempfile::tempdir().expect("a temporary folder"));
        fs::create_dir(made.0.path().join("model")).expect("a folder");
        for (name, bytes) in [
            ("config.json", json.to_string().into_bytes()),
            ("model.safetensors", small::container(&tensors)),
            ("tokenizer.json", STORIES.to_vec()),
        ] {
            fs::write(made.0.path().join("model").join(name), bytes).expect("a file");
        }
        made
    }

    fn at(&self, name: &str) -> String {
        self.0.path().join(name).to_string_lossy().into_owned()
    }

    /// Names of everything that is there.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).expect("a folder").flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    /// Packs the model in tiles that GGUF files of the method's authors hold.
    fn packed(&self) -> String {
        let recipe = [
            "--stages",
            "2",
            "--granularity",
            "tile:64",
            "--skip-lm-head",
        ];
        let (model, packed) = (self.at("model"), self.at("packed"));
        good(&[&["quantize", &model, &packed][..], &recipe].concat());
        packed
    }
}

fn greedy(model: &str, more: &[&str]) -> Value {
    let all = [
        "generate", "--json", "--temp", "0", "-n", "12", "-p", "a", "-m", model,
    ];
    json(&[&all[..], more].concat())["ids"].clone()
}

fn weights(folder: &str) -> Vec<u8> {
    fs::read(Path::new(folder).join("model.safetensors")).expect("a file of weights")
}

#[test]
fn a_file_is_a_model_to_every_command() {
    let made = Made::new("LlamaForCausalLM");
    let (folder, file) = (made.at("model"), made.at("model.gguf"));
    let report = json(&["export", "--json", &folder, &file, "--gguf", "f32"]);
    assert_eq!(report["dtype"], "f32", "{report}");
    let size = fs::metadata(&file).expect("a file").len();
    assert_eq!(report["file_bytes"], size, "{report}");
    let info = |model: &str| json(&["info", "--json", model]);
    let (a, b) = (info(&folder), info(&file));
    for field in [
        "architecture",
        "layers",
        "hidden",
        "heads",
        "vocabulary",
        "parameters",
    ] {
        assert_eq!(a[field], b[field], "{field}");
    }
    assert_eq!(greedy(&file, &[]), greedy(&folder, &[]));
    let text = made.at("text.txt");
    fs::write(
        &text,
        "Once upon a time there was a little dog. ".repeat(12),
    )
    .expect("written");
    let ppl = |model: &str| {
        let rows = json(&["eval", "ppl", "--json", "--block", "32", "-m", model, &text]);
        rows[0]["mean_nll"].clone()
    };
    assert!(ppl(&file).is_f64());
    assert_eq!(ppl(&file), ppl(&folder));
    let [a, b] = [(&folder, "a"), (&file, "b")].map(|(model, out)| {
        let out = made.at(out);
        good(&["quantize", model, &out, "--stages", "2"]);
        out
    });
    assert!(weights(&a) == weights(&b), "the same codes and scales");
    assert_eq!(greedy(&b, &[]), greedy(&a, &[]));
    let plain = made.at("plain");
    good(&["export", &file, &plain, "--dtype", "f32"]);
    assert_eq!(greedy(&plain, &[]), greedy(&folder, &[]));
}

#[test]
fn packed_models_are_exported_in_every_type() {
    for architecture in ["LlamaForCausalLM", "Qwen2ForCausalLM"] {
        let made = Made::new(architecture);
        let packed = made.packed();
        let float = ["--activations", "float"];
        for kind in ["f32", "f16", "bf16"] {
            let (file, plain) = (made.at("dense.gguf"), made.at("plain"));
            good(&["export", &packed, &file, "--gguf", kind, "--force"]);
            good(&["export", &packed, &plain, "--dtype", kind, "--force"]);
            assert_eq!(greedy(&file, &float), greedy(&plain, &float), "{kind}");
        }
        let file = made.at("codes.gguf");
        good(&["export", &packed, &file, "--gguf", "fairy2i"]);
        let info = json(&["info", "--json", &file]);
        assert_eq!(info["architecture"], architecture, "{info}");
        assert_eq!(info["method"], json(&["info", "--json", &packed])["method"]);
        // Codes and scales of the file, rounded to 16 bits, stay what they are in a folder made of it.
        let (again, twice) = (made.at("again.gguf"), greedy(&file, &[]));
        good(&["export", &file, &again, "--gguf", "fairy2i"]);
        assert_eq!(greedy(&again, &[]), twice);
        assert!(fs::read(&again).expect("a file") == fs::read(&file).expect("a file"));
        refused(
            &["quantize", &file, &made.at("out"), "--stages", "2"],
            2,
            &["packed"],
        );
        assert!(made.names().iter().all(|name| !name.contains(".fairy2i-")));
    }
}

#[test]
fn nothing_is_written_over() {
    let made = Made::new("LlamaForCausalLM");
    let (folder, file) = (made.at("model"), made.at("x.gguf"));
    let refuse = |out: &str, more: &[&str], names: &[&str]| {
        let export = ["export", &folder, out, "--gguf", "f16"];
        refused(&[&export, more].concat(), 2, names);
    };
    let export = ["export", &folder, &file, "--gguf", "f16"];
    let names = ["model", "x.gguf"];
    good(&export);
    assert_eq!(made.names(), names);
    refuse(
        &file,
        &[],
        &["x.gguf", "is there already", "another file", "--force"],
    );
    good(&[&export[..], &["--force"]].concat());
    // A file that somebody has changed since is theirs.
    let mut bytes = fs::read(&file).expect("it is there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).expect("written");
    refuse(&file, &["--force"], &["x.gguf", "only what `export` wrote"]);
    // What somebody else wrote stays, be it in the place of the file or beside it.
    fs::write(&file, b"precious").expect("written");
    refuse(&file, &["--force"], &["x.gguf", "only what `export` wrote"]);
    assert_eq!(fs::read(&file).expect("it is there"), b"precious");
    fs::remove_file(&file).expect("removed");
    let beside = made.at("x.gguf.fairy2i-tmp");
    fs::write(&beside, b"precious").expect("written");
    for more in [&[][..], &["--force"]] {
        refuse(&file, more, &["x.gguf.fairy2i-tmp", "in the way"]);
    }
    assert_eq!(fs::read(&beside).expect("it is there"), b"precious");
    fs::remove_file(&beside).expect("removed");
    refuse(&folder, &["--force"], &["model", "which is read"]);
    let inside = Path::new(&folder).join("x.gguf");
    refuse(
        &inside.to_string_lossy(),
        &[],
        &["lies inside", "which is read"],
    );
    fs::create_dir(&file).expect("a folder");
    refuse(&file, &["--force"], &["x.gguf", "is a folder"]);
    assert_eq!(made.names(), names);
}

#[test]
fn files_that_are_bad_are_refused() {
    let made = Made::new("LlamaForCausalLM");
    let (folder, file, bad) = (made.at("model"), made.at("x.gguf"), made.at("bad.gguf"));
    good(&["export", &folder, &file, "--gguf", "f16"]);
    let bytes = fs::read(&file).expect("a file");
    let at = |text: &str| {
        let found = bytes.windows(text.len()).position(|w| w == text.as_bytes());
        found.expect("it is in the file")
    };
    let with = |place: usize, new: &[u8]| {
        let mut bytes = bytes.clone();
        bytes[place..place + new.len()].copy_from_slice(new);
        bytes
    };
    let whole = bytes.len();
    for (bytes, names) in [
        (Vec::new(), &["`GGUF`"][..]),
        (b"GGUF".to_vec(), &["truncated"]),
        (bytes[..1000].to_vec(), &["truncated"]),
        (bytes[..whole - 1].to_vec(), &["truncated"]),
        (with(0, b"GGML"), &["`GGUF`"]),
        (with(4, &[9]), &["version 9"]),
        (with(4, &[0, 0, 0, 3]), &["big-endian"]),
        (with(8, &[0xFF; 8]), &["tensor"]),
        (
            with(at("llama.block_count"), b"llama.block_bount"),
            &["block_count", "missing"],
        ),
        (
            with(at("blk.0.ffn_up.weight"), b"blk.0.ffn_xx.weight"),
            &["2 tensor(s)", "blk.0.ffn_xx.weight"],
        ),
        (
            with(at("token_embd.weight"), b"other_embd.weight"),
            &["token_embd.weight"],
        ),
    ] {
        fs::write(&bad, bytes).expect("written");
        for command in [
            &["info", &bad][..],
            &["generate", "-m", &bad, "a"],
            &["quantize", &bad, &made.at("out"), "--stages", "2"],
            &["eval", "ppl", "-m", &bad, &file],
            &["export", &bad, &made.at("out")],
        ] {
            refused(command, 2, &[&["bad.gguf"], names].concat());
        }
    }
    let second = made.at("m-00002-of-00002.gguf");
    fs::copy(&file, &second).expect("copied");
    refused(
        &["generate", "-m", &second, "a"],
        2,
        &["part 2 of 2", "m-00001-of-00002.gguf"],
    );
    assert!(run(&["info", &file]).stderr.is_empty());
    let (a, b) = (made.at("missing.gguf"), made.at("out.gguf"));
    refused(&["info", &a], 2, &["missing.gguf"]);
    // Models that such files do not hold.
    refused(
        &["export", &folder, &b, "--gguf", "fairy2i"],
        2,
        &["no packed layers"],
    );
    good(&[
        "quantize",
        &folder,
        &made.at("row"),
        "--stages",
        "2",
        "--granularity",
        "row",
    ]);
    refused(
        &["export", &made.at("row"), &b, "--gguf", "fairy2i"],
        2,
        &["packed otherwise", "tile"],
    );
    assert!(!made.names().contains(&"out".to_owned()));
    assert!(!made.names().contains(&"out.gguf".to_owned()));
}
