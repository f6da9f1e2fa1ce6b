//! `quantize --calibrate`: the same bytes every time, killed in between or not, and better ones than the nearest.

use super::*;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

pub const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/models/stories260k");
pub const TEXT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/data/text/tinystories_val.txt"
);

/// Calibration of the small model into `out`.
pub fn args<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
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

pub fn path(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().expect("UTF-8").to_owned()
}

/// The files of a folder that must not differ.
pub fn contents(folder: &str) -> Vec<(String, Vec<u8>)> {
    ["model.safetensors", "config.json", "calibration.json"]
        .into_iter()
        .map(|name| {
            let bytes = fs::read(Path::new(folder).join(name)).expect("a file");
            (name.to_owned(), bytes)
        })
        .collect()
}

/// The end of the text, as long as a verdict needs that takes a second.
fn end_of_text() -> &'static str {
    static PATH: std::sync::OnceLock<tempfile::NamedTempFile> = std::sync::OnceLock::new();
    let file = PATH.get_or_init(|| {
        let text = fs::read_to_string(TEXT).expect("a text");
        let line = text[text.len() - 25_000..]
            .split_once('\n')
            .expect("lines")
            .1;
        let file = tempfile::NamedTempFile::with_suffix(".txt").expect("a file");
        fs::write(&file, line).expect("written");
        file
    });
    file.path().to_str().expect("UTF-8")
}

pub fn perplexity(model: &str, more: &[&str]) -> f64 {
    let text = end_of_text();
    let mut args = vec!["eval", "ppl", "-m", model, "--block", "128", "--json", text];
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
    kill(&args(&cut, &["--calibrate", TEXT]), &cut);
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
pub fn kill(args: &[&str], out: &str) {
    let layers = format!("{out}.fairy2i-layers");
    let done = || fs::read_dir(&layers).map_or(0, Iterator::count) >= 8;
    kill_when(args, done);
}

/// Begins a command, and kills it when it is `far` enough.
pub fn kill_when(args: &[&str], far: impl Fn() -> bool) {
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
    let nearest = json(&[&bare[..], &["--json"]].concat());
    assert_eq!(bits(&nearest), bits(&report));
    let nearest = perplexity(&out, &["--activations", "float"]);
    assert!(packed < nearest, "{packed} instead of {nearest}");
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
