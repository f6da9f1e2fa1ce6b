//! Packed folders that are written where something is already, or by two at once, or by one who is killed.

use super::packed::{W2, model, names, packed_layer, to, write};
use super::refused;
use fairy2i_gpu::files::staging::Destination;
use fairy2i_gpu::files::{self, export, packed};
use fairy2i_gpu::model::{Dtype, Method};
use std::path::Path;

#[test]
fn nothing_half_written_stays() {
    let opened = model(|_| {});
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("packed");
    let create =
        || packed::Writer::create(&to(&out), opened.original(), W2, packed::SHARD_BYTES).unwrap();
    let first = &opened.config.linears()[0];
    drop(create());
    assert!(names(dir.path()).is_empty());
    refused(create().finish(), &["was never written"]);
    assert!(names(dir.path()).is_empty());
    let mut writer = create();
    let layer = packed_layer(W2, first);
    refused(
        writer.linear("model.layers.9.mlp.up_proj", &layer),
        &["was not planned"],
    );
    let mut bad = layer.clone();
    bad.codes.pop();
    refused(writer.linear(&first.prefix, &bad), &["planned were"]);
    bad = layer.clone();
    bad.scales[1] = f32::NAN;
    refused(
        writer.linear(&first.prefix, &bad),
        &["negative or not finite"],
    );
    bad = layer;
    bad.method = Method::Binary;
    refused(writer.linear(&first.prefix, &bad), &["another recipe"]);
    assert_eq!(names(dir.path()).len(), 2, "the folder and its lock");
    drop(writer);
    assert!(names(dir.path()).is_empty());
}

/// Names of the files of a packed folder of the test model.
const WRITTEN: [&str; 4] = [
    ".fairy2i-gpu.json",
    "config.json",
    "model.safetensors",
    "tokenizer.json",
];

#[test]
fn leftovers_of_killed_runs_are_no_obstacle() {
    let (opened, dir) = (model(|_| {}), tempfile::tempdir().unwrap());
    let at = |name: &str| dir.path().join(name);
    let again = || write(&opened, W2, &at("out"), 1 << 30);
    again().unwrap();
    // Killed while writing: a folder that is only marked, and a lock that nobody holds.
    std::fs::create_dir(at("out.fairy2i-tmp")).unwrap();
    std::fs::copy(
        at("out/.fairy2i-gpu.json"),
        at("out.fairy2i-tmp/.fairy2i-gpu.json"),
    )
    .unwrap();
    std::fs::write(at("out.fairy2i-tmp/model.safetensors"), b"half").unwrap();
    std::fs::write(at("out.fairy2i-lock"), b"").unwrap();
    // Killed between the two renamings: the old folder comes back, and is not replaced without a word.
    std::fs::rename(at("out"), at("out.fairy2i-old")).unwrap();
    refused(again(), &["not empty"]);
    assert_eq!(names(dir.path()), ["out"]);
    assert_eq!(names(&at("out")), WRITTEN);
    // Others' folders that are called like that stay.
    for name in ["out.fairy2i-tmp", "out.fairy2i-old"] {
        std::fs::remove_dir_all(at("out")).unwrap();
        std::fs::create_dir(at(name)).unwrap();
        std::fs::write(at(name).join("mine"), b"").unwrap();
        refused(again(), &[name, "mine"]);
        std::fs::remove_file(at(name).join("mine")).unwrap();
        again().unwrap();
        assert_eq!(names(dir.path()), ["out"]);
    }
}

#[test]
fn two_writers_do_not_meet() {
    let (opened, dir) = (model(|_| {}), tempfile::tempdir().unwrap());
    let out = dir.path().join("out");
    let create = || packed::Writer::create(&to(&out), opened.original(), W2, packed::SHARD_BYTES);
    let first = create().unwrap();
    refused(create(), &["another process is writing"]);
    drop(first);
    drop(create().unwrap());
    assert!(names(dir.path()).is_empty());
}

#[test]
fn folders_in_use_are_not_replaced_unless_forced() {
    let opened = model(|_| {});
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    std::fs::create_dir(&out).unwrap();
    write(&opened, W2, &out, 10_000).unwrap(); // it was empty
    refused(write(&opened, W2, &out, 10_000), &["not empty"]);
    let forced_by = |out: &Path, command: &str| {
        let forced = Destination {
            replace: true,
            ..Destination::new(out, command)
        };
        let mut w = packed::Writer::create(&forced, opened.original(), W2, packed::SHARD_BYTES)?;
        for linear in opened.config.linears() {
            w.linear(&linear.prefix, &packed_layer(W2, &linear))?;
        }
        w.finish()
    };
    let forced = |out: &Path| forced_by(out, "quantize");
    let replaced = forced(&out).unwrap().expect("something was there");
    let told = replaced.to_string();
    assert!(
        told.contains("out") && told.contains("`quantize`"),
        "{told}"
    );
    assert_eq!(names(&out), WRITTEN);
    assert_eq!(names(dir.path()), ["out"]);
    // What came later is not ours to delete, nor what another command wrote, nor what was changed.
    refused(forced_by(&out, "export"), &["by `quantize`"]);
    std::fs::write(out.join("notes.txt"), b"").unwrap();
    refused(forced(&out), &["notes.txt"]);
    std::fs::remove_file(out.join("notes.txt")).unwrap();
    std::fs::write(out.join("tokenizer.json"), b"{}").unwrap();
    refused(forced(&out), &["tokenizer.json", "changed"]);
    std::fs::remove_file(out.join(".fairy2i-gpu.json")).unwrap();
    refused(forced(&out), &["config.json", "no .fairy2i-gpu.json"]);
    // A folder with other things is never deleted.
    let home = dir.path().join("home");
    std::fs::create_dir(&home).unwrap();
    std::fs::write(home.join("thesis.txt"), b"").unwrap();
    refused(forced(&home), &["thesis.txt"]);
    refused(forced(&home.join("thesis.txt")), &["not a folder"]);
    assert_eq!(names(&home), ["thesis.txt"]);
    // Nor one that something was put into while it was being replaced.
    let late = dir.path().join("late");
    let writer = packed::Writer::create(&to(&late), opened.original(), W2, 1 << 30);
    let mut writer = writer.unwrap();
    for linear in opened.config.linears() {
        writer
            .linear(&linear.prefix, &packed_layer(W2, &linear))
            .unwrap();
    }
    std::fs::create_dir(&late).unwrap();
    std::fs::write(late.join("thesis.txt"), b"").unwrap();
    refused(writer.finish(), &["thesis.txt"]);
    assert_eq!(names(&late), ["thesis.txt"]);
}

#[test]
fn a_model_is_never_its_own_destination() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("a/model");
    write(&model(|_| {}), W2, &folder, 1 << 30).unwrap();
    let opened = files::open(&folder).unwrap();
    let before = names(&folder);
    for out in ["a/model", "a/model/new", "a", "a/../a/model/", "a/model/."] {
        let out = dir.path().join(out);
        let to = Destination {
            replace: true,
            ..Destination::new(&out, "quantize")
        };
        let (recipe, shard) = (opened.recipe.as_ref(), export::SHARD_BYTES);
        let made = export::Writer::create(&to, opened.original(), recipe, Dtype::F16, shard);
        refused(made, &["a/model, which is read"]);
    }
    assert_eq!(names(&folder), before);
    assert_eq!(names(dir.path()), ["a"]);
}
