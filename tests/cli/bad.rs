//! Bad input: one line that names it, exit code 2.

use super::small::{self, Files};
use super::{refused, run, run_with};
use serde_json::json;

/// Writes `files` and runs `args` with the folder in place of `FOLDER`.
#[track_caller]
fn refused_folder(files: &Files, args: &[&str], names: &[&str]) {
    let folder = small::on_disk(files);
    let path = folder.path().to_string_lossy().into_owned();
    let args: Vec<&str> = args
        .iter()
        .map(|&a| if a == "FOLDER" { path.as_str() } else { a })
        .collect();
    refused(&args, 2, names);
}

#[test]
fn contexts_overflow_with_the_counts() {
    let prompt = "Once upon a time";
    let args = ["generate", "-n", "9999", prompt];
    refused(&args, 2, &["5 tokens", "9999", "1024"]);
    refused(
        &["generate", "-n", "10", "-c", "12", prompt],
        2,
        &["5 tokens", "10", "12"],
    );
    refused(&["generate", "-c", "4", prompt], 2, &["5 tokens", "4"]);
    let long = "word ".repeat(3000);
    refused(&["generate", &long], 2, &["1024"]);
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    for (args, names) in [
        (&["--temp", "NaN"][..], &["temperature", "NaN"][..]),
        (&["--temp", "-1"], &["temperature", "-1"]),
        (&["--top-p", "1.5"], &["top-p", "1.5"]),
        (&["--min-p", "-0.1"], &["min-p"]),
        (&["--repeat-penalty", "0"], &["penalty"]),
        (&["--presence-penalty", "NaN"], &["presence penalty"]),
        (&["--frequency-penalty", "inf"], &["frequency penalty"]),
        (&["--logit-bias", "5"], &["--logit-bias", "token id"]),
        (&["--logit-bias", "5+-1"], &["--logit-bias"]),
        (&["--logit-bias", "5+inf"], &["bias of token 5"]),
        (&["--logit-bias", "99999999+1"], &["99999999", "vocabulary"]),
        (&["--stop", ""], &["--stop"]),
        (&["--stages", "3"], &["first 3 stages", "stages 2"]),
        (&["--method", "bitnet", "--stages", "2"], &["--stages"]),
        (&["-m", "/no/such/folder"], &["/no/such/folder"]),
        (&["-m", "Cargo.toml"], &["Cargo.toml"]),
        (&["-f", "/no/such/file"], &["/no/such/file"]),
    ] {
        let prompt: &[&str] = if args.contains(&"-f") {
            &[]
        } else {
            &["Hello"]
        };
        refused(
            &[&["generate", "-n", "2"][..], args, prompt].concat(),
            2,
            names,
        );
    }
    refused(&["bench", "-p", "0", "-n", "0"], 2, &["nothing to measure"]);
    refused(&["bench", "--shape", "llama9"], 2, &["llama9", "llama2-7b"]);
    refused(&["bench", "-p", "4096"], 2, &["4096", "1024"]);
    refused(&["bench", "ops", "--op", "no_such_op"], 2, &["no_such_op"]);
}

#[test]
fn wrong_usage_is_exit_code_2() {
    for args in [
        &["generate", "--stages", "5"][..],
        &["generate", "--granularity", "group:20"],
        &["generate", "--no-such-option"],
        &["quantize", "only-one-folder"],
        &["no-such-verb"],
        &[],
    ] {
        let run = run(args);
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{args:?}");
    }
}

#[test]
fn prompts_that_are_no_text_are_refused() {
    let run = run_with(&["generate"], b"Once \xff upon");
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("byte 5"), "{}", run.stderr);
}

#[test]
fn unknown_architectures_name_the_field() {
    let mut files = small::whole();
    let mut config = small::config_json();
    config["architectures"] = json!(["GPT2LMHeadModel"]);
    config["model_type"] = json!("gpt2");
    files.insert("config.json".to_owned(), config.to_string().into_bytes());
    refused_folder(
        &files,
        &["generate", "-m", "FOLDER", "Hello"],
        &["config.json", "GPT2LMHeadModel"],
    );
    refused_folder(&files, &["info", "FOLDER"], &["GPT2LMHeadModel"]);
}

#[test]
fn missing_tensors_are_listed_together() {
    let mut files = small::whole();
    let config = small::config(&small::config_json());
    let mut tensors = small::tensors(&config, None);
    tensors.retain(|t| !t.name.contains("k_proj"));
    files.insert("model.safetensors".to_owned(), small::container(&tensors));
    refused_folder(
        &files,
        &["info", "FOLDER"],
        &[
            "layers.0.self_attn.k_proj",
            "layers.1.self_attn.k_proj",
            "2 tensor(s)",
        ],
    );
}

/// A model with a NaN in one weight.
fn poisoned() -> Files {
    let mut files = small::whole();
    let config = small::config(&small::config_json());
    let mut tensors = small::tensors(&config, None);
    let weight = tensors
        .iter_mut()
        .find(|t| t.name.contains("layers.1.mlp.up_proj"))
        .expect("there is one");
    weight.bytes[4 * 5..4 * 6].copy_from_slice(&f32::NAN.to_le_bytes());
    files.insert("model.safetensors".to_owned(), small::container(&tensors));
    files
}

#[test]
fn nan_weights_are_named_or_allowed() {
    let out = tempfile::tempdir().expect("a temporary folder");
    let packed = out.path().join("packed");
    let packed = packed.to_string_lossy();
    let names = [
        "model.layers.1.mlp.up_proj",
        "element 5",
        "NaN",
        "--allow-nonfinite",
    ];
    refused_folder(&poisoned(), &["quantize", "FOLDER", &packed], &names);
    assert!(
        std::fs::read_dir(out.path())
            .expect("readable")
            .next()
            .is_none(),
        "nothing half-written stays"
    );
    let folder = small::on_disk(&poisoned());
    let path = folder.path().to_string_lossy();
    let run = run(&["quantize", "--allow-nonfinite", &path, &packed]);
    assert_eq!(run.code, 0, "{}", run.stderr);
}

#[test]
fn a_folder_without_tokenizer_cannot_generate() {
    refused_folder(
        &small::whole(),
        &["generate", "-m", "FOLDER", "Hello"],
        &["tokenizer.json"],
    );
}

#[test]
fn a_truncated_file_is_named() {
    let mut files = small::whole();
    let file = files.get_mut("model.safetensors").expect("there is one");
    file.truncate(file.len() - 1);
    refused_folder(&files, &["info", "FOLDER"], &["model.safetensors"]);
}
