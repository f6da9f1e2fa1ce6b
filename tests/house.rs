//! The house keeps its shape: rooms import from rooms to their left only, files stay of a length that one reads.

use std::path::{Path, PathBuf};

/// The rooms of `src`, left to right: each knows those before it, and none behind it.
const ROOMS: [&str; 19] = [
    "error", "units", "random", "codebook", "fixed", "ops", "backend", "ranks", "model", "files",
    "builtin", "generate", "convert", "evaluate", "train", "quantize", "cli", "web", "docs",
];
/// Lines of a file that nobody should have to read more of.
const MOST_LINES: usize = 400;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below `folder` with this extension.
fn files(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of the repository") {
        let path = entry.expect("an entry of the repository").path();
        if path.is_dir() {
            files(&path, extension, found);
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
}

/// Sources with the room that they are in, and their text without comments.
fn sources() -> Vec<(PathBuf, usize, String)> {
    let mut paths = Vec::new();
    files(&root().join("src"), "rs", &mut paths);
    let mut all = Vec::new();
    for path in paths {
        let inside = path
            .strip_prefix(root().join("src"))
            .expect("it was found there");
        let first = inside.iter().next().expect("a name").to_string_lossy();
        let name = first.trim_end_matches(".rs");
        let text = std::fs::read_to_string(&path).expect("a source of the repository");
        let code = |line: &&str| !line.trim_start().starts_with("//");
        let text = text.lines().filter(code).collect::<Vec<_>>().join("\n");
        match ROOMS.iter().position(|room| *room == name) {
            Some(room) => all.push((path, room, text)),
            None => assert!(
                ["lib", "main"].contains(&name),
                "src/{name} is no room of tests/house.rs"
            ),
        }
    }
    all
}

/// The names that follow `crate::` in a text, those of a list in braces as well.
fn imported(text: &str) -> Vec<&str> {
    let word = |text: &str| {
        text.find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(text.len())
    };
    let mut found = Vec::new();
    for (at, path) in text.match_indices("crate::") {
        let rest = &text[at + path.len()..];
        let Some(list) = rest.strip_prefix('{') else {
            found.push(&rest[..word(rest)]);
            continue;
        };
        let mut depth = 0;
        let ends = list.find(|c| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            depth < 0
        });
        let mut depth = 0;
        let outer = list[..ends.expect("a list ends")].split(|c| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            c == ',' && depth == 0
        });
        found.extend(outer.map(|item| &item.trim()[..word(item.trim())]));
    }
    found
}

#[test]
fn lists_of_imports_are_understood() {
    let text = "use crate::ops::Op; use crate::{error::{Error, Result}, model, Device};";
    assert_eq!(imported(text), ["ops", "error", "model", "Device"]);
}

#[test]
fn imports_point_to_the_left() {
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for (path, room, text) in sources() {
        for name in imported(&text) {
            let Some(other) = ROOMS.iter().position(|room| *room == name) else {
                continue; // what lib.rs re-exports: documentation and tests use it as callers do
            };
            seen += 1;
            if other > room {
                wrong.push(format!(
                    "{}: {} knows nothing of {name}",
                    path.display(),
                    ROOMS[room]
                ));
            }
        }
    }
    assert!(seen > 500, "only {seen} imports were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Only the program prints and reads arguments, and only one room names wgpu.
#[test]
fn rooms_keep_to_their_own() {
    let mut wrong = Vec::new();
    for (path, room, text) in sources() {
        let name = ROOMS[room];
        let tests = text.find("#[cfg(test)]").unwrap_or(text.len());
        let text = if path.ends_with("tests.rs") {
            ""
        } else {
            &text[..tests]
        };
        let mut refuse = |what: &str, others: &[&str]| {
            if text.contains(what) && !others.contains(&name) {
                wrong.push(format!("{} has `{what}`", path.display()));
            }
        };
        for print in ["println!", "eprintln!", "print!(", "eprint!(", "env::args"] {
            refuse(print, &["cli"]);
        }
        refuse("wgpu::", &["backend"]);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_are_of_a_length_that_one_reads() {
    let mut paths = Vec::new();
    for (folder, extension) in [("src", "rs"), ("tests", "rs"), ("shaders", "wgsl")] {
        files(&root().join(folder), extension, &mut paths);
    }
    let long = paths.iter().filter_map(|path| {
        let text = std::fs::read_to_string(path).expect("a file of the repository");
        let lines = text.lines().count();
        (lines > MOST_LINES).then(|| format!("{}: {lines} lines", path.display()))
    });
    let long: Vec<_> = long.collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}
