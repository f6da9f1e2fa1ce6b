//! Nothing of the user's is lost: no command writes over, into or above what it reads, nor over what it did not write.

use super::data::{args, dir, documents, jsonl, write};
use super::{good, refused, run};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A model of 260,000 parameters with its tokenizer, in `folder`.
pub fn model(folder: &Path) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    copy(&root.join("tests/data/models/stories260k"), folder);
    folder.to_string_lossy().into_owned()
}

/// Copies a folder as `cp -r` does.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder is made");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry").path();
        let target = to.join(entry.file_name().expect("a name"));
        match entry.is_dir() {
            true => copy(&entry, &target),
            false => drop(std::fs::copy(&entry, &target).expect("a file is copied")),
        }
    }
}

/// All that is in a folder, links not followed.
pub fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let kind = std::fs::symlink_metadata(&path).expect("it is there");
        if kind.is_dir() {
            all.extend(contents(&path));
            all.insert(path, b"folder".to_vec());
        } else if kind.is_symlink() {
            all.insert(path, b"link".to_vec());
        } else {
            let bytes = std::fs::read(&path).expect("it reads");
            all.insert(path, bytes);
        }
    }
    all
}

/// Refused in one line that holds `names`, and nothing in `folder` has changed.
#[track_caller]
pub fn untouched(folder: &Path, args: &[&str], names: &[&str]) {
    let before = contents(folder);
    refused(args, 2, names);
    let after = contents(folder);
    let differs = |path: &&PathBuf| before.get(*path) != after.get(*path);
    let changed: Vec<_> = before.keys().chain(after.keys()).filter(differs).collect();
    assert!(changed.is_empty(), "{args:?} touched {changed:?}");
}

#[test]
fn quantize_and_export_keep_off_what_they_read() {
    let folder = dir();
    let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let input = model(&folder.path().join("a/model"));
    let packed = at("b/packed");
    good(&["quantize", &input, &packed]);
    let mut outs = vec![
        ("a/model", " is "),
        ("a/model/", " is "),
        ("a/../a/model", " is "),
        ("a/model/packed", "lies inside"),
        ("a/model/deep/er", "lies inside"),
        ("a", "holds"),
        (".", "holds"),
    ];
    if cfg!(unix) {
        #[cfg(unix)]
        for (to, link) in [("a/model", "alias"), ("a", "above")] {
            std::os::unix::fs::symlink(folder.path().join(to), folder.path().join(link))
                .expect("a link");
        }
        outs.extend([("alias", " is "), ("alias/x", "lies inside")]);
        outs.extend([("above", "holds"), ("above/model", " is ")]);
    }
    for (out, how) in outs {
        for force in [&["--force"][..], &[]] {
            let out = at(out);
            let quantize = [&["quantize", &input, &out][..], force].concat();
            untouched(folder.path(), &quantize, &[how, "which is read"]);
        }
        let export = ["export", &input, &at(out), "--stages", "2", "--force"];
        untouched(folder.path(), &export, &[how, "which is read"]);
    }
    for out in ["b/packed", "b", "b/packed/plain"] {
        let export = ["export", &packed, &at(out), "--force"];
        untouched(folder.path(), &export, &["which is read"]);
    }
    // What is needed beside OUT while it is written is no input either.
    let sibling = at("c.fairy2i-tmp");
    model(Path::new(&sibling));
    let quantize = ["quantize", &sibling, &at("c"), "--force"];
    untouched(
        folder.path(),
        &quantize,
        &["c.fairy2i-tmp", "which is read"],
    );
    let shape = at("d/config.json");
    copy(Path::new(&input), Path::new(&at("d")));
    for out in ["d", "d/config.json"] {
        let save = ["bench", "--shape", &shape, "--save-packed", &at(out)];
        untouched(folder.path(), &save, &["which is read"]);
    }
}

