//! One thread reads, several tokenize, one writes; what comes out does not depend on how many there are.
//!
//! Chunks of records are taken from the workers in the order in which they were dealt, so nothing needs sorting. What
//! is between reading and writing is bounded in bytes.

use super::among;
use crate::error::Result;
use crate::files::corpus::TextTokenizer;
use crate::files::corpus::encoder::{Cut, Encoder};
use crate::files::corpus::manifest::Settings;
use crate::files::corpus::records::{Reading, Record, Records};
use crate::files::corpus::words::Words;
use crate::ranks::Ranks;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Condvar, Mutex, PoisonError};

/// Bytes of text in a chunk, about.
const CHUNK: usize = 1 << 18;
/// Bytes of text between reading and writing, about. With tokens and copies they take some four times as much.
const IN_FLIGHT: usize = 24 << 20;
/// Chunks beyond this go to one worker: allocators keep what a thread once needed, so not all should need much.
const LARGE: usize = 1 << 20;
/// Words that all workers together remember: some 100 MB.
const WORDS: usize = 1 << 20;
/// Chunks a worker may have waiting.
const WAITING: usize = 4;

/// Records read together.
struct Chunk {
    records: Vec<Record>,
    bytes: usize,
    after: Place,
}

/// A place in the sources.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// Which source.
    pub source: usize,
    /// Records of it before the place.
    pub taken: u64,
}

/// A chunk in tokens.
pub(super) struct Tokenized {
    /// Tokens of all documents, one after the other, no specials.
    pub ids: Vec<u32>,
    /// Where each record's tokens end in `ids`, and whether its document ends with it.
    pub records: Vec<(usize, bool)>,
    /// Line or row, and what is wrong with it.
    pub bad: Vec<(u64, String)>,
    /// Bytes of text.
    pub text_bytes: u64,
    /// Where it ends in the sources; all of it is of one source.
    pub after: Place,
    /// What it counts for in the bound.
    pub bytes: usize,
}

/// Who makes a chunk.
enum Maker {
    /// A thread of this process.
    Worker(usize),
    /// Another rank.
    Rank(usize),
}

/// Bytes under way.
struct Budget {
    used: Mutex<(usize, bool)>,
    freed: Condvar,
}

impl Budget {
    /// Waits until there is room; false when nobody writes any more. What is larger than all of the room goes alone.
    fn take(&self, bytes: usize) -> bool {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        while used.0 > 0 && used.0 + bytes > IN_FLIGHT && !used.1 {
            used = self
                .freed
                .wait(used)
                .unwrap_or_else(PoisonError::into_inner);
        }
        used.0 += bytes;
        !used.1
    }

    fn free(&self, bytes: usize, over: bool) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.0 = used.0.saturating_sub(bytes);
        used.1 |= over;
        self.freed.notify_one();
    }
}

/// Ends the reading when the writer ends, however it does.
struct Over<'a>(&'a Budget);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.free(0, true);
    }
}

/// Reads the sources of `settings` from `start` on and hands every chunk to `take`, in order. Of several ranks, the first one
/// takes all chunks, and every other one those that it made.
///
/// # Errors
/// The first one, in the order of the text.
pub(super) fn tokenize(
    settings: &Settings,
    tokenizer: &TextTokenizer,
    (workers, ranks): (usize, &dyn Ranks),
    start: Place,
    mut take: impl FnMut(Tokenized) -> Result<()>,
) -> Result<()> {
    let budget = Budget {
        used: Mutex::new((0, false)),
        freed: Condvar::new(),
    };
    let words = Words::new(WORDS);
    std::thread::scope(|scope| {
        let (mut to, mut from) = (Vec::new(), Vec::new());
        let words = &words;
        for _ in 0..workers {
            let (chunks, dealt) = sync_channel(WAITING);
            let (made, results) = sync_channel(WAITING);
            scope.spawn(move || work(settings, tokenizer, words, &dealt, &made));
            to.push(chunks);
            from.push(results);
        }
        let _over = Over(&budget);
        let budget = &budget;
        let (order, dealt) = sync_channel(2 * WAITING * workers);
        let cut = &tokenizer.cut;
        let dealer = Dealer {
            to,
            order,
            budget,
            rank: ranks.rank(),
            ranks: ranks.size(),
        };
        scope.spawn(move || read(settings, cut, start, &dealer));
        for maker in &dealt {
            let tokenized = match maker {
                Maker::Rank(rank) => among::receive(ranks, rank)?,
                Maker::Worker(worker) => match from[worker].recv() {
                    Ok(tokenized) => tokenized?,
                    Err(_) => break, // it has panicked, which the scope passes on
                },
            };
            let bytes = tokenized.bytes;
            take(tokenized)?;
            budget.free(bytes, false);
        }
        drop(dealt);
        drop(from);
        Ok(())
    })
}

