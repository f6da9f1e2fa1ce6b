//! Models of the Hugging Face hub: found in its cache, which other programs share, and fetched into it.
//!
//! The cache is laid out as Python's `huggingface_hub` has it:
//!
//! ```text
//! models--OWNER--NAME/refs/main                        the commit of a branch, tag or pull request
//! models--OWNER--NAME/snapshots/COMMIT/config.json  -> ../../blobs/ETAG
//! models--OWNER--NAME/blobs/ETAG                       SHA-256 of a large file, git's SHA-1 of a small one
//! models--OWNER--NAME/blobs/ETAG.incomplete            what came before the connection broke
//! .locks/models--OWNER--NAME/ETAG.lock                 who is fetching
//! ```
//!
//! Looking there needs nothing ([`Hub::find`]); fetching needs the feature `hub` ([`Hub::locate`]). What is in the cache
//! is taken as it is, without asking the hub whether a branch has moved.

mod cache;
mod name;
mod settings;
mod wanted;

#[cfg(feature = "hub")]
mod client;
#[cfg(feature = "hub")]
mod download;
#[cfg(feature = "hub")]
mod needed;
#[cfg(feature = "hub")]
mod refusal;
#[cfg(feature = "hub")]
mod snapshot;
#[cfg(feature = "hub")]
mod tls;

pub use cache::cached_name;
pub use name::HubName;
pub use settings::Hub;
pub use wanted::Part;

use crate::error::{Error, Result};
use std::path::PathBuf;

/// How far fetching is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// The file that is being fetched.
    pub file: &'a str,
    /// Bytes of all files that are here.
    pub done: u64,
    /// Bytes of all files that were to be fetched.
    pub total: u64,
}

impl Hub {
    /// Where `part` of a model lies in the cache: its folder, or its file if the name has one.
    ///
    /// # Errors
    /// [`Error::Usage`] that says what is missing.
    pub fn find(&self, name: &HubName, part: Part) -> Result<PathBuf> {
        cache::find(&self.cache, name, part).map_err(|missing| {
            Error::usage(
                format!("{name}{missing} in {}", self.cache.display()),
                self.remedy(name),
            )
        })
    }

    /// What to do about files that are not in the cache.
    fn remedy(&self, name: &HubName) -> String {
        let (id, revision) = (name.id(), name.revision());
        let file = name.file().map_or(String::new(), |file| format!(" {file}"));
        let by_hand = match revision {
            "main" => format!("`hf download {id}{file}`"),
            _ => format!("`hf download {id}{file}`, of revision `{revision}`"),
        };
        match cfg!(feature = "hub") {
            true => format!("go online, or fetch it by {by_hand}"),
            false => format!("fetch it by {by_hand}, or build with the feature `hub`"),
        }
    }

    /// [`Hub::find`]; what is missing is fetched first, unless the hub is not to be asked. `progress` is told now and then.
    ///
    /// # Errors
    /// [`Error::Usage`] for what is not there, or not for everybody; [`Error::Io`] for a network, a hub or a disk that
    /// fails.
    pub fn locate(
        &self,
        name: &HubName,
        part: Part,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<PathBuf> {
        let found = self.find(name, part);
        #[cfg(feature = "hub")]
        if found.is_err() && !self.offline {
            return snapshot::fetch(self, name, part, progress);
        }
        let _ = progress;
        found
    }
}
