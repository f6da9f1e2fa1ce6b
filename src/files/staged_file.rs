//! Single files that appear whole or not at all, as folders do: written beside their place, synced, and renamed.
//!
//! While the file OUT is written, `OUT.fairy2i-lock` is locked and `OUT.fairy2i-tmp` holds what is done. What a killed
//! process leaves of these is cleared away by the next one; a file of such a name that is somebody else's is never touched.

use super::inputs::Inputs;
use super::lock::Lock;
use super::staging::{beside, followed, occupied, parent, sync_folder};
use crate::error::{Error, Result};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// A file to be written, and what has to stay.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    /// The file.
    pub(super) out: &'a Path,
    /// Whether a file that `ours` recognizes is replaced; nothing else ever is.
    pub(super) replace: bool,
    /// Whether this program wrote a file that nobody has changed since.
    pub(super) ours: fn(&Path) -> bool,
    /// Whether this program began to write a file.
    pub(super) begun: fn(&Path) -> bool,
    /// What is read meanwhile.
    pub(super) inputs: &'a Inputs,
}

impl Place<'_> {
    /// Refuses at once what [`StagedFile::begin`] would refuse, and makes nothing.
    ///
    /// # Errors
    /// Those of [`StagedFile::begin`].
    pub(super) fn check(&self) -> Result<()> {
        self.paths().map(drop)
    }

    fn paths(&self) -> Result<Paths> {
        let (shown, out) = followed(self.out, "file")?;
        let paths = Paths {
            shown,
            tmp: beside(&out, "tmp"),
            lock: beside(&out, "lock"),
            out,
        };
        self.inputs.keep_off(self.out)?;
        self.inputs.keep_off(&paths.tmp)?;
        self.inputs.keep_off(&paths.lock)?;
        paths.vacant(self.ours, self.replace)?;
        paths.leftover(self.begun)?;
        Ok(paths)
    }
}

/// A file and what stands beside it for a while.
#[derive(Debug)]
struct Paths {
    /// The file as the caller names it.
    shown: String,
    out: PathBuf,
    tmp: PathBuf,
    lock: PathBuf,
}

impl Paths {
    /// Refuses a place where something is that may not be replaced; returns whether something is there that may.
    fn vacant(&self, ours: fn(&Path) -> bool, replace: bool) -> Result<bool> {
        let refused = |what: &str, replaceable| Error::Occupied {
            path: self.shown.clone(),
            what: what.to_owned(),
            replaceable,
        };
        let Ok(there) = fs::symlink_metadata(&self.out) else {
            return Ok(false);
        };
        match there.is_file() && ours(&self.out) {
            true if replace => Ok(true),
            true => Err(refused("is there already", true)),
            false if there.is_dir() => Err(refused("is a folder", false)),
            false => Err(refused("is there already", false)),
        }
    }

    /// Whether a killed process left a file; refuses what no process of ours left.
    fn leftover(&self, begun: fn(&Path) -> bool) -> Result<bool> {
        let Ok(there) = fs::symlink_metadata(&self.tmp) else {
            return Ok(false);
        };
        // A process may be killed between making a file and writing to it.
        match there.is_file() && (there.len() == 0 || begun(&self.tmp)) {
            true => Ok(true),
            false => {
                let what = "is in the way: it is no file of ours".to_owned();
                Err(occupied(&self.tmp, what, false))
            }
        }
    }
}

/// A file being written. Dropped before [`StagedFile::commit`], it leaves nothing behind.
#[derive(Debug)]
pub(super) struct StagedFile {
    paths: Paths,
    replace: bool,
    ours: fn(&Path) -> bool,
    file: File,
    _lock: Lock,
}

impl StagedFile {
    /// Starts writing a file. Links are followed; what is replaced stays until the very end.
    ///
    /// # Errors
    /// [`Error::Usage`] where it is something that is read, or lies in it, and when another process writes it;
    /// [`Error::Occupied`] when something is there that may not be replaced; [`Error::Io`] when it cannot be made.
    pub(super) fn begin(place: &Place<'_>) -> Result<Self> {
        let paths = place.paths()?;
        if let Some(parent) = parent(&paths.out) {
            fs::create_dir_all(parent).map_err(|e| Error::io(&paths.shown, e))?;
        }
        let Some(lock) = Lock::take(&paths.lock)? else {
            let what = format!("another process is writing {}", paths.shown);
            return Err(Error::usage(what, "wait for it, or choose another file"));
        };
        if paths.leftover(place.begun)? {
            fs::remove_file(&paths.tmp).map_err(|e| Error::io(&paths.tmp, e))?;
        }
        // Once more: the process that held the lock before may have finished in between.
        paths.vacant(place.ours, place.replace)?;
        let file = File::create_new(&paths.tmp).map_err(|e| Error::io(&paths.tmp, e))?;
        Ok(Self {
            paths,
            replace: place.replace,
            ours: place.ours,
            file,
            _lock: lock,
        })
    }

