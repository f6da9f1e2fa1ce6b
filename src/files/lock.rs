//! One writer at a time: locks that the operating system holds, and lets go of when a process ends, however it ends.

use crate::error::{Error, Result};
use same_file::Handle;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A lock that this process holds until the value is dropped. The file is empty and says nothing: one that a killed
/// process left behind is locked by nobody and is no obstacle.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Takes the lock at `path`, where a file is made for it. `None` when it is held already, by another process or
    /// elsewhere in this one. On a file system that has no locks, everybody gets one.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be made.
    pub fn take(path: &Path) -> Result<Option<Self>> {
        loop {
            let mut options = OpenOptions::new();
            let options = options.read(true).write(true).create(true).truncate(false);
            let file = options.open(path).map_err(|e| Error::io(path, e))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(e)) if e.kind() == ErrorKind::Unsupported => {}
                Err(TryLockError::Error(e)) => return Err(Error::io(path, e)),
            }
            // The one who had the lock removes the file at the end. If that was between our opening and our locking,
            // we hold a file that nobody else will find.
            if still_at(&file, path).map_err(|e| Error::io(path, e))? {
                let path = path.to_owned();
                return Ok(Some(Self { path, _file: file }));
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is still locked, so that nobody locks what is about to go. If it stays, it does no harm.
        let _ = fs::remove_file(&self.path);
    }
}

/// Whether `path` still leads to `file`.
fn still_at(file: &File, path: &Path) -> std::io::Result<bool> {
    let ours = Handle::from_file(file.try_clone()?)?;
    match Handle::from_path(path) {
        Ok(theirs) => Ok(ours == theirs),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn a_lock_is_held_once_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        fs::write(&path, b"").unwrap(); // as a killed process leaves it
        let lock = Lock::take(&path).unwrap().expect("nobody has it");
        assert!(Lock::take(&path).unwrap().is_none());
        drop(lock);
        assert!(!path.exists());
        drop(Lock::take(&path).unwrap().expect("it is free again"));
    }

    /// Threads take the lock and let it go, which removes the file each time; no two ever have it together.
    #[test]
    fn removing_the_file_lets_nobody_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let (inside, taken) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while taken.load(Ordering::SeqCst) < 500 {
                        let Some(lock) = Lock::take(&path).unwrap() else {
                            continue;
                        };
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        taken.fetch_add(1, Ordering::SeqCst);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(lock);
                    }
                });
            }
        });
    }
}
