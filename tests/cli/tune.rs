//! `quantize --calibrate --tune`, nested stages, training block by block, and turned inputs.

use super::calibrate::{MODEL, TEXT, args, contents, kill, kill_when, path, perplexity};
use super::*;
use std::fs;
use std::path::Path;

#[test]
fn a_tuned_model_is_better_and_the_same_each_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let [one, two] = ["one", "two"].map(|name| path(folder.path(), name));
    let more = ["--calibrate", TEXT, "--tune", "12", "--tune-batch", "4"];
    let tuned = |out: &str, last: &[&str]| -> Vec<String> {
        let mut args = args(out, &more);
        args.drain(5..7); // its steps say how many tokens there are
        args.extend(last);
        args.into_iter().map(str::to_owned).collect()
    };
    let run = |args: Vec<String>| good(&borrowed(&args));
    let report: serde_json::Value =
        serde_json::from_str(&run(tuned(&one, &["--json"]))).expect("JSON");
    assert_eq!(report["tuning"]["steps"], 12);
    assert_eq!(report["tokens"], 12 * 4 * 128);
    let loss = |i: usize| report["tuning"]["losses"][i].as_f64().expect("a loss");
    assert!(loss(1) < loss(0), "{report}");
    // killed behind the first of its snapshots, of which there are four
    let folder = format!("{two}.fairy2i-layers/training");
    let snapshot = || fs::read_dir(&folder).is_ok_and(|mut all| all.any(is_step));
    kill_when(&borrowed(&tuned(&two, &[])), snapshot);
    assert!(!Path::new(&two).exists());
    let again = super::run(&borrowed(&tuned(&two, &[])));
    assert!(
        again.stderr.contains("going on after step"),
        "{}",
        again.stderr
    );
    assert_eq!(contents(&one), contents(&two));
    assert!(!Path::new(&folder).exists());
    let nearest = perplexity(MODEL, &["--stages", "2", "--granularity", "row"]);
    let made = perplexity(&one, &[]);
    assert!(made < 0.5 * nearest, "{made} instead of {nearest}");
    // what is packed is what was measured, scales and norms included
    let info = good(&["info", &one]);
    assert!(info.contains("learned scales"), "{info}");
}

fn borrowed(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

/// Whether it is a whole snapshot.
fn is_step(entry: std::io::Result<fs::DirEntry>) -> bool {
    let name = entry.expect("an entry").file_name();
    let name = name.to_string_lossy();
    name.starts_with("step-") && !name.ends_with(".tmp")
}

#[test]
fn moments_of_fewer_bits_tune_as_well() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut losses = Vec::new();
    for (name, moments, masters) in [("a", "32", "f32"), ("b", "16", "f32"), ("c", "8", "bf16")] {
        let out = path(folder.path(), name);
        let more = ["--calibrate", TEXT, "--tune", "8", "--tune-batch", "4"];
        let mut args = args(&out, &more);
        args.drain(5..7);
        args.extend([
            "--tune-moments",
            moments,
            "--tune-masters",
            masters,
            "--json",
        ]);
        let report = json(&args);
        assert_eq!(report["tuning"]["moments"], moments, "{report}");
        assert_eq!(report["tuning"]["masters"], masters, "{report}");
        losses.push(report["tuning"]["losses"][1].as_f64().expect("a loss"));
    }
    for loss in &losses[1..] {
        assert!((loss / losses[0] - 1.0).abs() < 0.03, "{losses:?}");
    }
    assert!(
        losses[0] != losses[1] && losses[1] != losses[2],
        "{losses:?}"
    );
}

/// A nested model is two models in one folder: all stages, and the first one by itself.
#[test]
fn a_nested_model_is_good_with_one_stage_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let nested = path(folder.path(), "nested");
    let tune = ["--calibrate", TEXT, "--tune", "12", "--tune-batch", "4"];
    let mut args = args(&nested, &tune);
    args.drain(5..7); // its steps say how many tokens there are
    args.extend(["--nested", "--json"]);
    let report = json(&args);
    assert_eq!(report["tuning"]["nested"], 0.5);
    let number = |v: &serde_json::Value| v.as_f64().expect("a number");
    let (both, first) = (
        number(&report["perplexity"][1]),
        number(&report["first_stage_perplexity"]),
    );
    // without --nested the first stage by itself has more than 6000
    assert!(both < first && first < 1500.0, "{both}, {first}");
    let info = good(&["info", &nested]);
    assert!(info.contains("first stage alone"), "{info}");
}

