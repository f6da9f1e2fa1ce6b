//! `curves`: several training runs in one plot.

use super::out;
use crate::error::{Error, Result};
use crate::files::run::{Metrics, comparison};
use std::path::{Path, PathBuf};

/// Plot how the perplexity of a text falls in several training runs, as SVG.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fairy2i-gpu curves RUN-W1 RUN-W2 > curves.svg
  fairy2i-gpu curves RUN-W1 RUN-W2 --text novel_val > novels.svg")]
pub(super) struct Curves {
    /// Folders that `train` made
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
    /// Name of the text: a file of train --eval, without its ending [default: the first that was measured]
    #[arg(long, value_name = "NAME")]
    text: Option<String>,
}

impl Curves {
    /// Prints the plot.
    pub(super) fn run(self) -> Result<()> {
        let mut runs = Vec::new();
        for folder in &self.runs {
            runs.push((name(folder), Metrics::read(folder)?));
        }
        let all = runs.iter().flat_map(|(_, steps)| steps);
        let first = all.flat_map(|step| step.validation.keys()).next();
        let text = self.text.as_ref().or(first).ok_or_else(|| {
            Error::usage(
                "these runs have measured no text",
                "pass --eval FILE to train",
            )
        })?;
        out::print(&comparison(&runs, text)?)
    }
}

/// The last part of a run's path.
fn name(folder: &Path) -> String {
    let last = folder.file_name().unwrap_or(folder.as_os_str());
    last.to_string_lossy().into_owned()
}
