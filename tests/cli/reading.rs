//! What is in a model's folder reaches every command: values that are no numbers, element types that are mixed, heads
//! that are not tied.

use super::small::{self, Files, StoredTensor};
use super::{good, json, refused, run};
use serde_json::Value;
use std::path::Path;

/// The small model's tensors, changed.
fn tensors(change: impl Fn(&mut StoredTensor)) -> Vec<StoredTensor> {
    let config = small::config(&small::config_json());
    let mut all = small::tensors(&config, None);
    all.iter_mut().for_each(change);
    all
}

/// A folder with a tokenizer of these tensors.
fn folder(config: &Value, tensors: &[StoredTensor]) -> tempfile::TempDir {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tokenizer = root.join("tests/data/models/stories260k/tokenizer.json");
    small::on_disk(&Files::from([
        ("config.json".to_owned(), config.to_string().into_bytes()),
        ("model.safetensors".to_owned(), small::container(tensors)),
        (
            "tokenizer.json".to_owned(),
            std::fs::read(tokenizer).expect("a test file"),
        ),
    ]))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Brings a tensor into another type, its values rounded.
fn cast(tensor: &mut StoredTensor, dtype: &'static str) {
    let (quads, _) = tensor.bytes.as_chunks();
    let values: Vec<f32> = quads.iter().map(|&b| f32::from_le_bytes(b)).collect();
    let half = |v: &f32| match dtype {
        "F16" => half::f16::from_f32(*v).to_le_bytes(),
        _ => half::bf16::from_f32(*v).to_le_bytes(),
    };
    tensor.bytes = values.iter().flat_map(half).collect();
    tensor.dtype = dtype;
}

/// The same values as f32.
fn widened(tensor: &StoredTensor) -> StoredTensor {
    let (pairs, _) = tensor.bytes.as_chunks();
    let value = |&b: &[u8; 2]| match tensor.dtype {
        "F16" => half::f16::from_le_bytes(b).to_f32(),
        _ => half::bf16::from_le_bytes(b).to_f32(),
    };
    let mut wide = tensor.clone();
    if tensor.dtype != "F32" {
        wide.bytes = pairs.iter().flat_map(|b| value(b).to_le_bytes()).collect();
        wide.dtype = "F32";
    }
    wide
}

/// Training data of a few short lines.
fn data(model: &str, out: &Path) -> String {
    let (corpus, data) = (out.join("corpus.txt"), text(&out.join("data")));
    std::fs::write(&corpus, "Once upon a time there was a girl.\n".repeat(200)).expect("written");
    good(&[
        "data",
        "--tokenizer",
        model,
        "--block",
        "16",
        "--packing",
        "stream",
        "--out",
        &data,
        &text(&corpus),
    ]);
    data
}

const GENERATE: [&str; 7] = ["generate", "--temp", "0", "-n", "4", "-p", "Once"];

#[test]
fn weights_that_are_no_numbers_are_named_in_every_verb() {
    for (i, (name, dtype, value)) in [
        ("model.embed_tokens.weight", "F16", f32::NAN),
        (
            "model.layers.1.post_attention_layernorm.weight",
            "BF16",
            f32::INFINITY,
        ),
        (
            "model.layers.0.self_attn.v_proj.weight",
            "F32",
            f32::NEG_INFINITY,
        ),
        ("lm_head.weight", "BF16", f32::NAN),
    ]
    .into_iter()
    .enumerate()
    {
        let tensors = tensors(|t| {
            if t.name == name {
                t.bytes[4 * 5..4 * 6].copy_from_slice(&value.to_le_bytes());
                if dtype != "F32" {
                    cast(t, dtype);
                }
            }
        });
        let model = folder(&small::config_json(), &tensors);
        let out = tempfile::tempdir().expect("a temporary folder");
        let path = text(model.path());
        let (made, data) = (text(&out.path().join("made")), data(&path, out.path()));
        let names = [name, "element 5", &value.to_string(), "--allow-nonfinite"];
        let train = [
            "train",
            "-m",
            &path,
            "--data",
            &data,
            "--out",
            &made,
            "--steps",
            "1",
            "--micro-batch",
            "1",
            "--lr",
            "0",
        ];
        let commands = [
            [&GENERATE[..], &["-m", &path]].concat(),
            [&GENERATE[..], &["-m", &path, "--stages", "2"]].concat(),
            vec!["bench", "-m", &path, "-p", "4", "-n", "2", "-r", "1"],
            vec!["quantize", &path, &made],
            vec!["export", &path, &made],
            vec!["export", &path, &made, "--stages", "1"],
            train.to_vec(),
        ];
        for command in &commands {
            let run = run(command);
            assert_eq!(
                (run.code, run.stdout.as_str()),
                (2, ""),
                "{command:?}: {}",
                run.stderr
            );
            let last = run.stderr.trim_end().lines().last().unwrap_or_default();
            for name in names {
                assert!(
                    last.contains(name),
                    "{command:?}: {name:?} is not in: {last}"
                );
            }
            assert!(!out.path().join("made/config.json").exists(), "{command:?}");
            let _ = std::fs::remove_dir_all(&made);
        }
        // Counting reads no values.
        good(&["info", &path]);
        // One tensor shows that all commands can go on; the others are of the same kind.
        if i == 0 {
            for command in &commands {
                good(&[&command[..], &["--allow-nonfinite"]].concat());
                let _ = std::fs::remove_dir_all(&made);
            }
        }
    }
}

#[test]
fn dense_tensors_of_packed_folders_are_checked_too() {
    let tensors = tensors(|t| {
        if t.name == "model.norm.weight" {
            t.bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes());
        }
    });
    let model = folder(&small::config_json(), &tensors);
    let out = tempfile::tempdir().expect("a temporary folder");
    let packed = text(&out.path().join("packed"));
    good(&[
        "quantize",
        &text(model.path()),
        &packed,
        "--allow-nonfinite",
    ]);
    let generate = [&GENERATE[..], &["-m", &packed]].concat();
    refused(&generate, 2, &["model.norm.weight", "element 0", "NaN"]);
    good(&[&generate[..], &["--allow-nonfinite"]].concat());
}