/// The first stage is calibrated as if it were alone, and the second one makes up for what it leaves.
#[test]
fn a_nested_calibration_is_good_with_one_stage_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let [nested, one] = ["nested", "one"].map(|name| path(folder.path(), name));
    let calibrated = |out: &str, last: &[&str]| {
        let more = [&["--calibrate", TEXT, "--json"], last].concat();
        json(&args(out, &more))
    };
    let alone = calibrated(&one, &["--stages", "1"]);
    let report = calibrated(&nested, &["--nested"]);
    assert_eq!(report["layers"].as_array().map(Vec::len), Some(36));
    let first = &report["first_stage_perplexity"];
    assert_eq!(first, &alone["perplexity"][1]);
    let number = |v: &serde_json::Value| v.as_f64().expect("a number");
    assert!(
        number(&report["perplexity"][1]) < 0.7 * number(first),
        "{report}"
    );
    let none = path(folder.path(), "none");
    let refusal = ["--calibrate", TEXT, "--nested", "--stages", "1"];
    refused(&args(&none, &refusal), 2, &["two stages"]);
}

#[test]
fn turned_inputs_run_and_are_turned_back_for_export() {
    let folder = tempfile::tempdir().expect("a folder");
    let [packed, dense] = ["packed", "dense"].map(|name| path(folder.path(), name));
    let report = json(&args(&packed, &["--json", "--rotate", "--calibrate", TEXT]));
    let made = report["perplexity"][1].as_f64().expect("measured");
    assert!(made < 40.0, "{made}");
    let config = fs::read_to_string(Path::new(&packed).join("config.json")).expect("a file");
    assert!(config.contains(r#""rotation": "hadamard""#) && config.contains(r#""version": 3"#));
    good(&["export", &packed, &dense]);
    let float = ["--activations", "float"];
    let [one, two] = [&packed, &dense].map(|model| perplexity(model, &float));
    assert!((one - two).abs() < 1e-2 * one, "{one}, {two}");
    assert!(good(&["info", &packed]).contains("inputs rotated"));
}

#[test]
fn blocks_are_trained_by_themselves_and_the_same_each_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let [one, cut] = ["one", "cut"].map(|name| path(folder.path(), name));
    let mut how = vec!["--calibrate", TEXT, "--tune", "blocks", "--tune-batch", "4"];
    how.extend(["--tune-block-steps", "20", "--tune-last-steps", "10"]);
    let report = json(&[args(&one, &how), vec!["--json"]].concat());
    let blocks = report["blocks"].as_array().expect("blocks");
    let names: Vec<_> = blocks.iter().map(|b| b["name"].as_str()).collect();
    assert_eq!((names.len(), names[5]), (6, Some("lm_head")));
    for block in blocks {
        let loss = |i: usize| block["losses"][i].as_f64().expect("a loss");
        assert!(loss(1) < loss(0), "{block}");
    }
    assert_eq!(report["tuning"]["blocks"]["steps"], 20);
    assert_eq!(report["tuning"]["batch"], 8);
    assert_eq!(report["layers"].as_array().map(Vec::len), Some(36));
    // killed after the first block, and gone on with
    let again = args(&cut, &how);
    kill(&again, &cut);
    good(&again);
    assert_eq!(contents(&one), contents(&cut));
    assert!(!Path::new(&format!("{cut}.fairy2i-layers")).exists());
    let nearest = perplexity(MODEL, &["--stages", "2", "--granularity", "row"]);
    let made = perplexity(&one, &[]);
    assert!(made < 0.25 * nearest, "{made} instead of {nearest}");
    let info = good(&["info", &one]);
    assert!(info.contains("block by block"), "{info}");

    let out = path(folder.path(), "out");
    let steps = [
        "--calibrate",
        TEXT,
        "--tune",
        "12",
        "--tune-last-steps",
        "3",
    ];
    refused(&args(&out, &steps), 2, &["--tune blocks"]);
    for word in ["0", "block", "-3"] {
        let tune = format!("--tune={word}");
        let refused = run(&args(&out, &["--calibrate", TEXT, &tune]));
        assert_eq!(refused.code, 2);
        assert!(refused.stderr.contains("`blocks`"), "{}", refused.stderr);
    }
}
