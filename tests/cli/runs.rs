//! The folder of a training run: whose it is, who else may write to it, and what it may go on from.

use super::data::{dir, documents, jsonl, write};
use super::protect::{contents, copy, model, untouched};
use super::{command, finish, good, refused};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// A folder with a model, data and a text for it.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(dir());
        model(&place.path("model"));
        place.make_data("data", &documents(200));
        let novel = documents(8).join(" ");
        write(&place.path("novel.txt"), novel.as_bytes());
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn at(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }

    fn make_data(&self, name: &str, documents: &[String]) {
        let text = write(&self.path("corpus.jsonl"), &jsonl(documents));
        let (tokenizer, out) = (self.at("model"), self.at(name));
        let data = ["data", "--tokenizer", &tokenizer, "--block", "32"];
        good(&[&data[..], &["--out", &out, &text]].concat());
    }

    /// Arguments of a run into `out`.
    fn train(&self, out: &str, more: &[&str]) -> Vec<String> {
        let (model, data, out) = (self.at("model"), self.at("data"), self.at(out));
        let all = ["train", "-m", &model, "--data", &data, "--out", &out];
        let steps = ["--steps", "4", "--micro-batch", "2", "--save-every", "2"];
        let all = all.iter().chain(&steps).chain(more);
        all.map(|&a| a.to_owned()).collect()
    }

    fn resume(&self, out: &str) -> Vec<String> {
        let all = ["train", "--out", &self.at(out), "--resume"];
        all.map(str::to_owned).to_vec()
    }

    #[track_caller]
    fn untouched(&self, args: &[String], names: &[&str]) {
        untouched(self.0.path(), &words(args), names);
    }
}

fn words(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

fn good_run(args: &[String]) {
    good(&words(args));
}

/// Kills a run of many steps as soon as it has a checkpoint.
fn killed(place: &Place, out: &str, more: &[&str]) {
    let mut args = place.train(out, more);
    let steps = args.iter().position(|a| a == "--steps").expect("steps");
    args[steps + 1] = "40".to_owned();
    let mut child = start(&args, &place.path(out).join("step-2"));
    child.kill().expect("it is killed");
    child.wait().expect("it ends");
    // The next start clears these away, whatever else it says.
    std::fs::remove_file(place.path(out).join(".fairy2i-gpu.lock")).expect("removed");
    for entry in std::fs::read_dir(place.path(out)).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && path.extension().is_some_and(|e| e == "tmp") {
            std::fs::remove_dir_all(path).expect("removed");
        }
    }
}

/// Starts a run, and comes back when it has made `file`.
fn start(args: &[String], file: &Path) -> Child {
    let mut command = command(&words(args));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().expect("the program starts");
    let begun = Instant::now();
    while !file.exists() {
        assert!(begun.elapsed() < Duration::from_secs(120), "no {file:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
    child
}

fn steps_made(run: &Path) -> Vec<u64> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).expect("metrics");
    let step = |line: &str| serde_json::from_str::<Value>(line).expect("JSON")["step"].as_u64();
    text.lines().filter_map(step).collect()
}

#[test]
fn a_run_keeps_off_what_it_reads() {
    let place = Place::new();
    let novel = place.at("novel.txt");
    std::fs::create_dir(place.path("r")).expect("a folder");
    copy(&place.path("model"), &place.path("r/teacher"));
    copy(&place.path("data"), &place.path("s/d"));
    write(&place.path("r/settings.toml"), b"lr = 1e-3\n");
    let (teacher, settings) = (place.at("r/teacher"), place.at("r/settings.toml"));
    for (out, more) in [
        (".", &[][..]),
        ("model", &[]),
        ("model/run", &[]),
        ("data", &[]),
        ("data/run/deep", &[]),
        ("novel.txt", &["--eval", &novel]),
        ("r", &["--distill", "0.5", "--teacher", &teacher]),
        (
            "r/teacher/run",
            &["--distill", "0.5", "--teacher", &teacher],
        ),
        ("r", &["--config", &settings]),
        ("s", &["--data", &place.at("s/d")]),
    ] {
        let mut args = place.train(out, &[]);
        if more.first() == Some(&"--data") {
            let data = args.iter().position(|a| a == "--data").expect("data");
            args[data + 1] = more[1].to_owned();
        } else {
            args.extend(more.iter().map(|a| (*a).to_owned()));
        }
        place.untouched(&args, &["which is read"]);
    }
    // Said as people say it, from inside the folder.
    let mut args = command(&["train", "-m", "model", "--data", "data", "--out", "."]);
    let before = contents(place.0.path());
    args.current_dir(place.0.path());
    let run = finish(args);
    assert_eq!(run.code, 2, "{}", run.stderr);
    assert!(run.stderr.contains(". holds model"), "{}", run.stderr);
    assert!(contents(place.0.path()) == before);
}

