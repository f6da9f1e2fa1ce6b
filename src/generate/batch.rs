//! Several sequences at once.

use super::generator::{Generator, next_round};
use super::options::Generate;
use super::sequence::{Finish, Piece, Sequence};
use crate::backend::Device;
use crate::error::{Error, Result};
use crate::model::{self, Choice, Sampler, Session, Wants};
use crate::random::SplitMix64;
use std::collections::VecDeque;
use web_time::Instant;

/// Several sequences that go on, as an iterator of the number of a sequence and its next piece.
///
/// As many sequences as the model's batch has tokens go on together, each at its own length: each new token of all of them
/// takes one pass over the weights. Where one ends, the next one that waits takes its place. Where the way of choosing needs
/// all logits on the host (a penalty, a logit bias), they follow one after the other.
///
/// Sequence `i` draws with the seed `sampling.seed + i`, so that it does not depend on how many others there are.
pub struct Batch<'m> {
    model: &'m model::Model<Device>,
    options: Generate,
    /// Whether tokens are drawn, rather than the most likely ones taken.
    draws: bool,
    /// `None` while a generator has it.
    sequences: Vec<Option<Sequence<'m>>>,
    /// Numbers of the sequences that have not begun.
    waiting: VecDeque<usize>,
    /// Most sequences that go on together.
    most: usize,
    running: Option<Running<'m>>,
    ready: VecDeque<(usize, Piece)>,
    failed: bool,
}

enum Running<'m> {
    Alone(usize, Box<Generator<'m>>),
    Together(Box<Group<'m>>),
}

/// Sequences that go on together.
struct Group<'m> {
    session: Session<'m, Device>,
    /// Numbers of the sequences.
    members: Vec<usize>,
    /// What the session calls each of them.
    slots: Vec<usize>,
    /// The newest token of each, which the session has not seen yet.
    last: Vec<u32>,
    random: Vec<SplitMix64>,
    /// Tokens of the next round.
    round: usize,
}

