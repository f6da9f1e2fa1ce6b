//! Several texts at once.

use super::generator::{Generator, next_round};
use super::options::Generate;
use super::sequence::{Finish, Piece, Sequence};
use crate::backend::Device;
use crate::error::Result;
use crate::model::{self, Choice, Sampler, Session, Wants};
use crate::random::SplitMix64;
use std::collections::{BTreeMap, VecDeque};
use web_time::Instant;

/// Several texts that go on, as an iterator of the number of a text and its next piece.
///
/// Prompts of the same number of tokens go on together: each new token of all of them takes one pass over the weights.
/// Prompts of other lengths follow one after the other, and so do all where the device cannot decode several texts
/// together, or where the way of choosing needs all logits on the host (a repetition penalty, no top-k).
///
/// Text `i` draws with the seed `sampling.seed + i`, so that it does not depend on how many others there are.
pub struct Batch<'m> {
    model: &'m model::Model<Device>,
    options: Generate,
    /// Whether tokens are drawn, rather than the most likely ones taken.
    draws: bool,
    /// `None` while a generator has it.
    texts: Vec<Option<Sequence<'m>>>,
    /// Numbers of the texts that have not begun, in groups that go on together.
    waiting: VecDeque<Vec<usize>>,
    running: Option<Running<'m>>,
    ready: VecDeque<(usize, Piece)>,
    failed: bool,
}

enum Running<'m> {
    Alone(usize, Box<Generator<'m, Device>>),
    Together(Box<Group<'m>>),
}

/// Texts that go on together.
struct Group<'m> {
    session: Session<'m, Device>,
    members: Vec<usize>,
    /// The newest token of each, which the session has not seen yet.
    last: Vec<u32>,
    random: Vec<SplitMix64>,
    /// Tokens of the next round.
    round: usize,
}

impl<'m> Batch<'m> {
    pub(super) fn new(
        model: &'m model::Model<Device>,
        texts: Vec<Sequence<'m>>,
        options: Generate,
    ) -> Result<Self> {
        let wants = Sampler::new(options.sampling)?.wants();
        let most = match wants {
            Wants::All => 1,
            Wants::Argmax | Wants::TopK(_) => model.most_sessions(),
        };
        let mut by_length: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (i, text) in texts.iter().enumerate() {
            let length = text.prompt_ids.len();
            by_length.entry(length).or_default().push(i);
        }
        let groups = by_length.values().flat_map(|group| group.chunks(most));
        Ok(Self {
            waiting: groups.map(<[usize]>::to_vec).collect(),
            texts: texts.into_iter().map(Some).collect(),
            model,
            options,
            draws: matches!(wants, Wants::TopK(_)),
            running: None,
            ready: VecDeque::new(),
            failed: false,
        })
    }

    /// The number of a text and its next piece; `None` when all texts have ended. This is what the iterator gives, for
    /// those who must not block.
    ///
    /// # Errors
    /// As [`Generator::next_piece`]. All texts end with an error.
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
                let Some(group) = self.waiting.pop_front() else {
                    return Ok(None);
                };
                self.running = Some(self.begin(group).await?);
                continue;
            };
            match running {
                Running::Alone(i, mut text) => match text.next_piece().await? {
                    Some(piece) => {
                        self.ready.push_back((i, piece));
                        self.running = Some(Running::Alone(i, text));
                    }
                    None => self.texts[i] = Some(text.into_sequence()),
                },
                Running::Together(mut group) => {
                    if self.round(&mut group).await? {
                        self.running = Some(Running::Together(group));
                    }
                }
            }
        }
    }

    async fn begin(&mut self, group: Vec<usize>) -> Result<Running<'m>> {
        let length = |text: &Sequence<'_>| text.prompt_ids.len() + text.max_tokens;
        let mine = group.iter().filter_map(|&i| self.texts[i].as_ref());
        let context = mine.map(length).max().unwrap_or(1);
        let session = self.model.sessions_of(group.len(), context)?;
        if let [i] = group[..]
            && let Some(text) = self.texts[i].take()
        {
            let mut options = self.options.clone();
            options.sampling.seed = seed(&self.options, i);
            let text = Generator::new(session, text, &options, None).await?;
            return Ok(Running::Alone(i, Box::new(text)));
        }
        self.together(session, group).await
    }

    /// Feeds the prompts of `members` but for their last tokens, with which decoding begins.
    async fn together(
        &mut self,
        mut session: Session<'m, Device>,
        members: Vec<usize>,
    ) -> Result<Running<'m>> {
        let (mut prompts, mut last) = (Vec::new(), Vec::new());
        for text in members.iter().filter_map(|&i| self.texts[i].as_ref()) {
            let Some((&newest, before)) = text.prompt_ids.split_last() else {
                continue; // a prompt has at least one token
            };
            prompts.push(before.to_vec());
            last.push(newest);
        }
        if prompts.iter().any(|prompt| !prompt.is_empty()) {
            session.feed_each(&prompts).await?;
        }
        let random = members
            .iter()
            .map(|&i| SplitMix64::new(seed(&self.options, i)));
        Ok(Running::Together(Box::new(Group {
            random: random.collect(),
            session,
            members,
            last,
            round: 1,
        })))
    }

    /// Chooses some more tokens of each text of `group`; whether it goes on.
    async fn round(&mut self, group: &mut Group<'m>) -> Result<bool> {
        let members = group.members.iter();
        let room = |i: &usize| match &self.texts[*i] {
            Some(text) if text.finish.is_none() => text.room(),
            _ => 0,
        };
        let room = members.map(room).max().unwrap_or(0);
        if room == 0 {
            return Ok(false);
        }
        let clock = Instant::now();
        let steps = group.round.min(room);
        let how = self.options.sampling;
        let choice = match self.draws {
            true => Choice::Drawn(&how, &mut group.random),
            false => Choice::Greedy,
        };
        let ids = group.session.decode(&group.last, steps, choice).await?;
        group.round = next_round(clock.elapsed(), steps);
        for step in ids.chunks_exact(group.members.len()) {
            group.last.copy_from_slice(step);
            for (&i, &id) in group.members.iter().zip(step) {
                if let Some(text) = self.texts[i].as_mut().filter(|t| t.finish.is_none()) {
                    self.ready.push_back((i, text.push(id)?));
                }
            }
        }
        Ok(true)
    }

    /// Number of texts.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether there is no text at all.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// Why text `i` ended; `None` while it goes on, and where there is no such text.
    pub fn finish(&self, i: usize) -> Option<Finish> {
        self.text(i)?.finish
    }

    /// Ids of the new tokens of text `i` so far; none where there is no such text.
    pub fn ids(&self, i: usize) -> &[u32] {
        self.text(i).map_or(&[], |text| &text.ids)
    }

    fn text(&self, i: usize) -> Option<&Sequence<'m>> {
        match (self.texts.get(i)?, &self.running) {
            (None, Some(Running::Alone(_, text))) => Some(text.sequence()),
            (text, _) => text.as_ref(),
        }
    }
}

/// The seed of text `i`.
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
