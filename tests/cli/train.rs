//! Training from scratch as people meet it: data in, checkpoints and models out, the same bits after a kill.

use super::calibrate::MODEL;
use super::data::{dir, documents, jsonl, write};
use super::{command, good, refused, run};
use serde_json::Value;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Data for a tiny model, and a text to measure.
fn prepared(folder: &Path) -> (String, String) {
    let documents = documents(300);
    let text = write(&folder.join("corpus.jsonl"), &jsonl(&documents));
    let plain = write(
        &folder.join("novel.txt"),
        documents[..8].join(" ").as_bytes(),
    );
    let data = folder.join("data").to_string_lossy().into_owned();
    good(&[
        "data",
        "--tokenizer",
        MODEL,
        "--block",
        "32",
        "--out",
        &data,
        &text,
    ]);
    (data, plain)
}

/// Arguments of a run of six steps.
fn train<'a>(out: &'a str, data: &'a str, eval: &'a str) -> Vec<&'a str> {
    let mut args = vec![
        "train",
        "-m",
        MODEL,
        "--from-scratch",
        "--out",
        out,
        "--data",
        data,
    ];
    args.extend([
        "--steps",
        "6",
        "--seq",
        "32",
        "--micro-batch",
        "2",
        "--batch-tokens",
        "128",
    ]);
    args.extend([
        "--lr",
        "1e-3",
        "--warmup",
        "2",
        "--schedule",
        "linear",
        "--decay-from",
        "4",
    ]);
    args.extend(["--save-every", "2", "--eval-every", "3", "--eval", eval]);
    args
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Two steps from a full-precision model, which is also the teacher.
fn learns_from_a_teacher(model: &str, out: &str, data: &str, eval: &str) {
    let mut args = vec!["train", "-m", model, "--out", out, "--data", data];
    args.extend(["--steps", "2", "--micro-batch", "2", "--quant-warmup", "1"]);
    args.extend(["--distill", "0.5", "--eval", eval]);
    good(&args);
    let card = String::from_utf8(read(&Path::new(out).join("README.md"))).expect("UTF-8");
    let row = card
        .lines()
        .find(|l| l.starts_with("| novel |"))
        .unwrap_or_else(|| panic!("{card}"));
    let numbers: Vec<f64> = row
        .split('|')
        .filter_map(|n| n.trim().parse().ok())
        .collect();
    assert!(numbers.len() == 3 && numbers[0] != numbers[1], "{row}");
}

/// Some steps with learned scales: what is packed measures as the trainer did, which rounding the masters anew does not.
fn learns_scales(model: &str, out: &str, data: &str, eval: &str) {
    let mut args = vec!["train", "-m", model, "--out", out, "--data", data];
    args.extend(["--steps", "4", "--micro-batch", "4", "--lr", "0.02"]);
    args.extend(["--scales", "learned", "--granularity", "row"]);
    args.extend(["--eval", eval]);
    good(&args);
    let steps = String::from_utf8(read(&Path::new(out).join("metrics.jsonl"))).expect("UTF-8");
    let last: Value = serde_json::from_str(steps.lines().last().expect("a step")).expect("JSON");
    let trained = last["validation"]["novel"].as_f64().expect("measured");
    let measured = |more: &[&str]| {
        let mut args = vec!["eval", "ppl", "--block", "32", "--json"];
        args.extend(more);
        let report: Value = serde_json::from_str(&good(&args)).expect("JSON");
        report[0]["ppl"].as_f64().expect("a perplexity")
    };
    let (packed, masters) = (format!("{out}/packed"), format!("{out}/model"));
    let packed = measured(&["-m", &packed, eval]);
    assert!((packed / trained - 1.0).abs() < 2e-3, "{packed}, {trained}");
    let anew = [
        "-m",
        &masters,
        "--stages",
        "2",
        "--granularity",
        "row",
        eval,
    ];
    let anew = measured(&anew);
    assert!((anew / trained - 1.0).abs() > 2e-2, "{anew}, {trained}");
}

