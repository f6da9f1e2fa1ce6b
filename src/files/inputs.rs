//! What a command reads, so that nothing is written over it, into it, or above it.

use super::json::show;
use crate::error::{Error, Result};
use same_file::Handle;
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Files and folders that are read, as long as a command runs. Every writer of this crate asks them first, whatever
/// it is allowed to replace.
#[derive(Debug, Clone, Default)]
pub struct Inputs(Vec<Input>);

#[derive(Debug, Clone)]
struct Input {
    /// As the caller names it.
    shown: String,
    /// Where it really is, and where the link to it is.
    places: Vec<PathBuf>,
}

impl Inputs {
    /// Nothing is read.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// All of `paths`, as [`Inputs::add`] takes them.
    pub fn of(paths: impl IntoIterator<Item = impl AsRef<Path>>) -> Self {
        let paths = paths.into_iter();
        paths.fold(Self::new(), |all, path| all.with(path.as_ref()))
    }

    /// Adds a file or a folder, with the targets of the links in that folder. What does not exist is left out:
    /// whoever opens it will say so.
    pub fn add(&mut self, path: &Path) {
        if fs::symlink_metadata(path).is_err() {
            return;
        }
        let mut places = Vec::new();
        places.extend(dunce::canonicalize(path));
        // A link is lost as well if the folder that holds it is replaced.
        if let Some(name) = path.file_name()
            && let Ok(parent) = dunce::canonicalize(parent(path))
        {
            places.push(parent.join(name));
        }
        if let Ok(entries) = fs::read_dir(path) {
            let links = entries.flatten();
            let links = links.filter(|e| e.file_type().is_ok_and(|t| t.is_symlink()));
            places.extend(links.flat_map(|e| dunce::canonicalize(e.path())));
        }
        places.sort();
        places.dedup();
        let shown = show(&path.to_string_lossy());
        self.0.push(Input { shown, places });
    }

    /// The same with one more.
    #[must_use]
    pub fn with(mut self, path: &Path) -> Self {
        self.add(path);
        self
    }

    /// Refuses to write to `out`, which need not exist, where that is something that is read, lies inside it or holds
    /// it. Links, `..`, other spellings and several mounts of the same folder make no difference.
    ///
    /// # Errors
    /// [`Error::Usage`] naming both.
    pub fn keep_off(&self, out: &Path) -> Result<()> {
        let real = resolve(out);
        let above_out = identities(&real);
        for input in &self.0 {
            for place in &input.places {
                let how = match relation(&real, &above_out, place) {
                    Relation::Apart => continue,
                    Relation::Same => "is",
                    Relation::Inside => "lies inside",
                    Relation::Above => "holds",
                };
                let out = show(&out.to_string_lossy());
                return Err(Error::usage(
                    format!("{out} {how} {}, which is read", input.shown),
                    "write somewhere else",
                ));
            }
        }
        Ok(())
    }
}

enum Relation {
    Apart,
    Same,
    Inside,
    Above,
}

/// How `out` (with the identities of itself and the folders above it) lies to `place`.
fn relation(out: &Path, above_out: &[Option<Handle>], place: &Path) -> Relation {
    let above_place = identities(place);
    let same = |a: &Option<Handle>, b: &Option<Handle>| a.is_some() && a == b;
    let within = |folder: &[Option<Handle>], all: &[Option<Handle>]| {
        let first = folder.first().unwrap_or(&None);
        all.iter().skip(1).any(|one| same(first, one))
    };
    if out == place || same(&above_out[0], &above_place[0]) {
        Relation::Same
    } else if out.starts_with(place) || within(&above_place, above_out) {
        Relation::Inside
    } else if place.starts_with(out) || within(above_out, &above_place) {
        Relation::Above
    } else {
        Relation::Apart
    }
}

/// What the system knows `path` and the folders above it by; `None` for one that does not exist.
fn identities(path: &Path) -> Vec<Option<Handle>> {
    let identity = |path: &Path| {
        // Opening a pipe would wait for its other end.
        let kind = fs::metadata(path).ok()?;
        let known = kind.is_dir() || kind.is_file();
        known.then(|| Handle::from_path(path).ok())?
    };
    path.ancestors().map(identity).collect()
}

/// Where `path` is or would be: links followed as far as it exists, `..` taken out of the rest.
pub(super) fn resolve(path: &Path) -> PathBuf {
    let mut rest: Vec<OsString> = Vec::new();
    let mut known = path;
    loop {
        let start = match known.as_os_str().is_empty() {
            true => Path::new("."),
            false => known,
        };
        if let Ok(mut real) = dunce::canonicalize(start) {
            for part in rest.iter().rev() {
                match part == ".." {
                    true => drop(real.pop()),
                    false => real.push(part),
                }
            }
            return real;
        }
        match known.components().next_back() {
            Some(Component::Normal(part)) => rest.push(part.to_owned()),
            Some(Component::ParentDir) => rest.push("..".into()),
            _ => return path.to_owned(),
        }
        known = known.parent().unwrap_or(Path::new(""));
    }
}

/// The folder that holds `path`.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(inputs: &Inputs, out: &Path) -> String {
        let error = inputs.keep_off(out).expect_err("it is refused");
        assert_eq!(error.exit_code(), 2);
        error.to_string()
    }

    #[test]
    fn over_into_and_above_are_refused_under_any_name() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("a/model")).unwrap();
        fs::create_dir(at("a/other")).unwrap();
        fs::write(at("a/text.txt"), b"x").unwrap();
        let inputs = Inputs::new()
            .with(&at("a/model"))
            .with(&at("a/text.txt"))
            .with(&at("a/absent"));
        for (out, how) in [
            ("a/model", " is "),
            ("a/model/", " is "),
            ("a/other/../model", " is "),
            ("a/new/../model", " is "),
            ("a/model/new", "lies inside"),
            ("a/model/new/deeper", "lies inside"),
            ("a", "holds"),
            ("a/other/..", "holds"),
            ("a/text.txt", " is "),
        ] {
            let message = refused(&inputs, &at(out));
            assert!(message.contains(how), "{out}: {message}");
        }
        for out in ["a/other", "a/new", "a/modelled", "a/model2/model", "b"] {
            inputs.keep_off(&at(out)).expect(out);
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_lead_to_what_is_read() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["model", "blobs", "snapshot", "links"] {
            fs::create_dir(at(name)).unwrap();
        }
        fs::write(at("blobs/1"), b"x").unwrap();
        symlink(at("blobs/1"), at("snapshot/model.safetensors")).unwrap();
        symlink(at("model"), at("alias")).unwrap();
        symlink(at("model"), at("links/model")).unwrap();
        let inputs = Inputs::new().with(&at("model")).with(&at("snapshot"));
        assert!(refused(&inputs, &at("alias")).contains(" is "));
        assert!(refused(&inputs, &at("alias/new")).contains("lies inside"));
        assert!(refused(&inputs, &at("blobs")).contains("holds"));
        assert!(refused(&inputs, &at("blobs/1")).contains("snapshot"));
        // What is named through a link is lost when the link is.
        let through = Inputs::new().with(&at("links/model"));
        assert!(refused(&through, &at("links")).contains("holds"));
        assert!(refused(&through, &at("model")).contains(" is "));
        inputs.keep_off(&at("links")).expect("only a link");
    }
}
