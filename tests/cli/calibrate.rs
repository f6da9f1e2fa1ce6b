//! `quantize --calibrate`: the same bytes every time, killed in between or not, and better ones than the nearest.

use super::*;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/models/stories260k");
const TEXT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/data/text/tinystories_val.txt"
);

/// Calibration of the small model into `out`.
fn args<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec![
        "quantize",
        MODEL,
        out,
        "--granularity",
        "row",
        "--calibrate-tokens",
        "4096",
        "--calibrate-length",
        "128",
    ];
    all.extend(more);
    all
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().expect("UTF-8").to_owned()
}

/// The files of a folder that must not differ.
fn contents(folder: &str) -> Vec<(String, Vec<u8>)> {
    ["model.safetensors", "config.json", "calibration.json"]
        .into_iter()
        .map(|name| {
            let bytes = fs::read(Path::new(folder).join(name)).expect("a file");
            (name.to_owned(), bytes)
        })
        .collect()
}

fn perplexity(model: &str, more: &[&str]) -> f64 {
    let mut args = vec!["eval", "ppl", "-m", model, "--block", "128", "--json", TEXT];
    args.extend(more);
    let report = json(&args);
    report[0]["ppl"].as_f64().expect("a perplexity")
}

#[test]
fn a_calibrated_model_is_better_and_the_same_each_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let [one, two, cut] = ["one", "two", "cut"].map(|name| path(folder.path(), name));
    let report = json(&args(&one, &["--json", "--calibrate", TEXT]));
    let layers = report["layers"].as_array().expect("layers");
    assert_eq!(layers.len(), 5 * 7 + 1);
    for layer in layers {
        let error = |name: &str| layer[name].as_f64().expect("a number");
        assert!(
            error("output_error") < error("output_error_before"),
            "{layer}"
        );
    }
    assert_eq!(report["tokens"], 4096);
    let [full, made] = [0, 1].map(|i| report["perplexity"][i].as_f64().expect("measured"));
    assert!(full < made && made < 40.0, "{full}, {made}");
    good(&args(&two, &["--calibrate", TEXT]));
    assert_eq!(contents(&one), contents(&two));
    kill(&cut);
    let left = format!("{cut}.fairy2i-layers");
    assert!(Path::new(&left).exists() && !Path::new(&cut).exists());
    good(&args(&cut, &["--calibrate", TEXT]));
    assert_eq!(contents(&one), contents(&cut));
    assert!(!Path::new(&left).exists());

    let nearest = perplexity(MODEL, &["--stages", "2", "--granularity", "row"]);
    let calibrated = perplexity(&one, &[]);
    assert!(
        calibrated < 0.25 * nearest,
        "{calibrated} instead of {nearest}"
    );
    let info = good(&["info", &one]);
    assert!(
        info.contains("calibrated") && info.contains("4096 tokens"),
        "{info}"
    );
    assert_eq!(
        json(&["info", &one, "--json"])["calibration"]["tokens"],
        4096
    );
}

/// Begins a calibration, and kills it when some layers are done.
fn kill(out: &str) {
    let layers = format!("{out}.fairy2i-layers");
    let done = || fs::read_dir(&layers).map_or(0, Iterator::count) >= 8;
    kill_when(&args(out, &["--calibrate", TEXT]), done);
}