#[test]
fn force_replaces_only_what_the_same_command_wrote() {
    let folder = dir();
    let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let input = model(&folder.path().join("model"));
    let (packed, plain) = (at("packed"), at("plain"));
    good(&["quantize", &input, &packed]);
    good(&["export", &packed, &plain]);
    refused(&["quantize", &input, &packed], 2, &["packed", "--force"]);
    let again = ["quantize", &input, &packed, "--stages", "1", "--force"];
    let done = run(&again);
    assert_eq!(done.code, 0, "{}", done.stderr);
    for word in ["replaced", packed.as_str(), "`quantize`"] {
        assert!(done.stderr.contains(word), "{word}: {}", done.stderr);
    }
    let quiet = run(&["quantize", &input, &at("new")]);
    assert!(!quiet.stderr.contains("replaced"), "{}", quiet.stderr);
    // A copy is as good as what it was copied from.
    copy(Path::new(&packed), &folder.path().join("copy"));
    good(&["quantize", &input, &at("copy"), "--force"]);

    let to_plain = ["quantize", &input, &plain, "--force"];
    untouched(folder.path(), &to_plain, &["plain", "`export`"]);
    let other = at("other");
    model(Path::new(&other));
    untouched(
        folder.path(),
        &["export", &packed, &other, "--force"],
        &["other", "config.json"],
    );
    std::fs::create_dir(at("project")).expect("a folder");
    write(Path::new(&at("project/config.json")), b"{}");
    write(Path::new(&at("project/thesis.txt")), b"x");
    let project = ["quantize", &input, &at("project"), "--force"];
    untouched(folder.path(), &project, &["project", "thesis.txt"]);
    for (name, bytes) in [("notes.txt", &b"mine"[..]), ("config.json", b"{}")] {
        let file = at(&format!("copy/{name}"));
        let before = std::fs::read(&file).ok();
        write(Path::new(&file), bytes);
        let copy = ["quantize", &input, &at("copy"), "--force"];
        untouched(folder.path(), &copy, &["copy", name]);
        match before {
            Some(bytes) => std::fs::write(&file, bytes).expect("restored"),
            None => std::fs::remove_file(&file).expect("removed"),
        }
    }
    good(&["quantize", &input, &at("copy"), "--force"]);
    let names: Vec<String> = std::fs::read_dir(folder.path())
        .expect("a folder")
        .map(|e| {
            e.expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .filter(|n| n.contains("fairy2i"))
        .collect();
    assert!(names.is_empty(), "{names:?}");
}

#[test]
fn data_keeps_off_what_it_reads_and_did_not_write() {
    let folder = dir();
    let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let tokenizer = model(&folder.path().join("model"));
    let text = jsonl(&documents(200));
    std::fs::create_dir_all(at("text.part")).expect("a folder");
    let inside = write(&folder.path().join("text.part/a.jsonl"), &text);
    let input = write(&folder.path().join("a.jsonl"), &text);
    let data = |file: &str, out: &str| -> Vec<String> {
        let out = at(out);
        let all = ["data", "--tokenizer", &tokenizer, "--block", "32"];
        let more = ["--out", &out, file];
        all.into_iter().chain(more).map(str::to_owned).collect()
    };
    let untouched = |all: Vec<String>, names: &[&str]| {
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        untouched(folder.path(), &all, names);
    };
    for (file, out, names) in [
        (&input, "a.jsonl", &["a.jsonl", "which is read"][..]),
        (&input, ".", &["which is read"]),
        (&input, "model", &["model", "which is read"]),
        (&input, "model/data", &["lies inside", "which is read"]),
        (&inside, "text", &["text.part", "which is read"]),
        (&inside, "text.part", &["which is read"]),
        // Not read, and not ours.
        (&input, "text", &["text.part", "a.jsonl"]),
    ] {
        untouched(data(file, out), names);
    }
    std::fs::create_dir_all(at("other.part")).expect("a folder");
    for name in ["journal.json", "notes.json", "shard-00000.bin"] {
        let file = write(&folder.path().join("other.part").join(name), b"{}");
        untouched(data(&input, "other"), &["other.part", name]);
        std::fs::remove_file(file).expect("removed");
    }
    // What was put beside a run that stopped stays, and is named.
    let long = [&jsonl(&documents(2000)).repeat(4), &b"no\n"[..]].concat();
    let bad = write(&folder.path().join("bad.jsonl"), &long);
    let stopped = at("stopped");
    let failing = ["--save-every", "1", "--max-bad", "0", &bad];
    refused(&args(&stopped, &failing), 2, &["bad.jsonl"]);
    let thesis = write(&folder.path().join("stopped.part/thesis.txt"), b"mine");
    let again = args(&stopped, &[&bad]);
    let owned = again.iter().map(|&a| a.to_owned()).collect();
    untouched(owned, &["stopped.part", "thesis.txt"]);
    std::fs::remove_file(thesis).expect("removed");
    good(&again);
}
