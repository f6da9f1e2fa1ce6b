//! Compiled pipelines on disk, where the driver can hand them out (Vulkan): keyed by adapter and driver.
//!
//! A cache may be missing, old, damaged or on a read-only disk: whatever happens to it, pipelines are compiled as if it
//! were not there, so nothing here is an error.

use crate::backend::kept;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// Bytes of the checksum in front of the driver's data: drivers trust these data.
const SUM: usize = 32;
/// Largest file that is read; real ones have a few megabytes.
const LONGEST: u64 = 256 << 20;

/// Pipelines a driver has compiled, in this run or before.
pub(super) struct Cache {
    /// The handle that pipelines are created with.
    pub handle: wgpu::PipelineCache,
    path: PathBuf,
    changed: bool,
}

/// Name of the cache's file for this adapter, driver and version of the kernels; `None` where there is no cache.
pub(super) fn file_name(adapter: &wgpu::Adapter) -> Option<String> {
    if !adapter.features().contains(wgpu::Features::PIPELINE_CACHE) {
        return None;
    }
    let key = wgpu::util::pipeline_cache_key(&adapter.get_info())?;
    let who = identity(adapter);
    Some(format!("{key}_{who}_{}.bin", env!("CARGO_PKG_VERSION")))
}

/// Name of the file that keeps what autotuning chose for this adapter, graphics interface and driver.
pub(super) fn tuning_file(adapter: &wgpu::Adapter) -> String {
    let api = format!("{:?}", adapter.get_info().backend).to_lowercase();
    format!("{api}-{}.tuning.json", identity(adapter))
}

/// The adapter and its driver, as part of a file's name.
fn identity(adapter: &wgpu::Adapter) -> String {
    let info = adapter.get_info();
    let who = format!("{} {} {}", info.name, info.driver, info.driver_info);
    let who = who
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '.')
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join("-")
        .to_lowercase();
    // drivers describe themselves at length; file names end at 255 bytes
    who[..who.len().min(120)].to_owned()
}

impl Cache {
    /// The cache `name` in `folder`, empty if there is none yet that can be used.
    pub(super) fn open(device: &wgpu::Device, folder: &Path, name: &str) -> Self {
        let path = folder.join(name);
        let data = read(&path);
        let descriptor = wgpu::PipelineCacheDescriptor {
            label: Some(name),
            data: data.as_deref(),
            fallback: true,
        };
        // SAFETY: the data were returned by `get_data` (the checksum says that they are whole); wgpu compares adapter
        // and driver, and falls back to an empty cache.
        #[allow(unsafe_code)]
        let handle = unsafe { device.create_pipeline_cache(&descriptor) };
        Self {
            handle,
            path,
            changed: false,
        }
    }

    /// Notes that a pipeline was compiled, which the file may not have.
    pub(super) fn touch(&mut self) {
        self.changed = true;
    }

    /// Writes the file anew if it lacks something.
    pub(super) fn save(&mut self) {
        if !std::mem::take(&mut self.changed) {
            return;
        }
        let Some(data) = self.handle.get_data() else {
            return;
        };
        if read(&self.path).as_ref() == Some(&data) {
            return; // everything was in it already
        }
        let mut bytes = Sha256::digest(&data).to_vec();
        bytes.extend(data);
        let _ = kept::write(&self.path, &bytes);
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.save();
    }
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let bytes = kept::read(path, LONGEST)?;
    let (sum, data) = bytes.split_at_checked(SUM)?;
    (Sha256::digest(data)[..] == *sum).then(|| data.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_files_are_read() {
        let folder = std::env::temp_dir().join(format!("fairy2i-cache-{}", std::process::id()));
        let path = folder.join("a.bin");
        assert!(read(&path).is_none());
        let data = b"compiled".to_vec();
        let mut bytes = Sha256::digest(&data).to_vec();
        bytes.extend(&data);
        kept::write(&path, &bytes).expect("a writable folder");
        assert_eq!(read(&path).as_deref(), Some(&data[..]));
        for broken in [&bytes[..20], &bytes[..bytes.len() - 1], &bytes[1..], &[]] {
            kept::write(&path, broken).expect("a writable folder");
            assert!(read(&path).is_none());
        }
        std::fs::remove_dir_all(folder).expect("removed");
    }
}
