//! One file of a repository: fetched into its blob, checked, and linked from its snapshot.

use super::client::{Answer, Client, Failure, Remote};
use super::name::HubName;
use crate::error::{Error, Result};
use crate::files::digest::hex;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Attempts without one byte before we give up.
const MOST_TRIES: u32 = 5;
/// Bytes that are read at once.
const CHUNK: usize = 1 << 18;

/// How many refs this process has written.
static REFS: AtomicU64 = AtomicU64::new(0);

/// The cache of one repository, at one commit.
pub(super) struct Store<'n> {
    name: &'n HubName,
    root: PathBuf,
    locks: PathBuf,
    commit: String,
}

impl<'n> Store<'n> {
    pub(super) fn new(cache: &Path, name: &'n HubName, commit: String) -> Self {
        Self {
            name,
            root: cache.join(name.folder()),
            locks: cache.join(".locks").join(name.folder()),
            commit,
        }
    }

    pub(super) fn commit(&self) -> &str {
        &self.commit
    }

    /// The folder of links.
    pub(super) fn snapshot(&self) -> PathBuf {
        self.root.join("snapshots").join(&self.commit)
    }

    fn blob(&self, remote: &Remote) -> PathBuf {
        self.root.join("blobs").join(&remote.etag)
    }

    fn incomplete(&self, remote: &Remote) -> PathBuf {
        let blobs = self.root.join("blobs");
        blobs.join(format!("{}.incomplete", remote.etag))
    }

    /// Whether a file is there.
    pub(super) fn has(&self, file: &str) -> bool {
        self.snapshot().join(file).is_file()
    }

    /// Bytes of a file that are not here yet.
    pub(super) fn left(&self, remote: &Remote) -> u64 {
        if self.has(&remote.file) || self.blob(remote).is_file() {
            return 0;
        }
        remote.size.saturating_sub(length(&self.incomplete(remote)))
    }

    /// Fetches what is not here of a file, and puts it into the snapshot. `told` hears how many bytes are here.
    pub(super) fn take(
        &self,
        client: &Client<'_>,
        remote: &Remote,
        told: &mut dyn FnMut(u64),
    ) -> Result<()> {
        if self.has(&remote.file) {
            return Ok(());
        }
        let (blob, incomplete) = (self.blob(remote), self.incomplete(remote));
        folder_of(&incomplete)?;
        let _lock = self.lock(remote)?;
        // Another program may have fetched it while this one waited.
        if !blob.is_file() {
            let mut file = append_to(&incomplete)?;
            self.complete(client, remote, (&mut file, &incomplete), told)?;
            file.sync_all().map_err(|e| Error::io(&incomplete, e))?;
            drop(file);
            check(remote, &incomplete)?;
            fs::rename(&incomplete, &blob).map_err(|e| Error::io(&blob, e))?;
        }
        told(remote.size);
        self.link(remote)
    }

    /// Holds others off a blob, as `huggingface_hub` does. The operating system lets go when we end, however that is.
    fn lock(&self, remote: &Remote) -> Result<File> {
        let path = self.locks.join(format!("{}.lock", remote.etag));
        folder_of(&path)?;
        let file = append_to(&path)?;
        match file.lock() {
            Err(e) if e.kind() != ErrorKind::Unsupported => Err(Error::io(&path, e)),
            _ => Ok(file),
        }
    }

    /// Fetches until the file is whole; a broken connection is taken up again where it broke.
    fn complete(
        &self,
        client: &Client<'_>,
        remote: &Remote,
        (file, path): (&mut File, &Path),
        told: &mut dyn FnMut(u64),
    ) -> Result<()> {
        let failed = |e| Error::io(path, e);
        let mut tries = 0;
        loop {
            let have = file.metadata().map_err(failed)?.len();
            if have == remote.size {
                return Ok(());
            }
            let from = if have < remote.size { have } else { 0 };
            let error = match client.open(self.name, remote, from) {
                Err(Failure::Lasting(error)) => return Err(error),
                Err(Failure::Passing(error)) => error,
                Ok(answer) => {
                    let end = append(answer, from, remote.size, file, told).map_err(failed)?;
                    if end == remote.size {
                        return Ok(());
                    }
                    // While bytes come, trying is worth it; a server that begins anew each time would never end.
                    if end > from && from > 0 {
                        tries = 0;
                    }
                    let what = format!("the connection broke at byte {end}; try again");
                    Error::io(&remote.url, std::io::Error::other(what))
                }
            };
            tries += 1;
            if tries == MOST_TRIES {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(100 << tries));
        }
    }