#[test]
fn what_would_fail_at_the_end_fails_before_the_first_step() {
    let place = Place::new();
    // What is in the way, and what is told.
    for (file, name) in [
        ("model/mine", "model"),
        ("model", "model"),
        ("packed/precious", "packed"),
        ("packed", "packed"),
        ("README.md", "README.md"),
        ("README.md.tmp", "README.md.tmp"),
        ("config.toml", "config.toml"),
        ("metrics.jsonl", "metrics.jsonl"),
        ("curves.svg", "curves.svg"),
        ("step-7.tmp/mine", "step-7.tmp"),
        ("run.json", "run.json"),
    ] {
        let run = place.path("run");
        let path = run.join(file);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        write(&path, b"mine");
        place.untouched(&place.train("run", &[]), &[name]);
        std::fs::remove_dir_all(run).expect("removed");
    }
    std::fs::create_dir(place.path("run")).expect("a folder");
    write(&place.path("run/notes.txt"), b"mine"); // in nobody's way
    good_run(&place.train("run", &[]));
    assert_eq!(steps_made(&place.path("run")), [1, 2, 3, 4]);
    // A finished run is not begun again, not even without its checkpoints.
    place.untouched(&place.train("run", &[]), &["--resume"]);
    for step in ["step-2", "step-4"] {
        std::fs::remove_dir_all(place.path("run").join(step)).expect("removed");
    }
    place.untouched(&place.train("run", &[]), &["run", "model"]);
    assert!(place.path("run/notes.txt").exists());
    // A license that cannot be copied would end the run when the model is written.
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(place.path("novel.txt"), place.path("model/LICENSE"))
            .expect("a link");
        place.untouched(&place.train("new", &[]), &["LICENSE"]);
        assert!(!place.path("new").exists());
    }
}

#[test]
fn a_finished_run_replaces_only_its_own_models() {
    let place = Place::new();
    good_run(&place.train("run", &[]));
    good_run(&place.resume("run")); // writes the same again
    good_run(&place.train("other", &["--seed", "7"]));
    for (name, text) in [
        ("model/notes.txt", &b"mine"[..]),
        ("packed/notes.txt", b"mine"),
        ("model/config.json", b"{}"),
        ("README.md", b"my own words"),
    ] {
        let path = place.path("run").join(name);
        let before = std::fs::read(&path).ok();
        write(&path, text);
        place.untouched(
            &place.resume("run"),
            &[name.rsplit('/').next().expect("a name")],
        );
        match before {
            Some(bytes) => std::fs::write(&path, bytes).expect("restored"),
            None => std::fs::remove_file(&path).expect("removed"),
        }
    }
    let (run, other) = (place.path("run/packed"), place.path("other/packed"));
    std::fs::remove_dir_all(&run).expect("removed");
    copy(&other, &run);
    place.untouched(&place.resume("run"), &["packed", "another run"]);
    std::fs::remove_dir_all(&run).expect("removed");
    good_run(&place.resume("run"));
    // Quantizing does not take a run's models for its own, either.
    let (model, packed) = (place.at("model"), place.at("run/packed"));
    let quantize = ["quantize", &model, &packed, "--force"].map(str::to_owned);
    place.untouched(&quantize, &["packed", "`train`"]);
}

#[test]
fn checkpoints_with_notes_beside_them_stay() {
    let place = Place::new();
    killed(&place, "run", &["--keep", "1"]);
    let steps = |run: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(run).expect("a folder");
        let names = entries.map(|e| e.expect("an entry").file_name());
        let names = names.map(|n| n.to_string_lossy().into_owned());
        names.filter(|n| n.starts_with("step-")).collect()
    };
    let step = steps(&place.path("run"))
        .into_iter()
        .find(|n| !n.ends_with(".tmp"))
        .expect("a checkpoint");
    let note = place.path("run").join(step).join("notes.txt");
    write(&note, b"the best one");
    // As of a version that kept no record: its checkpoint says that it is a run, and it has a record from now on.
    std::fs::remove_file(place.path("run/run.json")).expect("removed");
    good_run(&place.resume("run"));
    assert!(place.path("run/run.json").exists());
    assert!(note.exists());
    assert_eq!(steps(&place.path("run")).len(), 2);
}

