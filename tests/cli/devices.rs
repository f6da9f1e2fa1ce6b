//! Devices, and what needs no model.

use super::{command, finish, good, json, refused, run};

#[test]
fn unknown_devices_are_device_errors_in_every_command() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().join("out");
    let out = out.to_string_lossy();
    for device in ["99", "no-such-gpu", "-1", "18446744073709551616"] {
        let device = format!("--device={device}");
        for args in [
            &["generate", "-n", "1", "Hello"][..],
            &["bench", "-n", "1", "-r", "1"],
            &["bench", "ops", "--op", "fill"],
            &["bench", "train", "--shape", "tinyllama-1.1b"],
            &["info", "--check"],
            &["quantize", "builtin", &out],
        ] {
            refused(&[args, &[&device]].concat(), 3, &["cpu"]);
        }
    }
}

#[test]
fn without_a_driver_gpu_fails_and_auto_takes_the_cpu() {
    if !cfg!(target_os = "linux") {
        return; // drivers cannot be hidden elsewhere
    }
    let hidden = |args: &[&str]| {
        let mut command = command(args);
        command
            .env("VK_DRIVER_FILES", "/none")
            .env("VK_ICD_FILENAMES", "/none");
        finish(command)
    };
    let gpu = hidden(&["generate", "--device", "gpu", "-n", "1", "Hello"]);
    assert_eq!(gpu.code, 3, "{}", gpu.stderr);
    assert!(
        gpu.stderr.contains("Vulkan") && gpu.stderr.contains("--device cpu"),
        "{}",
        gpu.stderr
    );
    let auto = hidden(&["generate", "--device", "auto", "--json", "-n", "1", "Hello"]);
    assert_eq!(auto.code, 0, "{}", auto.stderr);
    assert!(auto.stdout.contains("CPU"), "{}", auto.stdout);
    let info = hidden(&["info", "--json"]);
    assert!(info.stdout.contains("\"auto\": \"cpu\""), "{}", info.stdout);
}

#[test]
fn info_lists_devices() {
    let info = json(&["info", "--json"]);
    assert!(info["cpu"]["threads"].as_u64().is_some_and(|n| n > 0));
    assert!(info["gpus"].is_array() && info["auto"].is_string());
    assert!(good(&["info"]).contains("--device auto takes"));
}

#[test]
fn every_op_passes_its_cases_on_the_cpu_backend() {
    let run = run(&["info", "--check"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.contains("every result agrees"), "{}", run.stdout);
}

#[test]
fn completions_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = good(&["completions", shell]);
        assert!(
            script.contains("fairy2i-gpu") && script.contains("quantize"),
            "{shell}"
        );
    }
    assert_eq!(run(&["completions", "cobol"]).code, 2);
}

#[test]
fn help_teaches_and_is_no_error() {
    for verb in [
        "",
        "info",
        "generate",
        "quantize",
        "export",
        "bench",
        "completions",
    ] {
        let args: Vec<&str> = [verb, "--help"]
            .into_iter()
            .filter(|a| !a.is_empty())
            .collect();
        let text = good(&args);
        assert!(text.contains("Examples:"), "{verb}");
    }
    assert!(good(&["--version"]).contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn one_line_errors_have_no_hidden_second_line() {
    refused(&["info", "/no/such/model"], 2, &["/no/such/model"]);
}
