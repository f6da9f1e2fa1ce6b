//! What is text in the files that people pass, and what is not: byte order marks, other encodings, archives with
//! something behind them, numbers that JSON does not have.

use super::data::{args, contents, dir, documents, gz, jsonl, write};
use super::{calibrate::MODEL, command, finish, good, json, refused, run, run_with};
use serde_json::Value;
use std::path::Path;

const MARK: &[u8] = b"\xef\xbb\xbf";

fn marked(bytes: &[u8]) -> Vec<u8> {
    [MARK, bytes].concat()
}

fn zst(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

fn utf16(text: &str, big: bool) -> Vec<u8> {
    let units = format!("\u{feff}{text}");
    let bytes = |u: u16| {
        if big {
            u.to_be_bytes()
        } else {
            u.to_le_bytes()
        }
    };
    units.encode_utf16().flat_map(bytes).collect()
}

/// A folder of data from one file, and what the program said.
fn made(file: &str, bytes: &[u8], more: &[&str]) -> (Vec<Vec<u8>>, Value, String) {
    let folder = dir();
    let input = write(&folder.path().join(file), bytes);
    let out = folder.path().join("out").to_string_lossy().into_owned();
    let run = run(&args(&out, &[&[&*input][..], more].concat()));
    assert_eq!(run.code, 0, "{file}: {}", run.stderr);
    let (files, mut manifest) = contents(&out);
    manifest["settings"] = Value::Null;
    (
        files.into_values().collect(),
        manifest["counts"].clone(),
        run.stderr,
    )
}

#[test]
fn byte_order_marks_are_no_text_of_documents() {
    let texts = documents(40);
    let lines = jsonl(&texts);
    let (text, by_line) = (texts.join("\n").into_bytes(), &["--text-unit", "line"][..]);
    for (name, plain, more) in [
        ("a.jsonl", &lines, &[][..]),
        ("a.txt", &text, &[]),
        ("a.txt", &text, by_line),
    ] {
        let want = made(name, plain, more);
        assert_eq!(want.2, "");
        let with = marked(plain);
        assert!(made(name, &with, more) == want, "{name}");
        assert!(
            made(&format!("{name}.gz"), &gz(&with), more) == want,
            "{name}.gz"
        );
        assert!(
            made(&format!("{name}.zst"), &zst(&with), more) == want,
            "{name}.zst"
        );
    }
    // Files that were joined have one in the middle.
    let half = texts.len() / 2;
    let joined = [
        marked(&jsonl(&texts[..half])),
        marked(&jsonl(&texts[half..])),
    ]
    .concat();
    assert!(made("a.jsonl", &joined, &[]) == made("a.jsonl", &lines, &[]));
}

#[test]
fn utf_16_is_refused_by_name() {
    let folder = dir();
    let out = folder.path().join("out").to_string_lossy().into_owned();
    for big in [true, false] {
        let text = utf16(&"{\"text\": \"Once upon a time\"}\n".repeat(50), big);
        for (name, bytes) in [
            ("a.txt", text.clone()),
            ("a.jsonl", text.clone()),
            ("a.jsonl.gz", gz(&text)),
            ("a.txt.zst", zst(&text)),
        ] {
            let input = write(&folder.path().join(name), &bytes);
            refused(&args(&out, &[&input]), 2, &[name, "UTF-16"]);
            if name == "a.txt" {
                refused(&["generate", "-f", &input], 2, &[name, "UTF-16"]);
            }
        }
        let run = run_with(&["generate"], &text);
        assert_eq!((run.code, &*run.stdout), (2, ""));
        assert!(
            run.stderr.contains("standard input: is text in UTF-16"),
            "{}",
            run.stderr
        );
    }
}

#[test]
fn byte_order_marks_are_no_text_of_prompts() {
    let folder = dir();
    let ids = |args: &[&str]| {
        let all = [&["generate", "--json", "-n", "0"][..], args].concat();
        json(&all)["prompt_ids"].clone()
    };
    let want = ids(&["Once upon a time"]);
    let bytes = marked(b"Once upon a time\r\n");
    let file = write(&folder.path().join("p.txt"), &bytes);
    assert_eq!(ids(&["-f", &file]), want);
    for args in [&[][..], &["-"], &["-f", "-"]] {
        let run = run_with(
            &[&["generate", "--json", "-n", "0"][..], args].concat(),
            &bytes,
        );
        let answer: Value = serde_json::from_str(&run.stdout).expect(&run.stderr);
        assert_eq!(answer["prompt_ids"], want);
    }
    let empty = write(&folder.path().join("e.txt"), MARK);
    assert_eq!(
        ids(&["-f", &empty]),
        json(&["generate", "--json", "-n", "0", ""])["prompt_ids"]
    );
}

/// The files of a small model with byte order marks before all that is JSON.
#[test]
fn byte_order_marks_are_no_json_and_no_toml() {
    let mut files = super::small::sharded();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/models/stories260k");
    let read = |name: &str| std::fs::read(root.join(name)).expect("a test file");
    files.insert("tokenizer.json".to_owned(), read("tokenizer.json"));
    files.insert(
        "tokenizer_config.json".to_owned(),
        br#"{"bos_token": "<s>"}"#.to_vec(),
    );
    files.insert(
        "generation_config.json".to_owned(),
        br#"{"eos_token_id": [2, 3]}"#.to_vec(),
    );
    files.insert("added_tokens.json".to_owned(), br#"{"<s>": 1}"#.to_vec());
    let greedy = |files| {
        let folder = super::small::on_disk(files);
        let model = folder.path().to_string_lossy().into_owned();
        json(&[
            "generate", "--json", "--temp", "0", "-n", "8", "-m", &model, "a",
        ])["ids"]
            .clone()
    };
    let want = greedy(&files);
    let mut with = files.clone();
    for (name, bytes) in &mut with {
        if name.ends_with(".json") {
            *bytes = marked(bytes);
        }
    }
    assert_eq!(greedy(&with), want);
    for name in files.keys().filter(|name| name.ends_with(".json")) {
        let mut other = files.clone();
        let text = String::from_utf8(files[name].clone()).expect("JSON");
        other.insert(name.clone(), utf16(&text, false));
        let folder = super::small::on_disk(&other);
        let model = folder.path().to_string_lossy().into_owned();
        refused(&["generate", "-m", &model, "a"], 2, &[name, "UTF-16"]);
    }
}

#[test]
fn numbers_that_json_does_not_have_lose_no_line() {
    let texts = documents(40);
    let line = |d: &String| {
        let text = serde_json::to_string(d).expect("a string");
        format!(
            "{{\"score\": NaN, \"text\": {text}, \"more\": [-Infinity, {{\"a\": Infinity}}]}}\n"
        )
    };
    let lines: String = texts.iter().map(line).collect();
    assert!(made("a.jsonl", lines.as_bytes(), &[]) == made("a.jsonl", &jsonl(&texts), &[]));
}

#[test]
fn archives_end_as_gzip_ends_them() {
    let lines = jsonl(&documents(40));
    let want = made("a.jsonl", &lines, &[]);
    let (a, b) = lines.split_at(lines.len() / 3);
    for padded in [
        [&gz(&lines)[..], &[0; 512]].concat(),
        [&gz(a)[..], &gz(b)].concat(),
        [&gz(a)[..], &[0; 300_000], &gz(b), &[0]].concat(),
    ] {
        assert!(made("a.jsonl.gz", &padded, &[]) == want);
    }
    let folder = dir();
    let out = folder.path().join("out").to_string_lossy().into_owned();
    for (behind, names) in [
        (&b"garbage"[..], "cannot be unpacked"),
        (b"\0\0garbage", "cannot be unpacked"),
        (&gz(b)[..20], "truncated"),
    ] {
        let bytes = [&gz(a)[..], behind].concat();
        let input = write(&folder.path().join("a.jsonl.gz"), &bytes);
        refused(&args(&out, &[&input]), 2, &["a.jsonl.gz", names]);
    }
    let empty = write(&folder.path().join("a.jsonl.gz"), b"");
    refused(&args(&out, &[&empty]), 2, &["a.jsonl.gz", "truncated"]);
}

#[test]
fn lines_of_a_text_that_are_not_utf_8_are_told_and_left_out() {
    for (name, lines, more) in [
        ("a.txt", 10, &[][..]),
        // beyond the first piece of a file that is read in pieces
        ("a.txt", 60_000, &[]),
        ("a.txt.gz", 60_000, &[]),
        ("a.txt", 60_000, &["--text-unit", "line"]),
    ] {
        let text = b"a good line of text\n".repeat(lines);
        let bad = [&text[..], b"abc\xff\nmore\n"].concat();
        let good = [&text[..], b"more\n"].concat();
        let packed = |bytes: &[u8]| {
            if name.ends_with("gz") {
                gz(bytes)
            } else {
                bytes.to_vec()
            }
        };
        let (files, counts, notes) = made(name, &packed(&bad), more);
        let want = made(name, &packed(&good), more);
        assert!(files == want.0, "{name}, {lines} lines");
        assert_eq!(counts["text_bytes"], want.1["text_bytes"]);
        assert_eq!((&counts["bad"], &want.1["bad"]), (&1.into(), &0.into()));
        let notes: Vec<&str> = notes.lines().collect();
        assert_eq!(notes.len(), 1, "{notes:?}");
        let place = format!("{name}:{}: not UTF-8 at byte 3", lines + 1);
        assert!(notes[0].contains(&place), "{place} is not in {}", notes[0]);
    }
}

/// Data and arguments to measure texts with, in a run of one step that changes nothing.
fn measuring(folder: &Path) -> impl Fn(&[&str]) -> Vec<String> {
    let text = write(&folder.join("corpus.jsonl"), &jsonl(&documents(100)));
    let data = folder.join("data").to_string_lossy().into_owned();
    good(&[
        "data",
        "--tokenizer",
        MODEL,
        "--block",
        "16",
        "--out",
        &data,
        &text,
    ]);
    let out = folder.join("run").to_string_lossy().into_owned();
    move |files| {
        let _ = std::fs::remove_dir_all(&out);
        let mut args = vec![
            "train",
            "-m",
            MODEL,
            "--from-scratch",
            "--out",
            &out,
            "--data",
            &data,
        ];
        args.extend([
            "--method",
            "full",
            "--steps",
            "1",
            "--lr",
            "0",
            "--micro-batch",
            "1",
            "--eval",
        ]);
        args.extend(files);
        args.into_iter().map(str::to_owned).collect()
    }
}

#[test]
fn texts_are_measured_whatever_they_are_packed_in_and_called() {
    let folder = dir();
    let args = measuring(folder.path());
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("a")).expect("a folder");
    std::fs::create_dir(at("b")).expect("a folder");
    let text = documents(12).join(" ");
    let other = documents(40)[20..].join(" ");
    let one = jsonl(std::slice::from_ref(&text));
    let files = [
        write(&at("a/val.txt"), text.as_bytes()),
        write(&at("b/val.txt"), other.as_bytes()),
        write(&at("marked.raw"), &marked(text.as_bytes())),
        write(&at("packed.txt.gz"), &gz(text.as_bytes())),
        write(&at("frames.zst"), &zst(text.as_bytes())),
        write(&at("lines.jsonl"), &one),
        write(&at("lines.jsonl.gz"), &gz(&one)),
        super::data::parquet(&at("rows.parquet"), &[text], false),
    ];
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let run = finish(command(
        &args(&files).iter().map(String::as_str).collect::<Vec<_>>(),
    ));
    assert_eq!(run.code, 0, "{}", run.stderr);
    let records = std::fs::read_to_string(at("run/metrics.jsonl")).expect("it reads");
    let record: Value =
        serde_json::from_str(records.lines().last().expect("a line")).expect("JSON");
    let measured = record["validation"].as_object().expect("perplexities");
    let value = |name: &str| measured[name].as_f64().expect(name);
    let same = [
        "a/val",
        "marked",
        "packed",
        "frames",
        "lines.jsonl",
        "lines.jsonl.gz",
        "rows",
    ];
    for name in same {
        assert_eq!(value(name), value("a/val"), "{name}");
    }
    assert_ne!(value("b/val"), value("a/val"));
    assert_eq!(measured.len(), 8, "{measured:?}");
    let plot = std::fs::read_to_string(at("run/curves.svg")).expect("it reads");
    assert!(plot.contains("a/val") && plot.contains("b/val"));
    let run_folder = at("run").to_string_lossy().into_owned();
    assert!(good(&["curves", &run_folder, "--text", "b/val"]).contains("perplexity of b/val"));
}

#[test]
fn what_is_no_text_is_not_measured() {
    let folder = dir();
    let args = measuring(folder.path());
    let at = |name: &str| folder.path().join(name);
    let text = documents(12).join("\n");
    let latin: Vec<u8> = text
        .bytes()
        .map(|b| if b == b'a' { 0xE9 } else { b })
        .collect();
    let zeros = [text.as_bytes(), b"\n\0\0\0\0binary\0"].concat();
    let line = text.lines().count() + 1;
    let random: Vec<u8> = (0..3000u32)
        .map(|i| (i.wrapping_mul(0x9E37_79B1) >> 13) as u8)
        .collect();
    for (name, bytes, names) in [
        (
            "latin1.txt",
            latin.clone(),
            &["latin1.txt:1", "not UTF-8"][..],
        ),
        (
            "latin1.txt.gz",
            gz(&latin),
            &["latin1.txt.gz:1", "not UTF-8"],
        ),
        (
            "zeros.txt",
            zeros.clone(),
            &["zeros.txt", &format!(":{line}: "), "no text"],
        ),
        ("zeros", zeros, &["zeros", "no text"]),
        ("random.txt", random.clone(), &["random.txt"]),
        ("random.gz", gz(&random), &["random.gz"]),
        (
            "not-packed.gz",
            text.clone().into_bytes(),
            &["not-packed.gz", "cannot be unpacked"],
        ),
        (
            "packed.txt",
            gz(text.as_bytes()),
            &["packed.txt:1", "not UTF-8"],
        ),
        ("wide.txt", utf16(&text, false), &["wide.txt", "UTF-16"]),
        (
            "bad.jsonl",
            b"{\"text\": \"a\"}\n{\"other\": 1}\n".to_vec(),
            &["bad.jsonl:2", "no field"],
        ),
        ("empty.txt", Vec::new(), &["empty.txt", "fills no block"]),
    ] {
        let file = write(&at(name), &bytes);
        let all = args(&[&file]);
        refused(
            &all.iter().map(String::as_str).collect::<Vec<_>>(),
            2,
            names,
        );
    }
}