    /// Makes the link from the snapshot to the blob, as a path from one to the other.
    fn link(&self, remote: &Remote) -> Result<()> {
        let pointer = self.snapshot().join(&remote.file);
        folder_of(&pointer)?;
        let up = "../".repeat(2 + remote.file.matches('/').count());
        let target = format!("{up}blobs/{}", remote.etag);
        match symlink(&target, &pointer) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists && pointer.is_file() => Ok(()),
            // Where the system lets us make no links, the snapshot has the file itself.
            Err(_) if cfg!(not(unix)) => {
                fs::rename(self.blob(remote), &pointer).map_err(|e| Error::io(&pointer, e))
            }
            made => made.map_err(|e| Error::io(&pointer, e)),
        }
    }

    /// Notes that a revision is this commit.
    pub(super) fn remember(&self, revision: &str) -> Result<()> {
        let path = self.root.join("refs").join(revision);
        let known = || fs::read_to_string(&path).is_ok_and(|commit| commit == self.commit);
        if revision == self.commit || known() {
            return Ok(());
        }
        folder_of(&path)?;
        let failed = |e| Error::io(&path, e);
        // Others may be about to write the same, elsewhere in this process, too.
        let number = REFS.fetch_add(1, Ordering::Relaxed);
        let beside = path.with_file_name(format!(".{}-{number}.tmp", std::process::id()));
        fs::write(&beside, &self.commit).map_err(failed)?;
        fs::rename(&beside, &path).map_err(failed)
    }
}

#[cfg(unix)]
fn symlink(target: &str, pointer: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, pointer)
}

#[cfg(windows)]
fn symlink(target: &str, pointer: &Path) -> std::io::Result<()> {
    std::os::windows::fs::symlink_file(target.replace('/', "\\"), pointer)
}

#[cfg(not(any(unix, windows)))]
fn symlink(_: &str, _: &Path) -> std::io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}

/// Bytes of a file; 0 where there is none.
fn length(path: &Path) -> u64 {
    path.metadata().map_or(0, |m| m.len())
}

fn folder_of(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))
}

fn append_to(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    let options = options.create(true).append(true).read(true);
    options.open(path).map_err(|e| Error::io(path, e))
}

/// Appends an answer to the bytes before `from`, or puts it in their place if it begins with the first byte. Returns how
/// long the file is then.
///
/// # Errors
/// Those of the file. A connection that breaks is only an end.
fn append(
    answer: Answer,
    from: u64,
    size: u64,
    file: &mut File,
    told: &mut dyn FnMut(u64),
) -> std::io::Result<u64> {
    let mut length = match answer.first {
        first if first == from => from,
        0 => 0,
        _ => return Ok(from), // other bytes than those asked for
    };
    file.set_len(length)?;
    let mut body = answer.body.into_reader().take(size - length);
    let mut buffer = vec![0; CHUNK];
    loop {
        match body.read(&mut buffer) {
            Ok(0) => return Ok(length),
            Ok(n) => {
                file.write_all(&buffer[..n])?;
                length += n as u64;
                told(length);
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Ok(length),
        }
    }
}

/// Whether a file is what its etag says: SHA-256, or git's SHA-1 of a blob. What is not is thrown away.
fn check(remote: &Remote, path: &Path) -> Result<()> {
    let is = match remote.etag.len() {
        64 => hashed(Sha256::new(), path)?,
        40 => {
            let mut hasher = Sha1::new();
            hasher.update(format!("blob {}\0", remote.size));
            hashed(hasher, path)?
        }
        _ => return Ok(()),
    };
    if is == remote.etag {
        return Ok(());
    }
    let _ = fs::remove_file(path); // what stays is found wrong again
    Err(Error::file(
        &remote.url,
        format!("has hash {is}, not {}", remote.etag),
        "it was thrown away; fetch it again",
    ))
}

fn hashed(mut hasher: impl Digest, path: &Path) -> Result<String> {
    let failed = |e| Error::io(path, e);
    let mut file = File::open(path).map_err(failed)?;
    let mut buffer = vec![0; CHUNK];
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(hex(&hasher.finalize())),
            n => hasher.update(&buffer[..n]),
        }
    }
}
