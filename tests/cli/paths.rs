//! Paths that are wrong (not there, of the wrong kind, too long, links to nothing or to each other): one line and exit
//! code 2 in every command that reads or writes.

use super::{good, refused, small};
use std::os::unix::fs::symlink;
use tempfile::TempDir;

/// Wrong paths, a model, a corpus and its blocks.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().expect("a temporary folder"));
        let model = small::on_disk(&small::whole());
        std::fs::rename(model.path(), place.at("model")).expect("moves");
        std::fs::create_dir(model.path()).expect("something to clean up");
        std::fs::write(place.at("file"), "x").expect("writes");
        std::fs::write(place.at("text.txt"), "Once upon a time.\n".repeat(500)).expect("writes");
        for (name, target) in [("dangling", "nowhere"), ("loop", "pool"), ("pool", "loop")] {
            symlink(target, place.at(name)).expect("links");
        }
        good(&[
            "data",
            "--tokenizer",
            "builtin",
            "--block",
            "16",
            "--out",
            &place.at("data"),
            &place.at("text.txt"),
        ]);
        place
    }

    fn at(&self, name: &str) -> String {
        self.0.path().join(name).to_string_lossy().into_owned()
    }

    /// What nobody can read or write, whatever it should be.
    fn wrong(&self) -> [String; 5] {
        let long = "a".repeat(300);
        ["file/x", "dangling/x", "loop", "loop/x", &long].map(|name| self.at(name))
    }
}

#[test]
fn wrong_paths_to_read_are_bad_input() {
    let place = Place::new();
    let (out, text, data) = (place.at("out"), place.at("text.txt"), place.at("data"));
    let model = place.at("model");
    let absent = [place.at("absent"), place.at("dangling")];
    for path in place.wrong().iter().chain(&absent) {
        for args in [
            &["generate", "-n", "1", "-m", path, "Hi"][..],
            &["generate", "-n", "1", "-f", path],
            &["info", path],
            &["quantize", path, &out],
            &["export", path, &out],
            &["bench", "-m", path],
            &["bench", "--shape", path],
            &[
                "data",
                "--tokenizer",
                path,
                "--block",
                "16",
                "--out",
                &out,
                &text,
            ],
            &[
                "data",
                "--tokenizer",
                "builtin",
                "--block",
                "16",
                "--out",
                &out,
                path,
            ],
            &[
                "train",
                "--from-scratch",
                "-m",
                path,
                "--data",
                &data,
                "--out",
                &out,
            ],
            &[
                "train",
                "-m",
                "builtin",
                "--from-scratch",
                "--data",
                path,
                "--out",
                &out,
            ],
            &[
                "train",
                "-m",
                "builtin",
                "--from-scratch",
                "--data",
                &data,
                "--out",
                &out,
                "--eval",
                path,
            ],
            &["train", "--out", &out, "--config", path],
            &["train", "--out", path, "--resume"],
            &["curves", path],
        ] {
            refused(args, 2, &[path]);
        }
    }
    // folders where files belong, and files where folders do
    for args in [
        &["generate", "-n", "1", "-f", &model][..],
        &["generate", "-n", "1", "-m", &text, "Hi"],
        &["info", &text],
        &["quantize", &text, &out],
        &["export", &text, &out],
        &["bench", "-m", &text],
        &["bench", "--shape", &model],
        &[
            "data",
            "--tokenizer",
            "builtin",
            "--block",
            "16",
            "--out",
            &out,
            &model,
        ],
        &[
            "data",
            "--tokenizer",
            &text,
            "--block",
            "16",
            "--out",
            &out,
            &text,
        ],
        &[
            "train",
            "--from-scratch",
            "-m",
            &text,
            "--data",
            &data,
            "--out",
            &out,
        ],
        &[
            "train",
            "-m",
            "builtin",
            "--from-scratch",
            "--data",
            &text,
            "--out",
            &out,
        ],
        &[
            "train",
            "-m",
            "builtin",
            "--from-scratch",
            "--data",
            &data,
            "--out",
            &out,
            "--eval",
            &model,
        ],
        &["train", "--out", &out, "--config", &model],
        &["curves", &text],
    ] {
        refused(args, 2, &[]);
    }
}

#[test]
fn wrong_paths_to_write_are_bad_input() {
    let place = Place::new();
    let (model, data, text) = (place.at("model"), place.at("data"), place.at("text.txt"));
    let taken = [place.at("file"), place.at("dangling")];
    for path in place.wrong().iter().chain(&taken) {
        for args in [
            &["quantize", &model, path][..],
            &["export", "builtin", path],
            &[
                "data",
                "--tokenizer",
                "builtin",
                "--block",
                "16",
                "--out",
                path,
                &text,
            ],
            &[
                "train",
                "-m",
                "builtin",
                "--from-scratch",
                "--data",
                &data,
                "--out",
                path,
                "--steps",
                "1",
            ],
            &["bench", "--shape", "tinyllama-1.1b", "--save-packed", path],
        ] {
            refused(args, 2, &[path]);
        }
    }
    assert_eq!(std::fs::read(place.at("file")).expect("still there"), b"x");
    assert!(!place.0.path().join("nowhere").exists());
}
