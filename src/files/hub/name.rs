//! What a model of the hub is called.

use crate::error::{Error, Result};
use crate::files::json::show;
use std::path::{Component, Path};

/// What the name of a model of the hub begins with.
const SCHEME: &str = "hf:";
/// The revision where none is named.
const MAIN: &str = "main";
/// Longest owner or name.
const LONGEST: usize = 96;

/// A model of the hub: `hf:OWNER/NAME`, `hf:OWNER/NAME/FILE.gguf`, either with `@REVISION`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubName {
    owner: String,
    name: String,
    file: Option<String>,
    revision: Option<String>,
}

impl HubName {
    /// The model that a path names; `None` for a path of the file system.
    ///
    /// # Errors
    /// [`Error::Usage`] for what begins with `hf:` and is no name.
    pub fn of(path: &Path) -> Result<Option<Self>> {
        let Some(text) = path.to_str().and_then(|text| text.strip_prefix(SCHEME)) else {
            return Ok(None);
        };
        match Self::parsed(text) {
            Some(name) => Ok(Some(name)),
            None => Err(Error::usage(
                format!("`{SCHEME}{}` names no model of the hub", show(text)),
                "write hf:OWNER/NAME, hf:OWNER/NAME@REVISION or hf:OWNER/NAME/FILE.gguf",
            )),
        }
    }

    fn parsed(text: &str) -> Option<Self> {
        let (path, revision) = match text.split_once('@') {
            Some((path, revision)) => (path, Some(revision)),
            None => (text, None),
        };
        let mut parts = path.splitn(3, '/');
        let (owner, name, file) = (parts.next()?, parts.next()?, parts.next());
        let gguf = |file: &str| is_relative(file) && file.to_lowercase().ends_with(".gguf");
        let good = is_word(owner)
            && is_word(name)
            && file.is_none_or(gguf)
            && revision.is_none_or(is_relative);
        good.then(|| Self {
            owner: owner.to_owned(),
            name: name.to_owned(),
            file: file.map(str::to_owned),
            revision: revision.map(str::to_owned),
        })
    }

    /// `OWNER/NAME`.
    pub fn id(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }

    /// The file, where one of several is named.
    pub fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }

    /// A branch, a tag, a commit or a pull request (`refs/pr/1`).
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or(MAIN)
    }

    /// The folder of its cache.
    pub(super) fn folder(&self) -> String {
        format!("models--{}--{}", self.owner, self.name)
    }
}

impl std::fmt::Display for HubName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.owner, self.name)?;
        if let Some(file) = &self.file {
            write!(f, "/{file}")?;
        }
        match &self.revision {
            Some(revision) => write!(f, "@{revision}"),
            None => Ok(()),
        }
    }
}

/// Whether the hub would take it for an owner or a name. A cache's folder tells them apart by two dashes.
fn is_word(text: &str) -> bool {
    let good = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    let edge = |c: char| matches!(c, '-' | '.');
    (1..=LONGEST).contains(&text.len())
        && text.bytes().all(good)
        && !text.starts_with(edge)
        && !text.ends_with(edge)
        && !text.contains("--")
        && !text.contains("..")
}

/// Whether it is a path that stays within its folder, of characters that need no care in a folder or an address.
pub(super) fn is_relative(text: &str) -> bool {
    let good = |c: u8| c.is_ascii_alphanumeric() || b"-_.+/=".contains(&c);
    let normal = |part| matches!(part, Component::Normal(_));
    let path = Path::new(text);
    !text.is_empty()
        && text.bytes().all(good)
        && !text.ends_with('/')
        && path.components().all(normal)
        && path.components().count() == text.split('/').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_paths() {
        let of = |text: &str| HubName::of(Path::new(text)).expect("a name or a path");
        for path in ["model", "./hf:a/b", "/x/y", "HF:a/b", ""] {
            assert_eq!(of(path), None, "{path}");
        }
        let name = of("hf:meta-llama/Llama-2-7b-hf").expect("a name");
        assert_eq!(name.id(), "meta-llama/Llama-2-7b-hf");
        assert_eq!(name.folder(), "models--meta-llama--Llama-2-7b-hf");
        assert_eq!((name.file(), name.revision()), (None, "main"));
        let name = of("hf:a/b_c.d/sub/x-Q4_K.GGUF@refs/pr/1").expect("a name");
        assert_eq!(
            (name.file(), name.revision()),
            (Some("sub/x-Q4_K.GGUF"), "refs/pr/1")
        );
        assert_eq!(name.to_string(), "hf:a/b_c.d/sub/x-Q4_K.GGUF@refs/pr/1");
    }

    #[test]
    fn what_leads_elsewhere_is_no_name() {
        for bad in [
            "hf:",
            "hf:a",
            "hf:a/",
            "hf:/b",
            "hf:a/b/",
            "hf:a/b/c",
            "hf:a/b/config.json",
            "hf:../b",
            "hf:a/..",
            "hf:a/b@",
            "hf:a/b@../x",
            "hf:a/b@/x",
            "hf:a/b@x/../y",
            "hf:a/b@x//y",
            "hf:a/b@x y",
            "hf:a/b@x?y",
            "hf:a--b/c",
            "hf:a/b--c",
            "hf:a/.b",
            "hf:a/b.",
            "hf:a b/c",
            "hf:a/b/../x.gguf",
            "hf:a/b//x.gguf",
            "hf:a/b\\c",
            "hf:a/b@x\ny",
        ] {
            let error = HubName::of(Path::new(bad)).expect_err(bad);
            assert_eq!(error.exit_code(), 2);
            assert!(!error.to_string().contains('\n'), "{error}");
        }
    }
}