/// Begins a command, and kills it when it is `far` enough.
fn kill_when(args: &[&str], far: impl Fn() -> bool) {
    let mut child = command(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let until = Instant::now() + Duration::from_secs(60);
    while !far() && Instant::now() < until {
        assert!(
            child.try_wait().expect("a child").is_none(),
            "it ended too soon"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().expect("it runs");
    child.wait().expect("it ends");
}

#[test]
fn own_samples_are_a_text_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = path(folder.path(), "out");
    let more = [
        "--calibrate",
        "self",
        TEXT,
        "--json",
        "--calibrate-tokens",
        "2048",
    ];
    let mut args = args(&out, &[]);
    args.drain(5..7);
    args.extend(more);
    let report = json(&args);
    assert_eq!(
        report["sources"],
        serde_json::json!(["self", "tinystories_val.txt"])
    );
    assert_eq!(report["tokens"], 2048);
    assert!(perplexity(&out, &[]) < 40.0);
}

#[test]
fn what_cannot_be_calibrated_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = path(folder.path(), "out");
    let empty = path(folder.path(), "empty.txt");
    fs::write(&empty, "").expect("a file");
    refused(&args(&out, &["--calibrate", &empty]), 2, &["empty.txt"]);
    let missing = path(folder.path(), "missing.txt");
    refused(&args(&out, &["--calibrate", &missing]), 2, &["missing.txt"]);
    let method = [
        "quantize",
        MODEL,
        &out,
        "--method",
        "bitnet",
        "--calibrate",
        TEXT,
    ];
    refused(&method, 2, &["fairy2i"]);
    assert!(!Path::new(&out).exists());
    let inside = path(folder.path(), "text");
    fs::create_dir(&inside).expect("a folder");
    let text = format!("{inside}/a.txt");
    fs::write(&text, "Once upon a time there was a text.").expect("a file");
    refused(
        &args(&inside, &["--force", "--calibrate", &text]),
        2,
        &["text"],
    );
    assert!(Path::new(&text).exists());
}

#[test]
fn kinds_of_layers_have_their_own_stages() {
    let folder = tempfile::tempdir().expect("a folder");
    let [plain, made] = ["plain", "made"].map(|name| path(folder.path(), name));
    let stages = ["--stages", "2,down=3,head=3"];
    good(&["quantize", MODEL, &plain, stages[0], stages[1]]);
    let report = json(&["info", &plain, "--json"]);
    assert!(
        report["method"]
            .as_str()
            .is_some_and(|m| m.contains("stages 2,down=3,head=3,")),
        "{report}"
    );
    let more = ["--calibrate", "builtin", "--json", stages[0], stages[1]];
    let report = json(&args(&made, &more));
    assert_eq!(report["layers"].as_array().map(Vec::len), Some(36));
    let text = good(&["generate", "-m", &made, "-n", "8", "--temp", "0", "Once"]);
    assert!(text.len() > 5, "{text}");
    let report = json(&["analyze", &made, "--json"]);
    for layer in report["layers"].as_array().expect("layers") {
        let kind = layer["kind"].as_str().expect("a kind");
        let stages = layer["codes"]["stages"].as_array().map(Vec::len);
        let wanted = if matches!(kind, "down" | "head") {
            3
        } else {
            2
        };
        assert_eq!(stages, Some(wanted), "{}", layer["name"]);
    }
    let out = path(folder.path(), "out");
    for (stages, word) in [
        ("v=3", "product"),
        ("knee=3", "knee"),
        ("2,down=7", "7"),
        ("down@4-6=3", "block 6"),
        ("head@last=3", "head"),
    ] {
        let refused = run(&["quantize", MODEL, &out, "--stages", stages]);
        assert_eq!(refused.code, 2);
        assert!(refused.stderr.contains(word), "{}", refused.stderr);
    }
}

#[test]
fn blocks_have_their_own_stages() {
    let folder = tempfile::tempdir().expect("a folder");
    let [made, plain] = ["made", "plain"].map(|name| path(folder.path(), name));
    let stages = ["--stages", "1,last=2,down@0-1+3=3"];
    let more = ["--calibrate", "builtin", stages[0], stages[1]];
    good(&args(&made, &more));
    let report = json(&["analyze", &made, "--json"]);
    for layer in report["layers"].as_array().expect("layers") {
        let name = layer["name"].as_str().expect("a name");
        let down = ["0", "1", "3"].map(|b| format!("model.layers.{b}.mlp.down_proj"));
        let wanted = match name {
            name if down.iter().any(|d| d == name) => 3,
            name if name.starts_with("model.layers.4.") => 2,
            _ => 1,
        };
        let stages = layer["codes"]["stages"].as_array().map(Vec::len);
        assert_eq!(stages, Some(wanted), "{name}");
    }
    let info = json(&["info", &made, "--json"]);
    let method = info["method"].as_str().expect("a method");
    assert!(method.contains("stages 1,4=2,down@0-1+3=3,"), "{method}");
    // the same folder through the loader, the memory plan and the exporter
    good(&["generate", "-m", &made, "-n", "8", "--temp", "0", "Once"]);
    let given = ["-n", "8", "--temp", "0", stages[0], stages[1], "Once"];
    refused(
        &[&["generate", "-m", &made][..], &given].concat(),
        2,
        &["packed already"],
    );
    good(&["export", &made, &plain, "--dtype", "f32"]);
    let [packed, dense] =
        [&made, &plain].map(|folder| perplexity(folder, &["--activations", "float"]));
    assert!((packed / dense - 1.0).abs() < 1e-3, "{packed}, {dense}");
}

#[test]
fn tiles_share_scales_from_the_calibration_to_the_last_token() {
    let folder = tempfile::tempdir().expect("a folder");
    let [tensor, made, plain, out] =
        ["tensor", "made", "plain", "out"].map(|name| path(folder.path(), name));
    let calibrated = |out: &str, granularity: &str| {
        let mut all = args(out, &["--json", "--calibrate", TEXT]);
        all[4] = granularity;
        json(&all)
    };
    let whole = bits(&calibrated(&tensor, "tensor"));
    let report = calibrated(&made, "tile:8x16");
    assert!(
        bits(&report) > whole && bits(&report) < whole + 0.7,
        "{report}"
    );
    let info = json(&["info", &made, "--json"]);
    let method = info["method"].as_str().expect("a method");
    assert!(method.contains("scales per tile of 8 x 16"), "{method}");
    let stored = info["bits_per_linear_weight"].as_f64().expect("bits");
    assert!((stored - bits(&report)).abs() < 1e-6, "{stored}");
    good(&["generate", "-m", &made, "-n", "8", "--temp", "0", "Once"]);
    good(&["export", &made, &plain, "--dtype", "f32"]);
    let [coarse, packed, dense] =
        [&tensor, &made, &plain].map(|folder| perplexity(folder, &["--activations", "float"]));
    assert!((packed / dense - 1.0).abs() < 1e-3, "{packed}, {dense}");
    assert!(packed < coarse, "{packed} instead of {coarse}");
    let bare = ["quantize", MODEL, &out, "--granularity", "tile:8x16"];
    refused(&bare, 2, &["calibrate"]);
    let tuned = [&bare[..], &["--calibrate", TEXT, "--tune", "1"]].concat();
    refused(&tuned, 2, &["tile", "error feedback"]);
    assert!(!Path::new(&out).exists());
}

/// Mean bits of a report's quantized weights.
fn bits(report: &serde_json::Value) -> f64 {
    let bits = &report["bits_per_quantized_weight"];
    bits.as_f64().expect("bits")
}

#[test]
fn stages_are_allocated_within_the_bits() {
    let folder = tempfile::tempdir().expect("a folder");
    let [two, made, again, tuned] =
        ["two", "made", "again", "tuned"].map(|name| path(folder.path(), name));
    let report = json(&args(&two, &["--calibrate", TEXT, "--json"]));
    let (least, uniform) = (bits(&report), perplexity(&two, &[]));
    // as many bits as two stages everywhere and a fifth more
    let most = format!("{}", least + 0.2);
    let given = ["--calibrate", TEXT, "--json", "--bits", most.as_str()];
    let report = json(&args(&made, &given));
    assert!(
        bits(&report) > least && bits(&report) <= least + 0.2,
        "{report}"
    );
    let allocation = &report["allocation"];
    let stacks = allocation["stacks"].as_array().expect("stacks");
    assert_eq!(stacks.len(), 5 * 4 + 1);
    for stack in stacks {
        let number = |name: &str| stack[name].as_f64().expect("a number");
        assert!(
            number("divergence") > 0.0 && number("factor") > 1.0,
            "{stack}"
        );
    }
    let better = perplexity(&made, &[]);
    assert!(better < uniform, "{better} instead of {uniform}");
    // what was found is a recipe like any other
    let stages = allocation["stages"].as_str().expect("stages");
    good(&args(&again, &["--calibrate", TEXT, "--stages", stages]));
    for (one, other) in contents(&made).into_iter().zip(contents(&again)).take(2) {
        assert_eq!(one, other);
    }
    let more = ["--tune", "2", "--tune-batch", "2", "--bits", most.as_str()];
    let report = json(&[&args(&tuned, &more)[..], &["--calibrate", TEXT, "--json"]].concat());
    assert!(
        report["tuning"]["steps"] == 2 && bits(&report) > least,
        "{report}"
    );
    assert!(report["allocation"]["stages"].is_string(), "{report}");
}

#[test]
fn bits_that_make_no_sense_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = path(folder.path(), "out");
    let text = ["--calibrate", TEXT];
    let bits = |more: &[&str]| -> Vec<String> {
        let all = [&args(&out, &text)[..], more].concat();
        all.into_iter().map(str::to_owned).collect()
    };
    for (more, words) in [
        (&["--bits", "1"][..], &["--bits", "one stage"][..]),
        (&["--bits", "NaN"], &["--bits"]),
        (&["--bits", "two"], &["two"]),
        (&["--bits", "3", "--stages", "2"], &["--stages"]),
    ] {
        let all = bits(more);
        let refused = run(&all.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(refused.code, 2, "{}", refused.stderr);
        for word in words {
            assert!(refused.stderr.contains(word), "{}", refused.stderr);
        }
    }
    let bare = ["quantize", MODEL, &out, "--bits", "3"];
    let refused = run(&bare);
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("--calibrate"), "{}", refused.stderr);
    assert!(!Path::new(&out).exists());
}

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
