//! What only the rank that leads has: the run's folder, and all that is read and written there.

use super::evaluate::{self, Text};
use super::opened::Run;
use super::{begun, room};
use crate::error::{Error, Result};
use crate::evaluate::Words;
use crate::files::corpus::Corpus;
use crate::files::run::{Checkpoints, Record, RunFolder, Saved};
use crate::files::{ModelFolder, Source};
use crate::train::Event;

/// The folder of a run, checked for all that could stop the run at its end.
pub(super) struct Lead {
    pub folder: RunFolder,
    pub checkpoints: Checkpoints,
    /// The base's files that are copied.
    pub carried: Source,
    /// What the run begins with, until it is noted.
    record: Option<Record>,
    texts: Vec<Text>,
    saved: Option<Saved>,
}

impl Lead {
    /// Opens what is in the folder. All that could stop the run at its end stops it here.
    pub(super) fn begin(
        run: &Run<'_>,
        folder: RunFolder,
        (base, corpus, length): (&ModelFolder, &Corpus, usize),
        events: &mut dyn FnMut(Event<'_>),
    ) -> Result<Self> {
        let s = &run.settings;
        let checkpoints = Checkpoints::open(&run.out, s.keep)?;
        let saved = newest(run, &checkpoints, events)?;
        let record = begun::record(s, corpus)?;
        folder.check(run.resume, &record)?;
        if run.resume {
            verify(corpus, events)?;
        }
        let there = checkpoints.steps()?.len();
        let step = saved.as_ref().map_or(0, Saved::step);
        let parameters = base.config.parameters() as u64;
        room::check(&run.out, s, parameters, there, step)?;
        let texts = match s.eval.is_empty() {
            true => Vec::new(),
            false => evaluate::open(&s.eval, s.eval_protocol, &Words::of(base)?, length)?,
        };
        Ok(Self {
            folder,
            checkpoints,
            carried: base.carried()?,
            record: Some(record),
            texts,
            saved,
        })
    }

    /// Notes in the folder what the run begins with.
    pub(super) fn note(&mut self, resumed: bool) -> Result<()> {
        match self.record.take() {
            Some(record) => self.folder.note(resumed, record),
            None => Ok(()),
        }
    }

    /// The texts to measure, and the checkpoint to go on from.
    pub(super) fn texts_and_checkpoint(&mut self) -> (Vec<Text>, Option<Saved>) {
        (std::mem::take(&mut self.texts), self.saved.take())
    }
}

/// Refuses data whose bytes are not those of its hashes, which have been compared with those of the beginning.
fn verify(corpus: &Corpus, events: &mut dyn FnMut(Event<'_>)) -> Result<()> {
    let settings = &corpus.manifest().settings;
    let bytes = corpus.blocks().saturating_mul(settings.block_bytes());
    events(Event::Verifying(bytes));
    corpus.verify()
}

/// The checkpoint to go on from.
fn newest(
    run: &Run<'_>,
    checkpoints: &Checkpoints,
    events: &mut dyn FnMut(Event<'_>),
) -> Result<Option<Saved>> {
    if run.resume {
        return checkpoints.newest(&mut |line| events(Event::Warning(line)));
    }
    match checkpoints.steps()?.last() {
        None => Ok(None),
        Some(step) => Err(Error::usage(
            format!("{} has a run already, at step {step}", run.out.display()),
            "resume it, or choose another folder",
        )),
    }
}
