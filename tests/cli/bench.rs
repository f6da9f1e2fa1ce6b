//! Shapes of the bench's results; no speeds, which belong to machines.

use super::{good, json, refused, run};

const SHORT: [&str; 7] = ["bench", "-p", "8", "-n", "4", "-r", "3"];

#[test]
fn models_in_json() {
    let rows = json(&[&SHORT[..], &["-o", "json"]].concat());
    let rows = rows.as_array().expect("a list");
    let tests: Vec<_> = rows.iter().map(|r| r["test"].as_str()).collect();
    assert_eq!(tests, [Some("pp8"), Some("tg4")]);
    for row in rows {
        assert!(
            row["tokens_per_second"].as_f64().is_some_and(|v| v > 0.0),
            "{row}"
        );
        assert!(row["spread"].as_f64().is_some_and(|v| v >= 0.0), "{row}");
        assert!(
            row["device"].as_str().is_some_and(|d| d.contains("CPU")),
            "{row}"
        );
        assert_eq!(row["samples"].as_array().map(Vec::len), Some(3));
        assert_eq!(row["model"], "builtin");
    }
}

#[test]
fn other_formats_hold_the_same_rows() {
    let lines = good(&[&SHORT[..], &["-o", "jsonl"]].concat());
    assert_eq!(lines.lines().count(), 2);
    let csv = good(&[&SHORT[..], &["-o", "csv"]].concat());
    assert!(
        csv.starts_with("model,method,activations,device,test,tokens_per_second,spread,"),
        "{csv}"
    );
    assert_eq!(csv.lines().count(), 3);
    let table = good(&SHORT);
    assert_eq!(table.lines().count(), 4, "{table}");
}

#[test]
fn synthetic_weights_need_no_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("config.json");
    let config = super::small::config_json().to_string();
    std::fs::write(&path, config).expect("written");
    let path = path.to_string_lossy();
    let args = ["--shape", &path, "-o", "json"];
    let rows = json(&[&SHORT[..], &args].concat());
    assert_eq!(rows[0]["synthetic"], true);
    let both = format!("{path},{path}");
    let rows = json(&[&SHORT[..], &["--shape", &both, "-o", "json"]].concat());
    let models = rows.as_array().expect("a list");
    let names: Vec<_> = models.iter().map(|r| r["model"].as_str()).collect();
    assert_eq!(names, [Some(&*path); 4]);
    let full = ["--method", "full", "--activations", "float"];
    let rows = json(&[&SHORT[..], &args, &full].concat());
    assert_eq!(rows[0]["method"], "full precision");
}

/// The stored shares are made so small or so large that no noise of a busy machine decides.
#[test]
fn a_guard_fails_where_a_stored_share_is_missed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("before.json");
    let path = path.to_string_lossy();
    let args = [&SHORT[..], &["-o", "json"]].concat();
    let before = json(&args);
    let guarded = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut rows = before.clone();
        rows.as_array_mut()
            .expect("a list")
            .iter_mut()
            .for_each(change);
        std::fs::write(&*path, rows.to_string()).expect("written");
        run(&[&args[..], &["--guard", &path]].concat())
    };
    let times = |factor: f64| {
        move |row: &mut serde_json::Value| {
            for field in ["percent_of_copy", "percent_of_matmul"] {
                if let Some(share) = row[field].as_f64() {
                    row[field] = (share * factor).into();
                }
            }
        }
    };
    let passed = guarded(&times(1e-3));
    assert_eq!(passed.code, 0, "{}", passed.stderr);
    assert!(
        passed.stderr.contains("guard: builtin pp8"),
        "{}",
        passed.stderr
    );
    let failed = guarded(&times(1e3));
    assert_eq!(failed.code, 1, "{}", failed.stderr);
    assert!(failed.stderr.contains("slower than the stored result"));
    assert!(failed.stdout.contains("tokens_per_second"));
    let other = guarded(&|row| row["model"] = "other".into());
    assert_eq!(other.code, 2, "{}", other.stderr);
    std::fs::write(&*path, "{}").expect("written");
    refused(
        &[&args[..], &["--guard", &path]].concat(),
        2,
        &["before.json", "-o json"],
    );
}

#[test]
fn ops_against_the_copy() {
    let rows = json(&["bench", "ops", "--op", "quantize_act", "-o", "json"]);
    assert_eq!(rows[0]["op"], "copy");
    assert_eq!(rows[1]["op"], "quantize_act");
    for field in ["microseconds", "gigabytes_per_second", "percent_of_copy"] {
        assert!(rows[1][field].as_f64().is_some_and(|v| v > 0.0), "{field}");
    }
}