#[test]
fn stacks_of_mixed_types_run_as_their_values_do() {
    let mixes: [fn(&str) -> &'static str; 3] = [
        |name| match name {
            n if n.contains("q_proj") || n.contains("v_proj") => "F32",
            _ => "BF16",
        },
        |name| match name {
            n if n.contains("k_proj") || n.contains("up_proj") => "BF16",
            _ => "F16",
        },
        |name| match name {
            n if n.contains("gate_proj") || n.contains("embed") => "F16",
            _ => "F32",
        },
    ];
    for mix in mixes {
        let mixed = tensors(|t| {
            let dtype = mix(&t.name);
            if dtype != "F32" {
                cast(t, dtype);
            }
        });
        let wide: Vec<StoredTensor> = mixed.iter().map(widened).collect();
        let (mixed, wide) = (
            folder(&small::config_json(), &mixed),
            folder(&small::config_json(), &wide),
        );
        let (mixed, wide) = (text(mixed.path()), text(wide.path()));
        let out = tempfile::tempdir().expect("a temporary folder");
        for recipe in [&[][..], &["--stages", "1"]] {
            let ids = |model: &str| {
                let all = [
                    "generate", "--json", "--temp", "0", "-n", "12", "-p", "a", "-m", model,
                ];
                json(&[&all[..], recipe].concat())["ids"].clone()
            };
            assert_eq!(ids(&mixed), ids(&wide));
        }
        good(&["bench", "-m", &mixed, "-p", "4", "-n", "2", "-r", "1"]);
        good(&["info", &mixed]);
        let written = |from: &str, name: &str, verb: &[&str]| {
            let to = text(&out.path().join(name));
            good(&[verb, &[from, &to]].concat());
            std::fs::read(out.path().join(name).join("model.safetensors")).expect("written")
        };
        let export = ["export", "--dtype", "f32"];
        assert_eq!(
            written(&mixed, "mixed", &export),
            written(&wide, "wide", &export)
        );
        written(&mixed, "packed", &["quantize"]);
    }
}

/// A tied head that has values of its own is a head in all commands.
#[test]
fn heads_that_differ_from_tied_embeddings_are_kept() {
    let tensors = tensors(|t| {
        if t.name == "lm_head.weight" {
            let (rows, _) = t.bytes.as_chunks::<48>();
            t.bytes = rows.iter().rev().flatten().copied().collect();
        }
    });
    let mut config = small::config_json();
    let untied = folder(&config, &tensors);
    config["tie_word_embeddings"] = true.into();
    let tied = folder(&config, &tensors);
    let models = [text(untied.path()), text(tied.path())];
    let out = tempfile::tempdir().expect("a temporary folder");
    let data = data(&models[0], out.path());
    let mut results = Vec::new();
    for (i, model) in models.iter().enumerate() {
        let place = |name: &str| text(&out.path().join(format!("{name}{i}")));
        let (packed, plain, trained) = (place("packed"), place("plain"), place("run"));
        let ids = |model: &str| {
            json(&[
                "generate", "--json", "--temp", "0", "-n", "12", "-p", "a", "-m", model,
            ])["ids"]
                .clone()
        };
        good(&["quantize", model, &packed, "--skip-lm-head"]);
        good(&["export", model, &plain, "--dtype", "f32"]);
        good(&[
            "train",
            "-m",
            model,
            "--data",
            &data,
            "--out",
            &trained,
            "--steps",
            "2",
            "--micro-batch",
            "1",
            "--method",
            "full",
        ]);
        let files = ["packed", "plain", "run"].map(|name| {
            let folder = out.path().join(format!("{name}{i}"));
            let folder = if name == "run" {
                folder.join("model")
            } else {
                folder
            };
            std::fs::read(folder.join("model.safetensors")).expect("written")
        });
        results.push((
            ids(model),
            ids(&packed),
            ids(&plain),
            json(&["info", "--json", model])["parameters"].clone(),
            files,
        ));
    }
    assert!(
        results[0] == results[1],
        "what the configuration says of a tie changed something"
    );
    let header = String::from_utf8_lossy(&results[1].4[1]);
    assert!(header.contains("lm_head.weight"));
}