#[test]
fn one_process_at_a_time_and_killed_ones_are_no_obstacle() {
    let place = Place::new();
    let mut args = place.train("run", &[]);
    let steps = args.iter().position(|a| a == "--steps").expect("steps");
    args[steps + 1] = "4000".to_owned();
    let mut child = start(&args, &place.path("run/step-2"));
    let busy = ["another process", "run"];
    refused(&words(&place.resume("run")), 2, &busy);
    refused(&words(&args), 2, &busy);
    assert!(
        child.try_wait().expect("a child").is_none(),
        "it still runs"
    );
    child.kill().expect("it is killed");
    child.wait().expect("it ends");
    let whole = steps_made_whole(&place.path("run"));
    assert_eq!(whole, (1..=whole.len() as u64).collect::<Vec<_>>());
    // What a kill leaves at any moment: a lock, halves of files, a checkpoint and a model that are not done.
    let run = place.path("run");
    for name in ["config.toml.tmp", "run.json.tmp", "curves.svg.tmp"] {
        write(&run.join(name), b"half");
    }
    assert!(run.join(".fairy2i-gpu.lock").exists());
    std::fs::create_dir_all(run.join("step-9999.tmp")).expect("a folder");
    std::fs::create_dir_all(run.join("model.fairy2i-tmp")).expect("a folder");
    write(&run.join("model.fairy2i-lock"), b"");
    let settings = std::fs::read_to_string(run.join("config.toml")).expect("settings");
    let fewer = (whole.len() as u64 + 3).to_string();
    let settings = settings.replace("steps = 4000", &format!("steps = {fewer}"));
    write(&run.join("config.toml"), settings.as_bytes());
    good_run(&place.resume("run"));
    assert_eq!(steps_made(&run).len(), whole.len() + 3);
    let left = std::fs::read_dir(&run).expect("a folder");
    let left = left.map(|e| {
        e.expect("an entry")
            .file_name()
            .to_string_lossy()
            .into_owned()
    });
    let left: Vec<_> = left
        .filter(|n| n.contains("lock") || n.contains("fairy2i-tmp"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Steps of the whole lines: a kill may leave half a line at the end.
fn steps_made_whole(run: &Path) -> Vec<u64> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).expect("metrics");
    let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
    let step = |line: &str| serde_json::from_str::<Value>(line).expect("JSON")["step"].as_u64();
    whole.lines().filter_map(step).collect()
}

#[test]
fn other_inputs_do_not_go_on() {
    let place = Place::new();
    let eval = place.at("novel.txt");
    copy(&place.path("model"), &place.path("teacher"));
    let teacher = place.at("teacher");
    let more = ["--eval", &eval, "--distill", "0.5", "--teacher", &teacher];
    killed(&place, "run", &more);
    let flip = |file: &str| {
        let path = place.path(file);
        let before = std::fs::read(&path).expect("it reads");
        let mut bytes = before.clone();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).expect("written");
        (path, before)
    };
    for file in [
        "data/shard-00000.bin",
        "model/model.safetensors",
        "teacher/model.safetensors",
        "novel.txt",
    ] {
        let (path, before) = flip(file);
        place.untouched(
            &place.resume("run"),
            &[file.rsplit('/').next().expect("a name")],
        );
        std::fs::write(path, before).expect("restored");
    }
    // Made again from another text, under the same name.
    std::fs::rename(place.path("data"), place.path("before")).expect("moved");
    place.make_data("data", &documents(150));
    place.untouched(
        &place.resume("run"),
        &["data", "manifest.json", "when the run began"],
    );
    std::fs::remove_dir_all(place.path("data")).expect("removed");
    std::fs::rename(place.path("before"), place.path("data")).expect("moved back");
    write(&place.path("model/generation_config.json"), b"{}");
    place.untouched(&place.resume("run"), &["generation_config.json"]);
    std::fs::remove_file(place.path("model/generation_config.json")).expect("removed");
    // Another text to measure is no other run; from then on it has to stay what it is.
    let second = write(&place.path("second.txt"), documents(9).join(" ").as_bytes());
    let mut resume = place.resume("run");
    resume.extend(["--eval".to_owned(), second]);
    good_run(&resume);
    flip("second.txt");
    place.untouched(&place.resume("run"), &["second.txt"]);
}
