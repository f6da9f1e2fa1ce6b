//! `data` stopped in between, sampled, and given what it must refuse.

use super::data::{args, contents, dir, documents, jsonl, write};
use super::{command, good, refused};
use fairy2i_gpu::files::corpus::Corpus;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// 3.6 MB of text, and a line that cannot be used near its end.
fn large(folder: &Path) -> String {
    let text = jsonl(&documents(2000)).repeat(8);
    let mut bytes = text.clone();
    bytes.extend(b"not JSON\n");
    bytes.extend(&text[..text.len() / 50]);
    while bytes.last() != Some(&b'\n') {
        bytes.pop();
    }
    write(&folder.join("large.jsonl"), &bytes)
}

const MODES: [&[&str]; 3] = [
    &["--shard", "1"],
    &["--packing", "stream"],
    &["--sample-tokens", "20000", "--seed", "3"],
];

#[test]
fn a_stopped_run_goes_on_and_ends_with_the_same_bytes() {
    let folder = dir();
    let input = large(folder.path());
    for (i, mode) in MODES.iter().enumerate() {
        let at = |name: &str| {
            folder
                .path()
                .join(format!("{name}{i}"))
                .to_string_lossy()
                .into_owned()
        };
        let (whole, stopped, killed) = (at("whole"), at("stopped"), at("killed"));
        let with = |out: &str, more: &[&str]| -> Vec<String> {
            let common = [mode, &["--save-every", "1", &input][..], more].concat();
            args(out, &common).iter().map(|&a| a.to_owned()).collect()
        };
        let all = |args: &[String]| good(&args.iter().map(String::as_str).collect::<Vec<_>>());
        all(&with(&whole, &["--workers", "2"]));

        let failing = with(&stopped, &["--max-bad", "0"]);
        let failing: Vec<&str> = failing.iter().map(String::as_str).collect();
        refused(&failing, 2, &["large.jsonl:16001"]);
        assert!(!Path::new(&stopped).exists());
        let report = all(&with(&stopped, &["--workers", "1"]));
        assert!(report.contains("\"resumed\": true"), "{report}");
        assert!(contents(&stopped) == contents(&whole), "{mode:?}");

        kill(&with(&killed, &["--workers", "1"]), &killed);
        if !Path::new(&killed).exists() {
            all(&with(&killed, &[]));
        }
        assert!(contents(&killed) == contents(&whole), "{mode:?}");
    }
}

/// Starts a run and kills it once it has noted how far it is.
fn kill(args: &[String], out: &str) {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut command = command(&args);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let journal = format!("{out}.part/journal.json");
    let until = Instant::now() + Duration::from_secs(60);
    while !Path::new(&journal).exists() && Instant::now() < until {
        if child.try_wait().expect("a child").is_some() {
            break; // done before we looked
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let _ = child.kill();
    child.wait().expect("it ends");
}

#[test]
fn other_settings_do_not_go_on() {
    let folder = dir();
    let input = large(folder.path());
    let out = folder.path().join("out").to_string_lossy().into_owned();
    let failing = ["--save-every", "1", "--max-bad", "0", &input];
    refused(&args(&out, &failing), 2, &["large.jsonl:16001"]);
    let other = ["--seed", "1", "--packing", "stream", &input];
    refused(
        &args(&out, &other),
        2,
        &["seed: 42, 1", "packing", "out.part"],
    );
    good(&args(&out, &[&input]));
    assert!(!folder.path().join("out.part").exists());
    refused(&args(&out, &[&input]), 2, &["exists already"]);
}

#[test]
fn samples_have_the_size_that_was_asked_for() {
    let folder = dir();
    let input = write(&folder.path().join("a.jsonl"), &jsonl(&documents(1000)));
    let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let sample = |out: &str, seed: &str, workers: &str| {
        let more = [
            "--sample-tokens",
            "6400",
            "--seed",
            seed,
            "--workers",
            workers,
            &input,
        ];
        good(&args(&at(out), &more));
        let corpus = Corpus::open(at(out)).expect("a corpus");
        assert_eq!(corpus.blocks(), 200);
        contents(&at(out)).0
    };
    let one = sample("a", "1", "1");
    assert!(one == sample("b", "1", "3"));
    assert!(one != sample("c", "2", "1"));
}

#[test]
fn nonsense_is_refused_and_leaves_nothing() {
    let folder = dir();
    let at = |name: &str| folder.path().join(name);
    let text = jsonl(&documents(50));
    let good_file = write(&at("good.jsonl"), &text);
    let out = at("out").to_string_lossy().into_owned();
    let mut archive = super::data::gz(&text);
    archive.truncate(archive.len() - 20);
    let cut = write(&at("cut.jsonl.gz"), &archive);
    let no_zst = write(&at("no.jsonl.zst"), &text);
    let no_parquet = write(&at("no.parquet"), &text);
    let unknown = write(&at("a.csv"), &text);
    let short = write(&at("short.txt"), b"word");
    for (file, names) in [
        (cut.as_str(), &["cut.jsonl.gz", "truncated"][..]),
        (&no_zst, &["no.jsonl.zst", "cannot be unpacked"]),
        (&no_parquet, &["no.parquet", "cannot be read"]),
        (&unknown, &["a.csv", ".jsonl"]),
        (&short, &["fill no block of 32"]),
        ("/no/such/file.txt", &["/no/such/file.txt"]),
    ] {
        refused(&args(&out, &[file]), 2, names);
    }
    refused(
        &args(&out, &["--sample-tokens", "5", &good_file]),
        2,
        &["--sample-tokens"],
    );
    let nowhere = ["data", "--tokenizer", "/no/such", "--out", &out, &good_file];
    refused(&nowhere, 2, &["/no/such"]);
    let left = std::fs::read_dir(folder.path()).expect("readable");
    let left = left.filter(|e| e.as_ref().is_ok_and(|e| e.path().is_dir()));
    assert_eq!(left.count(), 0, "nothing half-written stays");
    std::fs::write(at("file"), "").expect("written");
}

#[test]
fn a_damaged_folder_is_refused() {
    let folder = dir();
    let input = write(&folder.path().join("a.jsonl"), &jsonl(&documents(100)));
    let out = folder.path().join("out");
    good(&args(&out.to_string_lossy(), &[&input]));
    let shard = out.join("shard-00000.bin");
    let bytes = std::fs::read(&shard).expect("it reads");
    let names = |what: &str| {
        let error = Corpus::open(&out).and_then(|c| c.verify().and_then(|()| c.block(0)));
        let message = error.expect_err("damage is found").to_string();
        assert!(
            message.contains("shard-00000.bin") && message.contains(what),
            "{message}"
        );
    };
    std::fs::write(&shard, &bytes[1..]).expect("written");
    names("bytes");
    let mut other = bytes.clone();
    other[1] = 0xFF;
    std::fs::write(&shard, &other).expect("written");
    names("manifest");
    let error = Corpus::open(&out)
        .and_then(|c| c.block(0))
        .expect_err("no such id");
    assert!(error.to_string().contains("has id"), "{error}");
    std::fs::remove_file(&shard).expect("removed");
    assert_eq!(Corpus::open(&out).err().map(|e| e.exit_code()), Some(2));
    std::fs::write(out.join("manifest.json"), "{}").expect("written");
    let error = Corpus::open(&out).err().expect("no manifest");
    assert!(error.to_string().contains("format"), "{error}");
}
