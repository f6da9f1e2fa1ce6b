//! The cache as it lies on the disk.

use super::name::HubName;
use super::wanted::{self, LONGEST_INDEX, Part};
use crate::files::shards::{INDEX, SINGLE};
use std::fmt;
use std::path::{Path, PathBuf};

/// Digits of a commit.
const COMMIT: usize = 40;

/// What is not in a cache; in words behind the name of the model.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Missing {
    Repository,
    Revision(String),
    File(String),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repository => f.write_str(" is not"),
            Self::Revision(revision) => write!(f, ": revision `{revision}` is not"),
            Self::File(file) => write!(f, ": {file} is not"),
        }
    }
}

/// Whether a revision is a commit.
pub(super) fn is_commit(revision: &str) -> bool {
    revision.len() == COMMIT
        && revision
            .bytes()
            .all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
}

/// Where `part` of a model lies in the cache `root`, if all of it does.
pub(super) fn find(root: &Path, name: &HubName, part: Part) -> Result<PathBuf, Missing> {
    let repository = root.join(name.folder());
    if !repository.is_dir() {
        return Err(Missing::Repository);
    }
    let revision = name.revision();
    let of_ref = || {
        let text = std::fs::read_to_string(repository.join("refs").join(revision)).ok()?;
        Some(text.trim().to_owned()).filter(|commit| is_commit(commit))
    };
    let commit = match is_commit(revision) {
        true => Some(revision.to_owned()),
        false => of_ref(),
    };
    let snapshot = commit.map(|commit| repository.join("snapshots").join(commit));
    let Some(snapshot) = snapshot.filter(|snapshot| snapshot.is_dir()) else {
        return Err(Missing::Revision(revision.to_owned()));
    };
    match name.file() {
        Some(file) => there(&snapshot, file).map(|()| snapshot.join(file)),
        None => whole(&snapshot, part).map(|()| snapshot),
    }
}

/// `OWNER/NAME` of a model that lies in a cache: `models--OWNER--NAME/snapshots/COMMIT`, with or without a file behind it.
pub fn cached_name(path: &Path) -> Option<String> {
    let mut names = path.components().map(|part| part.as_os_str().to_str());
    let folder = names.find_map(|name| name?.strip_prefix("models--"))?;
    let (owner, name) = folder.split_once("--")?;
    let snapshot = names.next()?? == "snapshots" && is_commit(names.next()??);
    snapshot.then(|| format!("{owner}/{name}"))
}

/// Whether a snapshot has all that `part` of a model needs.
fn whole(snapshot: &Path, part: Part) -> Result<(), Missing> {
    there(snapshot, part.first())?;
    if part == Part::Tokenizer || snapshot.join(SINGLE).is_file() {
        return Ok(());
    }
    let Some(index) = index(snapshot) else {
        return Err(Missing::File(SINGLE.to_owned()));
    };
    // One that is no list of shards is refused with its name when the model is opened.
    let shards = wanted::shards(&index).unwrap_or_default();
    shards.iter().try_for_each(|shard| there(snapshot, shard))
}

fn there(snapshot: &Path, file: &str) -> Result<(), Missing> {
    match snapshot.join(file).is_file() {
        true => Ok(()),
        false => Err(Missing::File(file.to_owned())),
    }
}

/// The list of shards of a snapshot.
pub(super) fn index(snapshot: &Path) -> Option<Vec<u8>> {
    let path = snapshot.join(INDEX);
    let short = path.metadata().ok()?.len() <= LONGEST_INDEX as u64;
    short.then(|| std::fs::read(path).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn models_of_a_cache_have_names() {
        let name = |path: &str| cached_name(Path::new(path));
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let folder = format!("/c/models--a--b.c/snapshots/{commit}");
        assert_eq!(name(&folder).as_deref(), Some("a/b.c"));
        assert_eq!(name(&format!("{folder}/x.gguf")).as_deref(), Some("a/b.c"));
        assert_eq!(name(&format!("/c/models--a--b/{commit}")), None);
        assert_eq!(name("/c/models--a--b/snapshots/main"), None);
        assert_eq!(name("/c/llama"), None);
    }

    #[test]
    fn snapshots_are_found_when_they_are_whole() {
        let root = tempfile::tempdir().expect("a folder");
        let name = |text: &str| HubName::of(Path::new(text)).expect("good").expect("a name");
        let find = |text: &str, part| find(root.path(), &name(text), part);
        let file = |file: &str| Err(Missing::File(file.to_owned()));
        let (model, commit) = ("hf:a/b", "0123456789abcdef0123456789abcdef01234567");
        assert_eq!(find(model, Part::Model), Err(Missing::Repository));
        let repository = root.path().join("models--a--b");
        let snapshot = repository.join("snapshots").join(commit);
        let put = |name: &str, text: &str| {
            let path = repository.join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, text).expect("written");
        };
        put("refs/main", commit);
        let none = Err(Missing::Revision("main".to_owned()));
        assert_eq!(find(model, Part::Model), none);
        let put_here = |name: &str, text: &str| put(&format!("snapshots/{commit}/{name}"), text);
        put_here("tokenizer.json", "{}");
        assert_eq!(find(model, Part::Tokenizer), Ok(snapshot.clone()));
        assert_eq!(find(model, Part::Model), file("config.json"));
        put_here("config.json", "{}");
        assert_eq!(find(model, Part::Model), file(SINGLE));
        put_here(
            INDEX,
            r#"{"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}"#,
        );
        put_here("a.safetensors", "");
        assert_eq!(find(model, Part::Model), file("b.safetensors"));
        put_here("b.safetensors", "");
        assert_eq!(find(model, Part::Model), Ok(snapshot.clone()));
        let by_commit = format!("hf:a/b@{commit}");
        assert_eq!(find(&by_commit, Part::Model), Ok(snapshot.clone()));
        put("refs/refs/pr/1", commit);
        assert_eq!(find("hf:a/b@refs/pr/1", Part::Model), Ok(snapshot.clone()));
        assert_eq!(find("hf:a/b/x/q.gguf", Part::Model), file("x/q.gguf"));
        put_here("x/q.gguf", "");
        assert_eq!(
            find("hf:a/b/x/q.gguf", Part::Model),
            Ok(snapshot.join("x/q.gguf"))
        );
        put("refs/bad", "../../elsewhere");
        let none = Err(Missing::Revision("bad".to_owned()));
        assert_eq!(find("hf:a/b@bad", Part::Model), none);
    }
}