/// Where chunks go.
struct Dealer<'a> {
    to: Vec<SyncSender<Result<Chunk>>>,
    /// Who has the next one.
    order: SyncSender<Maker>,
    budget: &'a Budget,
    rank: usize,
    ranks: usize,
}

impl Dealer<'_> {
    /// Gives a chunk to a worker; false when nobody wants it any more.
    fn deal(&self, chunk: Result<Chunk>, turn: usize) -> bool {
        // Each rank meets an error by itself.
        let maker = turn % self.ranks;
        if maker != self.rank && chunk.is_ok() {
            return self.rank > 0 || self.order.send(Maker::Rank(maker)).is_ok();
        }
        let turn = turn / self.ranks;
        let bytes = chunk.as_ref().map_or(0, |c| c.bytes);
        let worker = if bytes > LARGE {
            0
        } else {
            turn % self.to.len()
        };
        self.budget.take(bytes)
            && self.to[worker].send(chunk).is_ok()
            && self.order.send(Maker::Worker(worker)).is_ok()
    }
}

/// Deals chunks until there are no more, or nobody takes them.
fn read(settings: &Settings, cut: &Cut, start: Place, dealer: &Dealer) {
    let mut turn = 0;
    let mut deal = |chunk| {
        turn += 1;
        dealer.deal(chunk, turn)
    };
    if let Err(error) = read_all(settings, cut, start, &mut deal) {
        deal(Err(error));
    }
}

fn read_all(
    settings: &Settings,
    cut: &Cut,
    start: Place,
    deal: &mut impl FnMut(Result<Chunk>) -> bool,
) -> Result<()> {
    let reading = Reading {
        field: settings.field.clone(),
        unit: settings.text_unit,
        longest: settings.longest_line,
        cut: cut.clone(),
        any_name: false,
    };
    for (source, file) in settings.sources.iter().enumerate().skip(start.source) {
        let mut records = Records::open(Path::new(&file.path), &reading)?;
        if source == start.source {
            records.skip(start.taken)?;
        }
        loop {
            let (mut chunk, mut bytes) = (Vec::new(), 0);
            while bytes < CHUNK {
                let Some(record) = records.next()? else { break };
                // Empty ones cost something too.
                bytes += record.body.len() + 64;
                chunk.push(record);
            }
            if chunk.is_empty() {
                break;
            }
            let after = Place {
                source,
                taken: records.taken(),
            };
            let chunk = Chunk {
                records: chunk,
                bytes,
                after,
            };
            if !deal(Ok(chunk)) {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Tokenizes until there is nothing more to do, or nobody wants it.
fn work(
    settings: &Settings,
    tokenizer: &TextTokenizer,
    words: &Words,
    dealt: &Receiver<Result<Chunk>>,
    made: &SyncSender<Result<Tokenized>>,
) {
    let mut encoder = Encoder::new(&tokenizer.tokenizer, &tokenizer.cut, words);
    while let Ok(chunk) = dealt.recv() {
        let tokenized = chunk.and_then(|chunk| encode(&mut encoder, &settings.field, chunk));
        if made.send(tokenized).is_err() {
            break;
        }
    }
}

fn encode(encoder: &mut Encoder, field: &str, chunk: Chunk) -> Result<Tokenized> {
    let mut made = Tokenized {
        ids: Vec::new(),
        records: Vec::with_capacity(chunk.records.len()),
        bad: Vec::new(),
        text_bytes: 0,
        after: chunk.after,
        bytes: chunk.bytes,
    };
    for record in chunk.records {
        made.bad.extend(record.bad);
        match record.body.text(field) {
            Ok(text) => {
                made.text_bytes += text.len() as u64;
                encoder.encode(&text, record.begins, &mut made.ids)?;
            }
            Err(why) => made.bad.push((record.number, why)),
        }
        made.records.push((made.ids.len(), record.ends));
    }
    Ok(made)
}
