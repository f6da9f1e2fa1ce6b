//! What the version before the rooms moved has written: packed folders in each version of the format, and a run of
//! training that stopped half way. `tests/data/before` has them as that version left them.

use super::{command, finish, good, json};
use serde_json::Value;
use std::fs;
use std::path::Path;

const BEFORE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/before");

/// Folders of stories260k, and what that version made of "Once upon a time": greedy, with integers of 16 bits.
const PACKED: [(&str, [u64; 16]); 3] = [
    // version 1: two stages, scales per row
    (
        "packed-1",
        [
            432, 405, 373, 261, 413, 265, 441, 421, 343, 351, 263, 369, 289, 419, 266, 384,
        ],
    ),
    // version 2: a third stage for `down`
    (
        "packed-2",
        [
            263, 271, 432, 322, 261, 263, 415, 421, 422, 311, 410, 449, 414, 412, 412, 395,
        ],
    ),
    // version 3: three stages, groups of 32 columns, inputs rotated
    (
        "packed-3",
        [
            432, 261, 416, 383, 286, 399, 270, 309, 431, 425, 421, 419, 417, 303, 426, 346,
        ],
    ),
];

#[test]
fn packed_folders_open_and_say_the_same() {
    for (name, want) in PACKED {
        let folder = format!("{BEFORE}/{name}");
        let answer = json(&[
            "generate",
            "-m",
            &folder,
            "--temp",
            "0",
            "-n",
            "16",
            "--json",
            "Once upon a time",
        ]);
        assert_eq!(answer["ids"], Value::from(want.to_vec()), "{name}");
        let exported = tempfile::tempdir().expect("a folder");
        let out = exported.path().join("plain").to_string_lossy().into_owned();
        good(&["export", &folder, &out]);
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder of the repository") {
        let (path, to) = entry
            .map(|e| (e.path(), to.join(e.file_name())))
            .expect("an entry");
        match path.is_dir() {
            true => copy(&path, &to),
            false => drop(fs::copy(&path, &to).expect("copied")),
        }
    }
}

/// The run has made three of six steps; that version's losses of the others were these. It kept the weights of attention in
/// memory, which are computed from the logarithms of their sums now: the last digits differ.
#[test]
fn a_run_goes_on() {
    const LOSSES: [f64; 3] = [
        6.298_815_142_723_821_5,
        6.278_492_423_795_885,
        6.258_972_694_796_901,
    ];
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["base", "data", "run"] {
        copy(&Path::new(BEFORE).join(name), &folder.path().join(name));
    }
    let mut resume = command(&["train", "--out", "run", "--resume"]);
    resume.current_dir(folder.path());
    let run = finish(resume);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let metrics = fs::read_to_string(folder.path().join("run/metrics.jsonl")).expect("metrics");
    let losses = metrics.lines().map(|line| {
        let step: Value = serde_json::from_str(line).expect("a line of JSON");
        step["loss"].as_f64().expect("a loss")
    });
    let losses: Vec<f64> = losses.skip(3).collect();
    assert_eq!(losses.len(), LOSSES.len());
    for (loss, before) in losses.into_iter().zip(LOSSES) {
        assert!(
            (loss - before).abs() < 1e-8 * before,
            "{loss}, not {before}"
        );
    }
}