    /// What is written so far, at any place in it.
    pub(super) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Where it is until then.
    pub(super) fn path(&self) -> &Path {
        &self.paths.tmp
    }

    /// The error of writing to it.
    pub(super) fn failed(&self, error: std::io::Error) -> Error {
        Error::io(&self.paths.shown, error)
    }

    /// Puts the file in its place.
    ///
    /// # Errors
    /// [`Error::Occupied`] when something came to be there meanwhile, [`Error::Io`].
    pub(super) fn commit(self) -> Result<()> {
        self.file.sync_all().map_err(|e| self.failed(e))?;
        let replaced = self.paths.vacant(self.ours, self.replace)?;
        let Paths { out, tmp, .. } = &self.paths;
        let placed = match replaced {
            true => fs::rename(tmp, out),
            // A link fails where a file has appeared this very moment, which renaming would replace. Not every file system
            // has links.
            false => fs::hard_link(tmp, out).or_else(|e| match out.exists() {
                true => Err(e),
                false => fs::rename(tmp, out),
            }),
        };
        placed.map_err(|e| self.failed(e))?;
        match parent(out) {
            Some(parent) => sync_folder(parent),
            None => Ok(()),
        }
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        // It is gone already where it was renamed; another error is on its way to the user otherwise.
        let _ = fs::remove_file(&self.paths.tmp);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn ours(path: &Path) -> bool {
        fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"ours"))
    }

    fn begin(out: &Path, replace: bool) -> Result<StagedFile> {
        StagedFile::begin(&Place {
            out,
            replace,
            ours,
            begun: ours,
            inputs: &Inputs::new(),
        })
    }

    fn write(out: &Path, replace: bool, bytes: &[u8]) -> Result<()> {
        let mut staged = begin(out, replace)?;
        staged.file().write_all(bytes).expect("it is written");
        staged.commit()
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder").flatten();
        let mut names: Vec<_> = entries
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_of_the_temporary_name_is_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let (out, tmp) = (folder.path().join("a"), folder.path().join("a.fairy2i-tmp"));
        fs::write(&tmp, b"precious").expect("written");
        for replace in [false, true] {
            let error = write(&out, replace, b"ours 1").expect_err("it is in the way");
            assert!(error.to_string().contains("a.fairy2i-tmp"), "{error}");
            assert_eq!(fs::read(&tmp).expect("it is there"), b"precious");
        }
        for left in [&b"ours, half"[..], b""] {
            fs::write(&tmp, left).expect("written");
            write(&out, true, b"ours 2").expect("it was left by a killed process");
            assert_eq!(names(folder.path()), ["a"]);
        }
    }

    #[test]
    fn what_appears_meanwhile_is_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path().join("a");
        for replace in [false, true] {
            let mut staged = begin(&out, replace).expect("nothing is there");
            staged.file().write_all(b"ours").expect("written");
            fs::write(&out, b"precious").expect("written");
            staged.commit().expect_err("it is in the way");
            assert_eq!(fs::read(&out).expect("it is there"), b"precious");
            assert_eq!(names(folder.path()), ["a"]);
            fs::remove_file(&out).expect("removed");
        }
    }

    #[test]
    fn one_process_writes_at_a_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path().join("new/a");
        let first = begin(&out, false).expect("nothing is there");
        let error = begin(&out, false).expect_err("the first one writes");
        assert!(error.to_string().contains("another process"), "{error}");
        drop(first);
        write(&out, false, b"ours").expect("nobody writes");
        assert_eq!(names(&folder.path().join("new")), ["a"]);
        let error = write(folder.path(), true, b"ours").expect_err("a folder is there");
        assert!(error.to_string().contains("is a folder"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::write(at("real"), b"ours").expect("written");
        symlink("real", at("link")).expect("a link");
        write(&at("link"), true, b"ours, new").expect("it is replaced");
        assert_eq!(fs::read(at("real")).expect("it is there"), b"ours, new");
        symlink("nowhere", at("lost")).expect("a link");
        write(&at("lost"), true, b"ours").expect_err("it leads nowhere");
        // A temporary name that is a link leads to a file of somebody.
        symlink("real", at("b.fairy2i-tmp")).expect("a link");
        write(&at("b"), true, b"ours").expect_err("it is in the way");
        assert_eq!(
            names(folder.path()),
            ["b.fairy2i-tmp", "link", "lost", "real"]
        );
    }
}
