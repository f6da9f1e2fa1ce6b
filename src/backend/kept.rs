//! Files that are kept from run to run in the user's cache folder.

use std::path::Path;

/// The bytes of `path`, if it is there and has no more than `longest`.
pub(crate) fn read(path: &Path, longest: u64) -> Option<Vec<u8>> {
    let short = std::fs::metadata(path).ok()?.len() <= longest;
    short.then(|| std::fs::read(path).ok())?
}

/// Replaces `path` as a whole, and makes its folder: who reads at the same time sees the old file or the new one.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let done = std::fs::write(&temporary, bytes).and_then(|()| std::fs::rename(&temporary, path));
    if done.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    done
}
