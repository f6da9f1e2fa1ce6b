//! Models of the hub on the command line: `hf:OWNER/NAME` wherever a model may be named.

use super::out;
use crate::error::Result;
use crate::files::hub::{Hub, HubName, Part, Progress};
use std::path::PathBuf;

/// Puts the places in the cache where names of the hub's models are; what is not there is fetched, unless `offline`.
///
/// # Errors
/// Those of [`Hub::locate`].
pub(super) fn locate<'p>(
    paths: impl IntoIterator<Item = (&'p mut PathBuf, Part)>,
    offline: bool,
) -> Result<()> {
    for (path, part) in paths {
        if let Some(name) = HubName::of(path)? {
            let mut hub = Hub::from_env(|name| std::env::var_os(name));
            hub.offline |= offline;
            *path = fetched(&hub, &name, part)?;
        }
    }
    Ok(())
}

/// Where a model lies, with a bar on standard error while it is fetched.
fn fetched(hub: &Hub, name: &HubName, part: Part) -> Result<PathBuf> {
    let mut bar = None;
    let mut tell = |Progress { file, done, total }: Progress<'_>| {
        let bar = bar.get_or_insert_with(|| {
            out::note(&format!("fetching {name} into {}", hub.cache.display()));
            let style = "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} (left {eta}) {msg}";
            let style = indicatif::ProgressStyle::with_template(style);
            let style = style.unwrap_or_else(|_| indicatif::ProgressStyle::default_bar());
            indicatif::ProgressBar::new(total).with_style(style)
        });
        bar.set_length(total);
        bar.set_position(done);
        if bar.message() != file {
            bar.set_message(file.to_owned());
        }
    };
    let located = hub.locate(name, part, &mut tell);
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    located
}
