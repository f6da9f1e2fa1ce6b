//! Packing what the workers made into shards, with notes of where to go on.

use super::among;
use super::pipeline::{Place, Tokenized, tokenize};
use crate::cli::out;
use crate::error::{Error, Result};
use crate::files::Inputs;
use crate::files::corpus::TextTokenizer;
use crate::files::corpus::journal::{State, Work};
use crate::files::corpus::manifest::{Counts, Manifest, Settings};
use crate::files::corpus::packing::Packer;
use crate::files::corpus::shards::Shards;
use crate::ranks::Ranks;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::Path;

/// Bad lines told one by one; the others are only counted.
const TOLD: u64 = 20;

/// What does not change the result.
pub(super) struct Limits {
    /// Bad lines allowed.
    pub max_bad: Option<u64>,
    /// Bytes of text between two notes.
    pub save_every: u64,
    /// Threads that tokenize.
    pub workers: usize,
}

/// What came of it.
pub(super) struct Done {
    /// What was written.
    pub manifest: Manifest,
    /// Whether a run that was stopped went on.
    pub resumed: bool,
    /// Bytes of text this run went through.
    pub text_bytes: u64,
}

/// Tokenizes the share of a rank that does not write.
pub(super) fn help(
    settings: &Settings,
    tokenizer: &TextTokenizer,
    limits: &Limits,
    ranks: &dyn Ranks,
) -> Result<()> {
    let start = among::start(ranks, Place::default())?;
    tokenize(
        settings,
        tokenizer,
        (limits.workers, ranks),
        start,
        |made| among::send(ranks, &made),
    )
}

/// Makes the data folder `folder`, or goes on making it. `inputs` is what is read meanwhile.
pub(super) fn run(
    folder: &Path,
    settings: &Settings,
    tokenizer: &TextTokenizer,
    (limits, ranks): (&Limits, &dyn Ranks),
    inputs: &Inputs,
) -> Result<Done> {
    let (work, state) = Work::begin(folder, settings, inputs)?;
    let resumed = state.is_some();
    let state = state.unwrap_or_else(|| State {
        source: 0,
        taken: 0,
        packer: Packer::new(settings.packing, settings.block, tokenizer.id.eos),
        seen: 0,
        counts: Counts::default(),
    });
    if resumed {
        let done = out::bytes(state.counts.text_bytes as f64);
        out::note(&format!("note: going on after {done} of text"));
    }
    let mut writing = Writing {
        shards: Shards::new(work.path(), settings, state.seen),
        settings,
        limits,
        before: state.counts.text_bytes,
        saved: state.counts.text_bytes,
        work,
        state,
        bar: bar(),
    };
    let start = Place {
        source: writing.state.source,
        taken: writing.state.taken,
    };
    let start = among::start(ranks, start)?;
    let made = tokenize(settings, tokenizer, (limits.workers, ranks), start, |t| {
        writing.take(t)
    });
    writing.bar.finish_and_clear();
    made?;
    writing.finish(resumed)
}

struct Writing<'a> {
    settings: &'a Settings,
    limits: &'a Limits,
    work: Work,
    state: State,
    shards: Shards,
    /// Bytes of text before this run, and at the last note.
    before: u64,
    saved: u64,
    bar: ProgressBar,
}

impl Writing<'_> {
    fn take(&mut self, made: Tokenized) -> Result<()> {
        self.tell(&made)?;
        let (packer, shards) = (&mut self.state.packer, &mut self.shards);
        let mut full = |block: &[u32]| shards.push(block);
        let mut from = 0;
        for &(to, ends) in &made.records {
            packer.push(&made.ids[from..to], &mut full)?;
            if ends {
                packer.end(&mut full)?;
            }
            from = to;
        }
        self.state.source = made.after.source;
        self.state.taken = made.after.taken;
        self.state.counts.text_bytes += made.text_bytes;
        self.show();
        if self.state.counts.text_bytes - self.saved >= self.limits.save_every {
            self.save()?;
        }
        Ok(())
    }

    /// Tells and counts lines that cannot be used.
    fn tell(&mut self, made: &Tokenized) -> Result<()> {
        let file = &self.settings.sources[made.after.source].path;
        let counts = &mut self.state.counts;
        for (number, why) in &made.bad {
            counts.bad += 1;
            *counts.bad_by_file.entry(file.clone()).or_default() += 1;
            if self.limits.max_bad.is_some_and(|most| counts.bad > most) {
                return Err(Error::file(
                    format!("{file}:{number}"),
                    format!("{why}; with it {} lines cannot be used", counts.bad),
                    "repair the files or raise --max-bad",
                ));
            }
            if counts.bad <= TOLD {
                let line = out::one_line(&format!("note: {file}:{number}: {why}"));
                self.bar.suspend(|| out::note(&line));
            }
        }
        Ok(())
    }

    fn show(&self) {
        let counts = &self.state.counts;
        self.bar.set_position(counts.text_bytes - self.before);
        self.bar.set_message(format!(
            "{} tokens, {} bad",
            out::scaled(self.state.packer.tokens as f64, ""),
            counts.bad
        ));
    }

    /// Notes where to go on.
    fn save(&mut self) -> Result<()> {
        self.shards.sync()?;
        self.state.seen = self.shards.seen();
        self.saved = self.state.counts.text_bytes;
        self.work.save(self.settings, &self.state)
    }

    fn finish(mut self, resumed: bool) -> Result<Done> {
        let text_bytes = self.state.counts.text_bytes - self.before;
        let packer = &mut self.state.packer;
        packer.finish();
        let counts = &mut self.state.counts;
        counts.documents = packer.documents;
        counts.tokens = packer.tokens;
        counts.dropped = packer.dropped;
        counts.blocks = self.shards.seen();
        if counts.bad > TOLD {
            out::note(&format!("note: {} lines could not be used", counts.bad));
        }
        let blocks = self.shards.kept();
        if blocks == 0 {
            return Err(Error::usage(
                format!(
                    "{} tokens fill no block of {}",
                    counts.tokens, self.settings.block
                ),
                "pass more text, a smaller --block, or --packing stream",
            ));
        }
        if let Some(wanted) = self.settings.sample_blocks().filter(|&w| w > blocks) {
            out::note(&format!(
                "note: there are only {blocks} blocks to draw {wanted} from"
            ));
        }
        let manifest = Manifest {
            settings: self.settings.clone(),
            blocks,
            counts: self.state.counts,
            shards: self.shards.finish()?,
        };
        self.work.commit(&manifest)?;
        Ok(Done {
            manifest,
            resumed,
            text_bytes,
        })
    }
}

/// How much text went by, and how fast; invisible unless a person is watching.
fn bar() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    let style = "{spinner} {decimal_bytes} {decimal_bytes_per_sec} {elapsed} {msg}";
    match ProgressStyle::with_template(style) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
