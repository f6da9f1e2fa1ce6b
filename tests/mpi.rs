//! What ranks that `mpirun` starts do together, on the CPU backend: the same bits on one, two and three ranks, whatever is
//! killed in between.
#![cfg(target_os = "linux")] // processes are found in /proc

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
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

    /// A run of twelve steps of six micro-batches into `out`, on so many ranks, unless `more` says something else.
    fn train(&self, ranks: usize, out: &str, more: &[&str]) -> Command {
        let mut command = on(ranks);
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
        command.arg("--data").arg(self.path("data"));
        command.arg("--out").arg(self.path(out)).args(more);
        command
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
        for file in [
            "step-12/masters.safetensors",
            "step-12/first.safetensors",
            "step-12/second.safetensors",
            "model/model.safetensors",
        ] {
            let read = |run: &str| std::fs::read(self.path(run).join(file)).expect("a file");
            assert!(read(run) == read(other), "{file} of {run} and {other}");
        }
    }
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

/// Waits for something to be there.
fn wait<T>(what: &str, child: &mut Child, mut there: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = there() {
            return found;
        }
        let ended = child.try_wait().expect("a child");
        assert!(ended.is_none(), "{ended:?} without {what}");
        assert!(begun.elapsed() < PATIENCE, "no {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The process of a rank whose arguments have `out`.
fn process_of(rank: usize, out: &Path) -> Option<String> {
    let out = out.to_string_lossy();
    for entry in std::fs::read_dir("/proc").ok()? {
        let process = entry.ok()?;
        // What has ended meanwhile cannot be read any more.
        let read = |file| std::fs::read(process.path().join(file)).unwrap_or_default();
        let has = |file, item: &str| read(file).split(|&b| b == 0).any(|i| i == item.as_bytes());
        let ours = ["OMPI_COMM_WORLD_RANK", "PMI_RANK"]
            .iter()
            .any(|name| has("environ", &format!("{name}={rank}")));
        if ours && has("cmdline", &out) {
            return Some(process.file_name().to_string_lossy().into_owned());
        }
    }
    None
}

/// Begins a run on two ranks, and kills the second one when there is a checkpoint.
fn killed(place: &Place, out: &str) {
    let mut command = place.train(2, out, &["--groups", "6"]);
    let mut job = command.stderr(Stdio::null()).spawn().expect("it starts");
    let run = place.path(out);
    let process = wait("rank 1", &mut job, || process_of(1, &run));
    let saved = || run.join("step-4").exists().then_some(());
    wait("checkpoint", &mut job, saved);
    let kill = Command::new("kill").args(["-9", &process]).status();
    assert!(kill.expect("kill runs").success());
    let begun = Instant::now();
    while job.try_wait().expect("a child").is_none() {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "the others wait for a rank that is gone"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(!run.join("step-12").exists(), "it was killed too late");
}

#[test]
fn any_number_of_ranks_makes_the_same_bits() {
    let place = Place::new();
    let groups = ["--groups", "6"];
    good(place.train(1, "one", &groups));
    for ranks in [2, 3] {
        let out = format!("of-{ranks}");
        good(place.train(ranks, &out, &groups));
        place.same(&out, "one");
    }
    // As many groups as ranks, if nothing else is said. Sums in another order have other bits.
    good(place.train(2, "pair", &[]));
    good(place.train(1, "same-pair", &["--groups", "2"]));
    place.same("pair", "same-pair");
    assert_ne!(place.steps("pair"), place.steps("one"));

    killed(&place, "killed");
    let copied = Command::new("cp")
        .arg("-r")
        .args([place.path("killed"), place.path("copy")])
        .status();
    assert!(copied.expect("cp runs").success());
    good(place.resume(2, "killed", &[]));
    place.same("killed", "one");
    good(place.resume(3, "copy", &["--shard"]));
    place.same("copy", "one");
}

#[test]
fn masters_and_moments_that_are_dealt_to_ranks_are_the_same() {
    let place = Place::new();
    let text = std::fs::read(TEXT).expect("a text of the repository");
    let novel = place.path("novel.txt");
    std::fs::write(&novel, &text[..1000]).expect("written");
    let novel = novel.to_string_lossy();
    let few = ["--groups", "3", "--moments", "8", "--masters", "bf16"];
    for method in ["fairy2i", "bitnet", "full"] {
        let all = [&few[..], &["--method", method]].concat();
        let sharded = format!("{method}-3");
        good(place.train(1, method, &all));
        let shard = ["--shard", "--eval", &novel, "--eval-every", "5"];
        good(place.train(3, &sharded, &[&all[..], &shard].concat()));
        place.same(&sharded, method);
    }
    refused(
        place.train(2, "run", &["--shard", "--quant-warmup", "2"]),
        2,
        &["--shard", "--quant-warmup"],
    );
}

#[test]
fn a_step_is_skipped_by_all_or_none() {
    let place = Place::new();
    let wild = [
        "--groups", "3", "--lr", "1e20", "--steps", "4", "--method", "full",
    ];
    good(place.train(1, "one", &wild));
    good(place.train(3, "three", &wild));
    assert_eq!(place.steps("three"), place.steps("one"));
    let skipped = place.steps("one");
    assert!(
        skipped.iter().any(|s| s.contains("\"skipped\":true")),
        "{skipped:?}"
    );
}

/// Prompts in several batches, tokens that are drawn, and drafts: every rank has some of the layers.
#[test]
fn layers_that_are_dealt_to_ranks_choose_the_same_ids() {
    let prompt = "Once upon a time there was a little girl who had a red ball. One day";
    for more in [
        &["--temp", "0"][..],
        &["-s", "7", "--stages", "2"],
        &["--temp", "0", "--lookup", "3"],
    ] {
        let all = [
            &["generate", "-m", MODEL, "-n", "12", "-u", "5", prompt],
            more,
        ]
        .concat();
        let ids = |ranks| printed(ranks, &all)["ids"].clone();
        let one = ids(1);
        assert_eq!(one.as_array().map(Vec::len), Some(12));
        for ranks in [2, 3] {
            assert_eq!(ids(ranks), one, "{more:?} on {ranks} ranks");
        }
    }
    let mut many = on(6);
    many.args(["generate", "-m", MODEL, "Once"]);
    refused(many, 2, &["6 ranks", "5 layers"]);
}

#[test]
fn a_text_that_is_dealt_to_ranks_has_the_same_perplexity() {
    let place = Place::new();
    let text = std::fs::read(TEXT).expect("a text of the repository");
    let novel = place.path("novel.txt");
    std::fs::write(&novel, &text[..3000]).expect("written");
    let novel = novel.to_string_lossy();
    let all = [
        "eval", "ppl", "-m", MODEL, "--stages", "full,1", "-c", "32", "-u", "64", &novel,
    ];
    let measured = |ranks| {
        let mut rows = printed(ranks, &all);
        for row in rows.as_array_mut().expect("a list") {
            let row = row.as_object_mut().expect("a row");
            assert!(row.remove("seconds").is_some() && row.remove("tokens_per_second").is_some());
        }
        rows
    };
    let one = measured(1);
    for ranks in [2, 3] {
        assert_eq!(measured(ranks), one, "{ranks} ranks");
    }
}

#[test]
fn data_that_ranks_make_is_that_of_one() {
    let place = Place::new();
    let text = std::fs::read(TEXT).expect("a text of the repository");
    let mut files = Vec::new();
    for (i, part) in text[..6000].chunks(900).enumerate() {
        let file = place.path(&format!("part-{i}.txt"));
        std::fs::write(&file, part).expect("written");
        files.push(file);
    }
    // One that no text begins with, which is told and counted.
    let bad = place.path("part-bad.jsonl");
    std::fs::write(&bad, "{\"text\": \"Once\"}\nnonsense\n").expect("written");
    files.insert(3, bad);
    let make = |ranks: usize| {
        let mut command = on(ranks);
        command.args(["data", "--tokenizer", MODEL, "--block", "16", "--out"]);
        let out = place.path(&format!("data-{ranks}"));
        good({
            command.arg(&out).args(&files);
            command
        });
        let mut all: Vec<_> = std::fs::read_dir(&out)
            .expect("a folder")
            .map(|entry| {
                let path = entry.expect("an entry").path();
                (
                    path.file_name().map(ToOwned::to_owned),
                    std::fs::read(&path).expect("a file"),
                )
            })
            .collect();
        all.sort();
        all
    };
    let one = make(1);
    for ranks in [2, 3] {
        assert!(make(ranks) == one, "{ranks} ranks");
    }
}

#[test]
fn what_ranks_cannot_do_is_said_once() {
    let place = Place::new();
    refused(
        place.train(3, "run", &["--groups", "2"]),
        2,
        &["rank 0", "3 ranks", "--groups"],
    );
    refused(
        place.train(2, "run", &["--groups", "7"]),
        2,
        &["6 micro-batch", "--batch-tokens"],
    );
    refused(
        place.train(2, "run", &["--device", "cpu,99"]),
        3,
        &["rank 1 of 2"],
    );
    refused(
        place.train(2, "run", &["--device", "cpu,cpu,cpu"]),
        2,
        &["3 devices", "2 ranks"],
    );
    refused(
        place.resume(2, "run", &[]),
        2,
        &["rank 0 of 2", "config.toml"],
    );
    assert!(
        !place.path("run").join("run.json").exists(),
        "something was begun"
    );
}
