//! More memory than there is: one line with the bytes needed and left, and exit code 3, from every command that allocates.

use super::{good, refused, run};
use serde_json::{Value, json};

/// A model with a context of 2^30 positions.
fn endless() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let from = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/models/stories260k");
    for name in ["model.safetensors", "tokenizer.json"] {
        let copied = std::fs::copy(format!("{from}/{name}"), folder.path().join(name));
        copied.expect("copies");
    }
    let config = std::fs::read(format!("{from}/config.json")).expect("reads");
    let mut config: Value = serde_json::from_slice(&config).expect("JSON");
    config["max_position_embeddings"] = json!(1u64 << 30);
    let written = std::fs::write(folder.path().join("config.json"), config.to_string());
    written.expect("writes");
    folder
}

#[test]
fn contexts_and_batches_that_do_not_fit_are_refused() {
    let folder = endless();
    let model = folder.path().to_string_lossy().into_owned();
    let device = if run(&["info", "--json"]).stdout.contains("\"gpus\": []") {
        "cpu"
    } else {
        "gpu"
    };
    for device in ["cpu", device] {
        let device = format!("--device={device}");
        for args in [
            &["generate", "-m", &model, "-n", "-1", "Once"][..],
            &[
                "generate",
                "-m",
                &model,
                "-n",
                "1000000000",
                "--check",
                "Once",
            ],
            &[
                "bench",
                "-m",
                &model,
                "-p",
                "1000000000",
                "-n",
                "1",
                "-r",
                "1",
            ],
            &[
                "bench",
                "-m",
                &model,
                "-p",
                "0",
                "-n",
                "1000000000",
                "-r",
                "1",
            ],
            &["bench", "-m", &model, "-d", "1000000000", "-r", "1"],
            &[
                "bench",
                "--shape",
                "tinyllama-1.1b",
                "-p",
                "1000000000000000000",
            ],
            &[
                "bench",
                "train",
                "--shape",
                "tinyllama-1.1b",
                "--micro-batch",
                "1000000000",
            ],
        ] {
            let args = [args, &[&device]].concat();
            if args[1] == "train" {
                // the parts are announced before
                let run = run(&args);
                assert_eq!(run.code, 3, "{}", run.stderr);
                let last = run.stderr.trim_end().lines().next_back();
                assert!(last.is_some_and(|l| l.starts_with("error: ") && l.contains("bytes")));
            } else {
                refused(&args, 3, &["bytes", "KV cache", "left"]);
            }
        }
    }
}

#[test]
fn micro_batches_that_do_not_fit_are_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    std::fs::write(
        at("t.txt"),
        "Once upon a time there was a cat. ".repeat(200),
    )
    .expect("writes");
    let (data, text) = (at("d"), at("t.txt"));
    let prepare = ["--tokenizer", "builtin", "--block", "16", "--out", &data];
    good(&[&["data"], &prepare[..], &[&text]].concat());
    for micro_batch in ["1000000000", "1000000000000000000", "9223372036854775807"] {
        let run = run(&[
            "train",
            "-m",
            "builtin",
            "--from-scratch",
            "--data",
            &at("d"),
            "--out",
            &at("r"),
            "--steps",
            "1",
            "--micro-batch",
            micro_batch,
        ]);
        assert_eq!(run.code, 3, "{micro_batch}: {}", run.stderr);
        let errors: Vec<_> = run
            .stderr
            .lines()
            .filter(|l| l.starts_with("error: "))
            .collect();
        assert_eq!(errors.len(), 1, "{}", run.stderr);
        assert!(
            errors[0].contains("bytes") && errors[0].contains("--micro-batch"),
            "{}",
            errors[0]
        );
    }
}
