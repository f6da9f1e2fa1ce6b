//! The files of a model, fetched into the cache.

use super::client::{Client, Remote};
use super::download::Store;
use super::name::HubName;
use super::settings::Hub;
use super::wanted::Part;
use super::{Progress, cache, needed};
use crate::error::{Error, Result};
use crate::files::shards::INDEX;
use crate::units;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Room that stays free on a disk.
const SPARE: u64 = 64 << 20;

/// Fetches what the cache lacks of `part` of a model; returns where it lies.
pub(super) fn fetch(
    hub: &Hub,
    name: &HubName,
    part: Part,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<PathBuf> {
    let client = Client::new(hub)?;
    let info = client.info(name)?;
    let names: BTreeSet<&str> = info.files.iter().map(String::as_str).collect();
    let store = Store::new(&hub.cache, name, info.commit);
    let mut job = Job {
        client,
        hub,
        name,
        store,
        done: 0,
        progress,
    };
    match name.file() {
        Some(file) if !names.contains(file) => return Err(no_file(name, file, &names)),
        Some(file) => job.take(&[file])?,
        None => job.model(part, &names)?,
    }
    job.store.remember(name.revision())?;
    cache::find(&hub.cache, name, part).map_err(|missing| {
        let what = format!("{name}{missing} in the cache, though it was fetched");
        Error::usage(what, "do not change the cache meanwhile")
    })
}

fn no_file(name: &HubName, file: &str, names: &BTreeSet<&str>) -> Error {
    let ggufs: Vec<_> = names
        .iter()
        .filter(|n| n.ends_with(".gguf"))
        .copied()
        .collect();
    let hint = match ggufs.is_empty() {
        true => "it has none that we read".to_owned(),
        false => format!("it has {}", crate::files::json::show(&ggufs.join(", "))),
    };
    Error::usage(format!("{} has no file `{file}`", name.id()), hint)
}

/// Files that are fetched.
struct Job<'a> {
    client: Client<'a>,
    hub: &'a Hub,
    name: &'a HubName,
    store: Store<'a>,
    /// Bytes that were fetched.
    done: u64,
    progress: &'a mut dyn FnMut(Progress<'_>),
}

impl Job<'_> {
    /// Fetches what `part` of a model needs.
    fn model(&mut self, part: Part, names: &BTreeSet<&str>) -> Result<()> {
        if !names.contains(part.first()) {
            return Err(Error::usage(
                format!("{} has no {}", self.name.id(), part.first()),
                "name a model in the format of transformers, or one of its files: hf:OWNER/NAME/FILE.gguf",
            ));
        }
        let wanted = |name: &str| needed::is_small(name) && (part == Part::Model || name != INDEX);
        let small: Vec<&str> = names.iter().copied().filter(|name| wanted(name)).collect();
        self.take(&small)?;
        if part == Part::Tokenizer {
            return Ok(());
        }
        let index = names
            .contains(INDEX)
            .then(|| cache::index(&self.store.snapshot()));
        let weights = needed::weights(&self.name.id(), names, index.flatten().as_deref())?;
        self.take(&weights)
    }

    /// Fetches files that are not here.
    fn take(&mut self, files: &[impl AsRef<str>]) -> Result<()> {
        let files = files.iter().map(AsRef::as_ref);
        let lacking = files.filter(|file| !self.store.has(file));
        let head = |file| self.client.head(self.name, self.store.commit(), file);
        let all = lacking.map(head).collect::<Result<Vec<_>>>()?;
        let left: u64 = all.iter().map(|remote| self.store.left(remote)).sum();
        self.room(left)?;
        let total = self.done + left;
        for remote in all {
            self.one(&remote, total)?;
        }
        Ok(())
    }

    fn one(&mut self, remote: &Remote, total: u64) -> Result<()> {
        let left = self.store.left(remote);
        // Bytes that were here are no part of the work.
        let before = self.done + left;
        let file = remote.file.as_str();
        let (size, progress) = (remote.size, &mut self.progress);
        self.store.take(&self.client, remote, &mut |here| {
            let done = (before + here).saturating_sub(size).min(total);
            progress(Progress { file, done, total });
        })?;
        self.done = before;
        Ok(())
    }

    /// Refuses to begin what does not fit the disk.
    fn room(&self, needed: u64) -> Result<()> {
        let there = self.hub.cache.ancestors().find(|folder| folder.is_dir());
        let free = there.and_then(|folder| fs4::available_space(folder).ok());
        match free {
            Some(free) if needed > 0 && needed + SPARE > free => Err(Error::usage(
                format!(
                    "{} needs {} in {}, where {} are free",
                    self.name,
                    units::bytes(needed as f64),
                    self.hub.cache.display(),
                    units::bytes(free as f64)
                ),
                "make room, or set HF_HUB_CACHE to another disk",
            )),
            _ => Ok(()),
        }
    }
}
