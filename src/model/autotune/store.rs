//! Choices on disk: a JSON file for each device and driver.
//!
//! A file may be missing, damaged, of another version or on a read-only disk: then nothing was chosen, and it is measured
//! again, so nothing here is an error.

use super::Chosen;
use crate::backend::kept;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{Error, Result};
use std::path::Path;

/// Largest file that is read; real ones have a few kilobytes.
const LONGEST: u64 = 1 << 20;

/// What the file of a device has.
#[derive(Debug, Default, Serialize, Deserialize)]
struct File {
    /// The version that measured: others have other kernels.
    version: String,
    /// The choices, by class of shapes.
    chosen: BTreeMap<String, Chosen>,
}

/// Choices by class of shapes.
pub type Kept = BTreeMap<String, Chosen>;

/// The choices that a file has.
pub fn read(path: &Path) -> Kept {
    let bytes = kept::read(path, LONGEST);
    let file = bytes.and_then(|bytes| serde_json::from_slice::<File>(&bytes).ok());
    file.filter(|file| file.version == env!("CARGO_PKG_VERSION"))
        .map_or_else(Kept::new, |file| file.chosen)
}

/// Adds a choice; who reads at the same time sees the old file or the new one.
pub(super) fn keep(path: &Path, class: &str, chosen: &Chosen) -> Result<()> {
    let mut all = read(path);
    all.insert(class.to_owned(), chosen.clone());
    let file = File {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        chosen: all,
    };
    let text = serde_json::to_string_pretty(&file).map_err(Error::other)? + "\n";
    kept::write(path, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_this_version_are_read() {
        let folder = std::env::temp_dir().join(format!("fairy2i-tuning-{}", std::process::id()));
        let chosen = Chosen {
            fused: true,
            fused_groups: 7,
            bits_tokens: 3,
            integer_gemv_tokens: 8,
            measured: Vec::new(),
        };
        let file = folder.join("a device.tuning.json");
        assert!(read(&file).is_empty());
        for class in ["small", "large"] {
            keep(&file, class, &chosen).expect("a folder of our own");
        }
        let all = read(&file);
        assert_eq!(all.keys().collect::<Vec<_>>(), ["large", "small"]);
        assert_eq!(all["small"], chosen);
        let text = std::fs::read_to_string(&file).expect("it is there");
        let other = text.replace(env!("CARGO_PKG_VERSION"), "0.0.0");
        for damaged in [&text[..40], &other, ""] {
            std::fs::write(&file, damaged).expect("written");
            assert!(read(&file).is_empty());
        }
        std::fs::remove_dir_all(&folder).expect("it was made above");
    }
}
