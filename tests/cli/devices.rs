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
            &["export", "builtin", &out],
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

#[test]
fn info_says_for_which_ops_a_device_has_no_kernel_and_why() {
    let info = json(&["info", "--json"]);
    for gpu in info["gpus"].as_array().expect("a list") {
        let kernels = gpu["kernels"].as_object().expect("an object");
        assert!(!kernels.is_empty() && kernels.values().all(|k| k != "none"));
        let features = gpu["features"].as_array().expect("a list");
        for (op, needs) in gpu["without_kernel"].as_object().expect("an object") {
            let needs = needs.as_array().expect("a list");
            assert!(!kernels.contains_key(op), "{op}");
            assert!(!needs.is_empty(), "{op}");
            assert!(
                needs.iter().all(|n| !features.contains(n)),
                "{op}: {needs:?}"
            );
        }
    }
    assert!(!good(&["info"]).contains("none,"));
}

#[test]
fn info_counts_the_cache_as_the_device_keeps_it() {
    let info = json(&["info", "--json", "builtin", "--device", "cpu"]);
    let values = 2.0
        * ["layers", "kv_heads", "head_dim"]
            .map(|n| info[n].as_f64().expect("a number"))
            .iter()
            .product::<f64>();
    let bytes = |info: &serde_json::Value| info["cache_bytes_per_token"].as_f64();
    assert_eq!(
        (info["cache"].as_str(), bytes(&info)),
        (Some("f32"), Some(4.0 * values))
    );
    let text = good(&["info", "builtin", "--device", "cpu"]);
    assert!(text.contains("of cache per token (f32 on CPU"), "{text}");
    if json(&["info", "--json"])["gpus"][0].is_null() {
        eprintln!("\n*** NO GPU ADAPTER: the GPU half of this test was SKIPPED ***\n");
        return;
    }
    let info = json(&["info", "--json", "builtin", "--device", "gpu"]);
    assert_eq!(
        (info["cache"].as_str(), bytes(&info)),
        (Some("f16"), Some(2.0 * values))
    );
}

#[test]
fn info_prints_kernels_in_every_language() {
    let list = json(&["info", "--shader", "--json"]);
    let names = list
        .as_array()
        .expect("a list")
        .iter()
        .map(|k| k["name"].as_str().expect("a name"));
    assert!(names.clone().count() > 50 && names.clone().any(|n| n == "rms_norm"));
    assert!(good(&["info", "--shader"]).contains("phase_gemv"));
    for (language, word) in [
        ("wgsl", "@compute"),
        ("hlsl", "[numthreads("),
        ("msl", "kernel void"),
        ("spirv", "07230203"),
    ] {
        let text = good(&["info", "--shader", "rms_norm", "--to", language]);
        assert!(text.contains(word), "{language}: {text}");
    }
    let variants = |name: &str| json(&["info", "--shader", name, "--to", "hlsl", "--json"]);
    let (first, gemv) = (variants("phase_gemv"), variants("matmul_gemv"));
    assert!(
        first["variants"].as_u64() > Some(1)
            && gemv["text"]
                .as_str()
                .expect("a text")
                .contains("matmul_gemv")
    );
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("a.spv");
    let path = file.to_str().expect("a path");
    let command = [
        "info", "--shader", "rms_norm", "--to", "spirv", "--out", path,
    ];
    good(&command);
    let bytes = std::fs::read(&file).expect("written");
    assert_eq!(bytes[..4], 0x0723_0203_u32.to_le_bytes());
    refused(&command, 2, &["there already"]);
    assert_eq!(std::fs::read(&file).expect("still there"), bytes);
}

#[test]
fn kernels_that_are_not_there_are_usage_errors() {
    refused(
        &["info", "--shader", "no_such"],
        2,
        &["no_such", "--shader"],
    );
    refused(&["info", "--shader", "phase_gem"], 2, &["phase_gemm"]);
    refused(
        &["info", "--shader", "rms_norm", "--variant", "99"],
        2,
        &["variant 99"],
    );
    refused(
        &["info", "--shader", "phase_gemm_coop", "--to", "msl"],
        2,
        &["MSL"],
    );
    assert_eq!(run(&["info", "--to", "msl"]).code, 2);
}