#[test]
fn ops_without_a_kernel_are_left_out() {
    // hosts run every op; a GPU that lacks cooperative matrices must say so and go on
    let run = run(&["bench", "ops", "--op", "phase_gemm_bits", "--device", "gpu"]);
    assert!(run.code == 0 || run.code == 3, "{}", run.stderr);
    if run.code == 3 {
        assert!(run.stderr.contains("no GPU was found"), "{}", run.stderr);
    } else if !run.stdout.contains("phase_gemm_bits") {
        assert!(run.stderr.contains("left out"), "{}", run.stderr);
    }
}

#[test]
fn pairs_and_depths() {
    let args = ["-pg", "4,2", "-d", "0,8", "-r", "2", "-o", "json"];
    let rows = json(&[&["bench", "-p", "0", "-n", "2"], &args[..]].concat());
    let rows = rows.as_array().expect("a list");
    let tests: Vec<_> = rows.iter().map(|r| r["test"].as_str()).collect();
    let wanted = ["tg2", "pp4+tg2", "tg2 @ d8", "pp4+tg2 @ d8"].map(Some);
    assert_eq!(tests, wanted);
    assert_eq!(rows[2]["depth"], 8);
    assert_eq!(rows[2]["streams"], 1);
    let bytes = |i: usize| rows[i]["bytes_per_token"].as_f64().unwrap_or(0.0);
    assert!(bytes(2) > bytes(0), "the cache is read too");
    assert!(rows[0]["percent_of_copy"].as_f64().is_some_and(|v| v > 0.0));
    assert!(rows[0]["teraflops"].is_null());
    let one = good(&["bench", "-n", "0", "-p", "4", "-r", "1", "-o", "json"]);
    assert!(one.contains("\"percent_of_matmul\": "), "{one}");
}

#[test]
fn settings_in_turn() {
    let settings = ["--compare", "activations=16", "batch=4 activations=8"];
    let rows = json(&[&SHORT[..], &settings, &["-o", "json"]].concat());
    let rows = rows.as_array().expect("a list");
    assert_eq!(rows.len(), 2);
    for row in rows {
        assert!(row["ratio"].as_f64().is_some_and(|v| v > 0.0), "{row}");
        assert_eq!(row["rounds"].as_array().map(Vec::len), Some(3));
        assert_eq!(row["b"], "batch=4 activations=8");
    }
}

#[test]
fn the_profile_names_every_op_and_adds_up() {
    let rows = json(&[&SHORT[..], &["--profile", "-o", "json"]].concat());
    let rows = rows.as_array().expect("a list");
    for test in ["pp8", "tg4"] {
        let of_test: Vec<_> = rows.iter().filter(|r| r["test"] == test).collect();
        let share = |r: &serde_json::Value| r["share"].as_f64().unwrap_or(0.0);
        let (ops, sums) = of_test.split_at(of_test.len() - 2);
        let sum: f64 = ops.iter().map(|r| share(r)).sum();
        assert!((sum - 100.0).abs() < 1e-6, "{sum}");
        assert_eq!(sums[0]["op"], "all ops");
        assert_eq!(sums[1]["op"], "wall clock");
        let head = |r: &&&serde_json::Value| {
            r["op"]
                .as_str()
                .is_some_and(|op| op.starts_with("phase_gemv"))
                && r["place"] == "lm_head"
        };
        assert_eq!(ops.iter().filter(head).count(), 1);
    }
}

/// Sequences decode together on every device.
#[test]
fn several_sequences_are_measured_on_the_cpu_too() {
    let args = [
        "bench", "-p", "0", "-n", "2", "-np", "2", "-r", "1", "-o", "json",
    ];
    let rows = json(&args);
    let row = &rows.as_array().expect("a list")[0];
    assert_eq!(row["test"], "tg2 x2");
    assert!(
        row["tokens_per_second"].as_f64().is_some_and(|v| v > 0.0),
        "{row}"
    );
}

#[test]
fn what_cannot_be_measured_is_said() {
    for (args, why) in [
        (&["-np", "0"][..], "0 streams"),
        (&["-p", "0", "-n", "0"], "nothing to measure"),
        (&["--compare", "x=1", "stages=1"], "x=1"),
        (&["-d", "1000000"], "the context holds"),
        (
            &["--profile", "--shape", "llama2-7b,qwen3-8b"],
            "give one --shape",
        ),
    ] {
        refused(&[&["bench"], args].concat(), 2, &[why]);
    }
}
