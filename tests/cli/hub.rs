//! `hf:OWNER/NAME` on the command line, with a hub on this machine.

use super::hub_server::{COMMIT, Server};
use super::{Run, command, finish, json, small};
use serde_json::Value;
use std::path::Path;

/// Runs the program with a hub and a cache of its own.
fn run(args: &[&str], endpoint: &str, cache: &Path) -> Run {
    let mut command = command(args);
    for name in [
        "HF_TOKEN",
        "HF_HOME",
        "HUGGINGFACE_HUB_CACHE",
        "HF_HUB_OFFLINE",
    ] {
        command.env_remove(name);
    }
    command
        .env("HF_ENDPOINT", endpoint)
        .env("HF_HUB_CACHE", cache);
    command.env("HF_TOKEN_PATH", "/no/such/token");
    finish(command)
}

#[test]
fn models_of_the_hub_are_fetched_once_and_used_everywhere() {
    let root = tempfile::tempdir().expect("a folder");
    let cache = root.path().join("cache");
    let server = Server::new(small::sharded());
    let of = |args: &[&str]| run(args, &server.endpoint, &cache);
    let good = |args: &[&str]| {
        let run = of(args);
        assert_eq!(run.code, 0, "{args:?}: {}", run.stderr);
        run
    };
    let first = good(&["info", "hf:owner/model", "--json"]);
    assert!(
        first.stderr.contains("fetching hf:owner/model"),
        "{}",
        first.stderr
    );
    let info: Value = serde_json::from_str(&first.stdout).expect("JSON alone");
    assert_eq!(info["hidden"], 12);
    server.asked();

    // From here on everything is there.
    let folder = cache.join(format!("models--owner--model/snapshots/{COMMIT}"));
    let folder = folder.to_str().expect("text");
    let packed = root.path().join("packed");
    let packed = packed.to_str().expect("text");
    let report = good(&[
        "quantize",
        "hf:owner/model",
        packed,
        "--granularity",
        "tile:64",
        "--json",
    ]);
    assert!(!report.stderr.contains("fetching"), "{}", report.stderr);
    let at = format!("hf:owner/model@{COMMIT}");
    let here = json(&["info", folder, "--stages", "2", "--json"]);
    let there = good(&["info", &at, "--stages", "2", "--json", "--offline"]);
    let there: Value = serde_json::from_str(&there.stdout).expect("JSON");
    assert_eq!(
        here["bits_per_linear_weight"],
        there["bits_per_linear_weight"]
    );
    assert_eq!(server.asked(), [""; 0]);

    for (args, code, words) in [
        (&["info", "hf:owner/none"][..], 2, "does not exist"),
        (
            &["info", "hf:owner/none", "--offline"],
            2,
            "hf download owner/none",
        ),
        (&["generate", "-m", "hf:owner", "Once"], 2, "hf:OWNER/NAME"),
        (
            &["eval", "ppl", "-m", "hf:owner/model@v9", "x.txt"],
            2,
            "revision `v9`",
        ),
    ] {
        let run = of(args);
        assert_eq!(run.code, code, "{args:?}: {}", run.stderr);
        assert!(run.stderr.contains(words), "{args:?}: {}", run.stderr);
        assert_eq!(run.stderr.trim_end().lines().count(), 1, "{}", run.stderr);
    }
}