#[test]
fn a_run_leaves_models_and_records_and_survives_a_kill() {
    let folder = dir();
    let (data, eval) = prepared(folder.path());
    let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (whole, killed) = (at("whole"), at("killed"));
    good(&train(&whole, &data, &eval));
    let steps = String::from_utf8(read(&Path::new(&whole).join("metrics.jsonl"))).expect("UTF-8");
    let steps: Vec<Value> = steps
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(steps.len(), 6);
    assert!(steps[5]["loss"].as_f64() < steps[0]["loss"].as_f64());
    assert!(steps[5]["validation"]["novel"].as_f64() < steps[2]["validation"]["novel"].as_f64());
    for file in [
        "config.toml",
        "curves.svg",
        "README.md",
        "model/model.safetensors",
    ] {
        assert!(Path::new(&whole).join(file).exists(), "{file}");
    }
    let plot = good(&["curves", &whole]);
    assert!(plot.contains("perplexity of novel") && plot.contains("</svg>"));
    refused(&["curves", &whole, "--text", "tale"], 2, &["tale"]);
    let packed = format!("{whole}/packed");
    good(&["generate", "-m", &packed, "-n", "4", "Once"]);
    let model = format!("{whole}/model");
    learns_from_a_teacher(&model, &at("taught"), &data, &eval);
    learns_scales(&model, &at("scaled"), &data, &eval);

    let args = train(&killed, &data, &eval);
    let mut child = command(&args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let begun = Instant::now();
    while !Path::new(&killed).join("step-2").exists() && begun.elapsed() < Duration::from_secs(120)
    {
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().expect("it is killed");
    child.wait().expect("it ends");
    refused(&args, 2, &["--resume"]);
    good(&["train", "--out", &killed, "--resume"]);
    for file in ["masters", "first", "second"] {
        let path = format!("step-6/{file}.safetensors");
        let same = read(&Path::new(&whole).join(&path)) == read(&Path::new(&killed).join(&path));
        assert!(same, "{path}");
    }
    for (option, value) in [("--lr", "2e-3"), ("--moments", "16"), ("--masters", "bf16")] {
        let args = ["train", "--out", &killed, "--resume", option, value];
        refused(&args, 2, &[&option[2..]]);
    }
    goes_on_with_fewer_bits(&at("eight"), &at("stopped"), &data, &eval);
}

/// Moments of 8 bits and masters of 16 are remembered by the run, and go on from a checkpoint to the same bits.
fn goes_on_with_fewer_bits(whole: &str, stopped: &str, data: &str, eval: &str) {
    let held = ["--moments", "8", "--masters", "bf16"];
    let make = |out: &str| good(&[&train(out, data, eval)[..], &held].concat());
    make(whole);
    make(stopped);
    let state = |run: &str, step: &str, part: &str| {
        read(&Path::new(run).join(format!("{step}/{part}.safetensors")))
    };
    // back to what a kill behind the checkpoint before would have left
    std::fs::remove_dir_all(Path::new(stopped).join("step-6")).expect("removed");
    good(&["train", "--out", stopped, "--resume"]);
    for part in ["masters", "first", "second"] {
        let same = state(whole, "step-6", part) == state(stopped, "step-6", part);
        assert!(same, "{part}");
    }
    let settings = String::from_utf8(read(&Path::new(whole).join("config.toml"))).expect("UTF-8");
    assert!(settings.contains("moments = \"8\"") && settings.contains("masters = \"bf16\""));
    good(&[
        "generate",
        "-m",
        &format!("{whole}/packed"),
        "-n",
        "4",
        "Once",
    ]);
}

#[test]
fn what_cannot_be_trained_is_refused() {
    let folder = dir();
    let (data, eval) = prepared(folder.path());
    let out = folder.path().join("run").to_string_lossy().into_owned();
    let with = |more: &[&str]| -> Vec<String> {
        let args = train(&out, &data, &eval);
        args.iter().chain(more).map(|a| (*a).to_owned()).collect()
    };
    for (more, word) in [
        (&["--seq", "64"][..], "--seq"),
        (&["--batch-tokens", "100"], "--batch-tokens"),
        (&["--schedule", "spiral"], "spiral"),
        (&["--clip", "0"], "clip"),
        (&["--nested", "1.5"], "--nested"),
        (&["--outlier", "0.5"], "--outlier"),
        (&["--distill", "1.5"], "--distill"),
        (&["--distill", "0.5"], "--teacher"),
    ] {
        let mut args = with(&[]);
        match args.iter().position(|a| a == more[0]) {
            Some(at) => args[at + 1] = more[1].to_owned(),
            None => args.extend(more.iter().map(|a| (*a).to_owned())),
        }
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let failed = run(&args);
        assert_eq!(failed.code, 2, "{more:?}: {}", failed.stderr);
        assert!(failed.stderr.contains(word), "{more:?}: {}", failed.stderr);
    }
    refused(&["train", "--out", &out], 2, &["--data"]);
}

/// Copies of the program that `mpirun` started would all train the same and be in each other's way.
#[cfg(not(feature = "mpi"))]
#[test]
fn ranks_need_a_build_with_mpi() {
    for (name, value) in [("OMPI_COMM_WORLD_SIZE", "2"), ("PMI_SIZE", "3")] {
        let mut alone = command(&["train", "--out", "nothing", "--resume"]);
        alone.env(name, value);
        let run = super::finish(alone);
        assert_eq!(run.code, 2, "{}", run.stderr);
        assert!(run.stderr.contains("--features mpi"), "{}", run.stderr);
    }
}