impl<'m> Batch<'m> {
    pub(super) fn new(
        model: &'m model::Model<Device>,
        sequences: Vec<Sequence<'m>>,
        options: Generate,
    ) -> Result<Self> {
        let wants = Sampler::new(options.sampling)?
            .with_bias(&options.logit_bias)?
            .wants();
        let begins = |(i, sequence): (usize, &Sequence<'_>)| sequence.finish.is_none().then_some(i);
        Ok(Self {
            most: match wants {
                Wants::All => 1,
                Wants::Argmax | Wants::Drawn => model.most_sessions(),
            },
            waiting: sequences.iter().enumerate().filter_map(begins).collect(),
            sequences: sequences.into_iter().map(Some).collect(),
            model,
            options,
            draws: wants == Wants::Drawn,
            running: None,
            ready: VecDeque::new(),
            failed: false,
        })
    }

    /// The number of a sequence and its next piece; `None` when all sequences have ended. This is what the iterator gives,
    /// for those who must not block.
    ///
    /// # Errors
    /// As [`Generator::next_piece`]. All sequences end with an error.
    pub async fn next_piece(&mut self) -> Result<Option<(usize, Piece)>> {
        if self.failed {
            return Ok(None);
        }
        let piece = self.piece().await;
        self.failed = piece.is_err();
        piece
    }

    async fn piece(&mut self) -> Result<Option<(usize, Piece)>> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Ok(Some(piece));
            }
            let Some(running) = self.running.take() else {
                if self.waiting.is_empty() {
                    return Ok(None);
                }
                self.running = Some(self.begin().await?);
                continue;
            };
            match running {
                Running::Alone(i, mut generator) => match generator.next_piece().await? {
                    Some(piece) => {
                        self.ready.push_back((i, piece));
                        self.running = Some(Running::Alone(i, generator));
                    }
                    None => self.sequences[i] = Some(generator.into_sequence()),
                },
                Running::Together(mut group) => {
                    if self.round(&mut group).await? {
                        self.running = Some(Running::Together(group));
                    }
                }
            }
        }
    }

    /// Begins the next sequence alone where nothing can go on beside it, else room for several.
    async fn begin(&mut self) -> Result<Running<'m>> {
        let count = self.most.min(self.waiting.len());
        if count == 1
            && let Some(i) = self.waiting.pop_front()
            && let Some(sequence) = self.sequences[i].take()
        {
            let mut options = self.options.clone();
            options.sampling.seed = seed(&self.options, i);
            let session = self.model.sessions_of(1, sequence.longest())?;
            let generator = Generator::new(session, sequence, &options, None).await?;
            return Ok(Running::Alone(i, Box::new(generator)));
        }
        let mut session = self.room(count)?;
        for slot in 0..count {
            session.end(slot);
        }
        Ok(Running::Together(Box::new(Group {
            session,
            members: Vec::new(),
            slots: Vec::new(),
            last: Vec::new(),
            random: Vec::new(),
            round: 1,
        })))
    }

    /// Room for `count` of the waiting sequences, any of which may take any place; for fewer where the device has no more.
    fn room(&mut self, mut count: usize) -> Result<Session<'m, Device>> {
        let waiting = self.waiting.iter();
        let longest = waiting.filter_map(|&i| Some(self.sequences[i].as_ref()?.longest()));
        let context = longest.max().unwrap_or(1);
        loop {
            match self.model.sessions_of(count, context) {
                Err(Error::Device { .. }) if count > 1 => count /= 2,
                session => return session,
            }
        }
    }

    /// Gives the places that are free to sequences that wait: feeds their prompts but for the last tokens, with which
    /// decoding begins.
    async fn fill(&mut self, group: &mut Group<'m>) -> Result<()> {
        while !self.waiting.is_empty()
            && let Some(slot) = group.session.begin()
            && let Some(i) = self.waiting.pop_front()
            && let Some(sequence) = &self.sequences[i]
            && let Some((&newest, before)) = sequence.prompt_ids.split_last()
        {
            if !before.is_empty() {
                group.session.feed_to(slot, before).await?;
            }
            group.members.push(i);
            group.slots.push(slot);
            group.last.push(newest);
            group.random.push(SplitMix64::new(seed(&self.options, i)));
        }
        Ok(())
    }

    /// Chooses some more tokens of each sequence of `group`; whether it goes on.
    async fn round(&mut self, group: &mut Group<'m>) -> Result<bool> {
        self.fill(group).await?;
        let room = |i: &usize| self.sequences[*i].as_ref().map(Sequence::room);
        let Some(room) = group.members.iter().filter_map(room).min() else {
            return Ok(false);
        };
        let clock = Instant::now();
        let steps = group.round.min(room);
        let how = [self.options.sampling];
        let choice = match self.draws {
            true => Choice::Drawn(&how, &mut group.random),
            false => Choice::Greedy,
        };
        let decoding = group
            .session
            .decode_some(&group.slots, &group.last, steps, choice);
        let ids = decoding.await?;
        group.round = next_round(clock.elapsed(), steps);
        for step in ids.chunks_exact(group.members.len()) {
            group.last.copy_from_slice(step);
            for (&i, &id) in group.members.iter().zip(step) {
                let sequence = self.sequences[i].as_mut();
                if let Some(sequence) = sequence.filter(|s| s.finish.is_none()) {
                    self.ready.push_back((i, sequence.push(id)?));
                }
            }
        }
        for place in (0..group.members.len()).rev() {
            if self.finish(group.members[place]).is_some() {
                group.leave(place);
            }
        }
        Ok(true)
    }

    /// Number of sequences.
    pub fn len(&self) -> usize {
        self.sequences.len()
    }

    /// Whether there is no sequence at all.
    pub fn is_empty(&self) -> bool {
        self.sequences.is_empty()
    }

    /// Why sequence `i` ended; `None` while it goes on, and where there is no such sequence.
    pub fn finish(&self, i: usize) -> Option<Finish> {
        self.sequence(i)?.finish
    }

    /// Ids of the new tokens of sequence `i` so far; none where there is no such sequence.
    pub fn ids(&self, i: usize) -> &[u32] {
        self.sequence(i).map_or(&[], |sequence| &sequence.ids)
    }

    fn sequence(&self, i: usize) -> Option<&Sequence<'m>> {
        match (self.sequences.get(i)?, &self.running) {
            (None, Some(Running::Alone(_, generator))) => Some(generator.sequence()),
            (sequence, _) => sequence.as_ref(),
        }
    }
}

impl Group<'_> {
    /// The member at `place` has ended.
    fn leave(&mut self, place: usize) {
        self.members.remove(place);
        self.session.end(self.slots.remove(place));
        self.last.remove(place);
        self.random.remove(place);
    }
}

/// The seed of sequence `i`.
fn seed(options: &Generate, i: usize) -> u64 {
    options.sampling.seed.wrapping_add(i as u64)
}

/// Waits for the device on this thread.
#[cfg(feature = "blocking")]
impl Iterator for Batch<'_> {
    type Item = Result<(usize, Piece)>;

    fn next(&mut self) -> Option<Self::Item> {
        let device = self.model.backend();
        crate::backend::block_on(device, self.next_piece()).transpose()
    }
}
