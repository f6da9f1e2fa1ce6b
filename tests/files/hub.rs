//! Links that folders of the Hugging Face cache are made of, and links that lead elsewhere.

use super::refused;
use super::small::{on_disk, whole};
use fairy2i_gpu::files;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Name of the blob number `i`, as git hashes are.
fn hash(i: usize) -> String {
    format!("{i:040x}")
}

/// The model as the cache keeps it: `name/snapshots/abc/{sub}` with links to `name/blobs`. Returns that folder.
fn cached(root: &Path, name: &str, sub: &str) -> PathBuf {
    let blobs = root.join(name).join("blobs");
    let snapshot = root.join(name).join("snapshots/abc").join(sub);
    fs::create_dir_all(&blobs).unwrap();
    fs::create_dir_all(&snapshot).unwrap();
    let up = if sub.is_empty() {
        "../../"
    } else {
        "../../../"
    };
    for (i, (file, bytes)) in whole().iter().enumerate() {
        fs::write(blobs.join(hash(i)), bytes).unwrap();
        symlink(format!("{up}blobs/{}", hash(i)), snapshot.join(file)).unwrap();
    }
    snapshot
}

#[test]
fn all_layouts_of_the_cache_are_read() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    assert!(files::open(cached(root.path(), "models--a--b", "")).is_ok());
    let sub = cached(root.path(), "models--a--c", "step100");
    assert!(files::open(&sub).is_ok());
    // Blobs that were moved to another disk, behind a link.
    let moved = cached(root.path(), "models--a--d", "");
    let moved_sub = cached(root.path(), "models--a--d", "sub");
    fs::rename(at("models--a--d/blobs"), at("disk2")).unwrap();
    symlink("../disk2", at("models--a--d/blobs")).unwrap();
    assert!(files::open(&moved).is_ok());
    assert!(files::open(&moved_sub).is_ok());
    // A folder of links, as --local-dir made it: to blobs, to blobs behind a link, to a snapshot.
    for (i, from) in [&sub, &moved].into_iter().enumerate() {
        for (j, through) in [false, true].into_iter().enumerate() {
            let local = at(&format!("local{i}{j}"));
            fs::create_dir(&local).unwrap();
            for entry in fs::read_dir(from).unwrap() {
                let link = entry.unwrap();
                if link.path().is_dir() {
                    continue; // a model of its own
                }
                let target = match through {
                    true => link.path(),
                    false => from.join(fs::read_link(link.path()).unwrap()),
                };
                symlink(target, local.join(link.file_name())).unwrap();
            }
            assert!(files::open(&local).is_ok(), "{i} {j}");
        }
    }
    // The folder itself may be behind a link.
    symlink(&sub, at("shortcut")).unwrap();
    assert!(files::open(at("shortcut")).is_ok());
}

#[test]
fn links_to_anything_but_blobs_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let secret = root.path().join("secret");
    fs::create_dir(&secret).unwrap();
    let bytes = &whole()["model.safetensors"];
    fs::write(secret.join("model.safetensors"), bytes).unwrap();
    fs::write(secret.join(hash(7)), bytes).unwrap();
    // Somebody else's folders that pretend to be caches.
    let pretend = |name: &str, blobs: &str, target: &str| {
        let folder = root.path().join(name).join("snapshots/abc/sub");
        fs::create_dir_all(&folder).unwrap();
        symlink(&secret, root.path().join(name).join(blobs)).unwrap();
        let config = &whole()["config.json"];
        fs::write(folder.join("config.json"), config).unwrap();
        symlink(target, folder.join("model.safetensors")).unwrap();
        folder
    };
    let hash = hash(7);
    for (name, blobs, target) in [
        (
            "models--x--a",
            "blobs",
            "../../../blobs/model.safetensors".to_owned(),
        ),
        ("models--x--b", "other", format!("../../../other/{hash}")),
        ("x", "blobs", format!("../../../blobs/{hash}")),
        (
            "models--x--c",
            "blobs",
            format!("{}/{hash}", secret.display()),
        ),
        ("models--x--d", "blobs", "/etc/passwd".to_owned()),
        (
            "models--x--e",
            "blobs",
            format!("../../../blobs/../secret/{hash}"),
        ),
    ] {
        let folder = pretend(name, blobs, &target);
        refused(
            files::open(&folder),
            &["model.safetensors", "outside the model folder"],
        );
    }
    // A blob that is a link to a file of another name.
    let folder = cached(root.path(), "models--x--f", "sub");
    let blob = root.path().join("models--x--f/blobs").join(self::hash(1));
    fs::remove_file(&blob).unwrap();
    symlink(secret.join("model.safetensors"), blob).unwrap();
    refused(files::open(&folder), &["outside the model folder"]);
    // A circle ends.
    let folder = on_disk(&whole());
    let file = folder.path().join("model.safetensors");
    fs::remove_file(&file).unwrap();
    symlink("model.safetensors", &file).unwrap();
    refused(files::open(folder.path()), &["model.safetensors"]);
}
