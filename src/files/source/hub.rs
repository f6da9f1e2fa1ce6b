//! What belongs to a model folder although it lies elsewhere: the blobs of a Hugging Face cache.
//!
//! The cache keeps a repository in a folder `models--OWNER--NAME` with `blobs/`, whose files are named by the hash of
//! their content, and `snapshots/COMMIT/`, folders of links into `blobs`. Such links are followed
//!
//! - from a snapshot itself into the `blobs` beside `snapshots`;
//! - from any other folder (a subfolder of a snapshot, a folder that `--local-dir` made of links) when the link leads
//!   to `models--*/blobs/HASH`, directly or through further links. Where `blobs` is a link itself, the file at its
//!   end must have the same HASH for its name.
//!
//! So a folder that somebody else made can point at nothing but files that are named by a hash of 40 or 64 digits: no
//! password, key or document has such a name, and who knows the hash of a file has seen the file.

use std::path::{Component, Path, PathBuf};

/// Links from link to link that are looked at.
const MOST_LINKS: usize = 8;

/// The model folder itself and, if it is a snapshot in the cache (`snapshots/<commit>/`), the `blobs` folder beside
/// `snapshots`, which the snapshot's links point into.
pub(super) fn allowed(real: &Path) -> Vec<PathBuf> {
    let mut allowed = vec![real.to_owned()];
    if let Some(parent) = real.parent()
        && parent.file_name().is_some_and(|name| name == "snapshots")
    {
        allowed.push(parent.with_file_name("blobs"));
    }
    allowed
}

/// Whether the link `path`, whose end is the file `real`, leads to a blob of a cache.
pub(super) fn is_blob_of_cache(path: &Path, real: &Path) -> bool {
    if is_blob(real) {
        return true;
    }
    let mut at = match path.parent().and_then(|folder| folder.canonicalize().ok()) {
        Some(folder) => folder.join(path.file_name().unwrap_or_default()),
        None => return false,
    };
    for _ in 0..MOST_LINKS {
        let (Ok(target), Some(folder)) = (at.read_link(), at.parent()) else {
            return false;
        };
        at = plain(&folder.join(target));
        if is_blob(&at) {
            return at.file_name() == real.file_name();
        }
    }
    false
}

/// Whether a path ends in `models--*/blobs/HASH`.
fn is_blob(path: &Path) -> bool {
    let mut names = path.components().rev().map(|part| match part {
        Component::Normal(name) => name.to_str().unwrap_or_default(),
        _ => "",
    });
    let mut next = || names.next().unwrap_or_default();
    is_hash(next()) && next() == "blobs" && next().starts_with("models--")
}

/// Whether a file is named as the cache names blobs: SHA-1 of git, or SHA-256 of large files.
fn is_hash(name: &str) -> bool {
    let digits = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    matches!(name.len(), 40 | 64) && name.bytes().all(digits)
}

/// `path` without `.` and `..`, as it is written: links are not followed.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_are_told_by_their_place_and_name() {
        let hash = "0123456789abcdef0123456789abcdef01234567";
        let sha256 = "f".repeat(64);
        for (path, blob) in [
            (format!("/c/models--a--b/blobs/{hash}"), true),
            (format!("models--a--b/blobs/{sha256}"), true),
            (format!("/c/models--a--b/blobs/{hash}0"), false),
            (
                format!("/c/models--a--b/blobs/{}", hash.to_uppercase()),
                false,
            ),
            (format!("/c/models--a--b/blobs/sub/{hash}"), false),
            (format!("/c/models--a--b/{hash}"), false),
            (format!("/c/blobs/{hash}"), false),
            (format!("/blobs/{hash}"), false),
            ("/c/models--a--b/blobs/passwd".to_owned(), false),
            ("/c/models--a--b/blobs/..".to_owned(), false),
        ] {
            assert_eq!(is_blob(Path::new(&path)), blob, "{path}");
        }
        assert_eq!(plain(Path::new("/a/./b/../c")), Path::new("/a/c"));
    }
}
