//! What ranks that `mpirun` starts do together, on the CPU backend: the same bits on one, two and three ranks, whatever is
//! killed in between.
#![cfg(target_os = "linux")] // processes are found in /proc

mod dealt;
mod train;

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/models/stories260k");
const TEXT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/data/text/tinystories_val.txt"
);
/// Longer than any of these runs takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// A folder with data.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().expect("a temporary folder"));
        let all = ["data", "--tokenizer", MODEL, "--block", "32", TEXT, "--out"];
        let mut data = program(Command::new(env!("CARGO_BIN_EXE_fairy2i-gpu")));
        data.args(all).arg(place.path("data"));
        good(data);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A file with the first `bytes` of the text.
    fn novel(&self, bytes: usize) -> String {
        let text = std::fs::read(TEXT).expect("a text of the repository");
        let path = self.path("novel.txt");
        std::fs::write(&path, &text[..bytes]).expect("written");
        path.to_string_lossy().into_owned()
    }

    /// A run of twelve steps of six micro-batches into `out`, on so many ranks, unless `more` says something else.
    fn train(&self, ranks: usize, out: &str, more: &[&str]) -> Command {
        let mut command = on(ranks);
        self.ask(&mut command, more);
        command.arg("--out").arg(self.path(out));
        command
    }

    /// Arguments of such a run, but for where it is written.
    fn ask(&self, command: &mut Command, more: &[&str]) {
        command.args(["train", "-m", MODEL]);
        for (option, value) in [
            ("--steps", "12"),
            ("--micro-batch", "1"),
            ("--batch-tokens", "192"),
            ("--save-every", "4"),
            ("--lr", "1e-3"),
        ] {
            if !more.contains(&option) {
                command.args([option, value]);
            }
        }
        command.arg("--data").arg(self.path("data")).args(more);
    }

    fn resume(&self, ranks: usize, out: &str, more: &[&str]) -> Command {
        let mut command = on(ranks);
        command.args(["train", "--resume", "--out"]);
        command.arg(self.path(out)).args(more);
        command
    }

    /// All that a finished run says of its steps, but for the time that they took.
    fn steps(&self, run: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.path(run).join("metrics.jsonl")).expect("metrics");
        let untimed = |line: &str| line.split(",\"seconds\"").next().unwrap_or("").to_owned();
        text.lines().map(untimed).collect()
    }

    /// Refuses runs that did not make the same steps, or ended with other bits.
    #[track_caller]
    fn same(&self, run: &str, other: &str) {
        assert_eq!(self.steps(run), self.steps(other), "{run}, {other}");
        for part in ["masters", "first", "second"] {
            let read = |run: &str| tensors(&self.path(run).join("step-12"), part);
            assert!(read(run) == read(other), "{part} of {run} and {other}");
        }
        let read = |run: &str| tensors(&self.path(run).join("model"), "model");
        assert!(read(run) == read(other), "models of {run} and {other}");
    }

    fn copy(&self, run: &str, to: &str) {
        let mut copy = Command::new("cp");
        let copied = copy
            .arg("-r")
            .args([self.path(run), self.path(to)])
            .status();
        assert!(copied.expect("cp runs").success());
    }
}

/// Tensors by name, with their bytes, of all files in `folder` whose names begin with `stem`.
fn tensors(folder: &Path, stem: &str) -> BTreeMap<String, (Vec<usize>, Vec<u8>)> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy();
        if !name.starts_with(stem) || !name.ends_with(".safetensors") {
            continue;
        }
        let bytes = std::fs::read(&path).expect("a file");
        let file = safetensors::SafeTensors::deserialize(&bytes).expect("tensors");
        for (name, tensor) in file.tensors() {
            let found = (tensor.shape().to_vec(), tensor.data().to_vec());
            assert!(all.insert(name, found).is_none(), "twice in {folder:?}");
        }
    }
    assert!(!all.is_empty(), "{folder:?} has no {stem}");
    all
}

/// The program by itself, or on several ranks of this machine, which may have fewer cores.
fn on(ranks: usize) -> Command {
    let own = env!("CARGO_BIN_EXE_fairy2i-gpu");
    if ranks == 1 {
        return program(Command::new(own));
    }
    let mut command = Command::new("mpirun");
    command.arg("-n").arg(ranks.to_string()).arg(own);
    program(command)
}

fn program(mut command: Command) -> Command {
    for (name, value) in [
        ("FAIRY2I_DEVICE", "cpu"),
        ("FAIRY2I_CACHE", "off"),
        // more ranks than cores, as root (Open MPI 4, and 5 after it), in a container that forbids reading another process
        ("OMPI_MCA_rmaps_base_oversubscribe", "1"),
        ("OMPI_ALLOW_RUN_AS_ROOT", "1"),
        ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"),
        ("OMPI_MCA_btl_vader_single_copy_mechanism", "none"),
        ("PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe"),
        ("PRTE_ALLOW_RUN_AS_ROOT", "1"),
        ("PRTE_ALLOW_RUN_AS_ROOT_CONFIRM", "1"),
    ] {
        command.env(name, value);
    }
    command.stdin(Stdio::null());
    command
}

fn finish(mut command: Command) -> Output {
    let output = command.output();
    output.unwrap_or_else(|e| panic!("{command:?} does not start ({e}): is an MPI installed?"))
}

#[track_caller]
fn good(command: Command) -> Vec<u8> {
    let output = finish(command);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    output.stdout
}

/// The one JSON value that a command prints, of all ranks together.
#[track_caller]
fn printed(ranks: usize, arguments: &[&str]) -> Value {
    let mut command = on(ranks);
    command.args(arguments).arg("--json");
    serde_json::from_slice(&good(command)).expect("one JSON value")
}

/// A job that must fail: one line of ours, which has all of these.
#[track_caller]
fn refused(command: Command, code: i32, names: &[&str]) {
    let output = finish(command);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    let ours: Vec<&str> = said.lines().filter(|l| l.starts_with("error: ")).collect();
    assert_eq!(ours.len(), 1, "{said}");
    for name in names {
        assert!(ours[0].contains(name), "{name:?} is not in {}", ours[0]);
    }
}
