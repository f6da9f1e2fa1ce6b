//! Training: the same bits on any number of ranks, whatever is killed in between.

use super::{PATIENCE, Place, good, program, refused};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

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
fn killed(place: &Place, out: &str, more: &[&str]) {
    let mut command = place.train(2, out, more);
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

    killed(&place, "killed", &groups);
    place.copy("killed", "copy");
    good(place.resume(2, "killed", &[]));
    place.same("killed", "one");
    good(place.resume(3, "copy", &["--shard"]));
    place.same("copy", "one");
}

/// Checkpoints whose parts are written by their owners are read by any number of them.
#[test]
fn owners_write_what_others_go_on_from() {
    let place = Place::new();
    let all = ["--groups", "6", "--moments", "8"];
    good(place.train(1, "one", &all));
    killed(&place, "killed", &[&all[..], &["--shard"]].concat());
    for part in ["masters", "first", "second"] {
        let file = place.path("killed").join("step-4").join(part);
        let file = |end: &str| PathBuf::from(format!("{}{end}", file.display())).exists();
        assert!(file("-00001-of-00002.safetensors") && file("-00002-of-00002.safetensors"));
        assert!(!file(".safetensors"), "{part} was written twice");
    }
    for (ranks, out) in [(1, "on-one"), (2, "on-two"), (3, "on-three")] {
        place.copy("killed", out);
        good(place.resume(ranks, out, &[]));
        place.same(out, "one");
    }
    // Without a part of an owner it is no checkpoint.
    place.copy("killed", "torn");
    let torn = place.path("torn").join("step-4");
    std::fs::remove_file(torn.join("first-00002-of-00002.safetensors")).expect("removed");
    let newer = place.path("torn").join("step-8");
    let _ = std::fs::remove_dir_all(newer); // the kill may have come after it
    refused(place.resume(2, "torn", &[]), 2, &["first-00002-of-00002"]);
}

/// Where a rank does not see the folder of the run, rank 0 has all of it.
#[test]
fn hosts_need_no_common_folder() {
    let place = Place::new();
    let all = ["--groups", "2", "--shard"];
    good(place.train(1, "one", &all));
    let run = ["here", "there"].map(|folder| place.path(folder));
    for folder in &run {
        std::fs::create_dir(folder).expect("a folder");
    }
    // Every rank has a working folder of its own, and in it what it calls `run`.
    let job = |ask: &dyn Fn(&mut Command)| {
        let mut job = program(Command::new("mpirun"));
        for (i, folder) in run.iter().enumerate() {
            job.args((i > 0).then_some(":"));
            job.args(["-n", "1", "-wdir"]).arg(folder);
            job.arg(env!("CARGO_BIN_EXE_fairy2i-gpu"));
            ask(&mut job);
            job.args(["--out", "run"]);
        }
        good(job);
        assert!(!run[1].join("run").exists(), "rank 1 wrote something");
        place.same("here/run", "one");
    };
    job(&|job| place.ask(job, &all));
    std::fs::remove_dir_all(run[0].join("run/step-12")).expect("it was there");
    job(&|job| {
        job.args(["train", "--resume"]);
    });
}

#[test]
fn masters_and_moments_that_are_dealt_to_ranks_are_the_same() {
    let place = Place::new();
    let novel = place.novel(1000);
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
