//! Gradients on their way from the device to all ranks: in buckets, many of them at once, so that a device goes on with
//! earlier layers while the gradients of later ones are summed.

use super::tensors::Tensors;
use crate::backend::Backend;
use crate::error::Result;
use crate::ranks::{Exchange, Ranks, add, copy};
use std::collections::VecDeque;
use std::time::Duration;
use web_time::Instant;

/// Most words of gradients that are exchanged at once: 16 MiB.
pub(super) const BUCKET: usize = 1 << 22;
/// Most buckets on their way to the host: enough for a device to be busy meanwhile, and bounded, since its host holds them.
const DEPTH: usize = 24;

/// A run of values of one parameter's gradient.
#[derive(Debug, Clone, Copy)]
struct Piece {
    parameter: usize,
    first: usize,
    n: usize,
}

/// Where gradients go.
#[derive(Clone, Copy)]
pub(super) enum Goal<'a> {
    /// Into memory, until the groups behind them are there.
    Host,
    /// To all ranks.
    Ranks(&'a dyn Ranks),
}

/// Where the time of a step went on this rank. What is not here is recording ops, and reading losses.
#[derive(Debug, Clone, Copy, Default)]
pub struct Times {
    /// Waiting for gradients: for the device to compute and to copy them.
    pub device: Duration,
    /// Copying and adding gradients on the host, and sending them where memory is not shared.
    pub exchange: Duration,
    /// Waiting for other ranks whose memory is shared.
    pub waiting: Duration,
    /// Bringing sums to the device.
    pub upload: Duration,
    /// The norm of the gradient, and AdamW.
    pub update: Duration,
    /// Quantizing, and what owners of masters tell the others.
    pub share: Duration,
}

/// Gradients under way, and their sums.
pub(super) struct Departure<B: Backend> {
    exchange: Exchange,
    leads: bool,
    /// Values of the gradient of each parameter; 0 where it has none.
    lengths: Vec<usize>,
    /// Sums of the groups before the last one of this rank, all gradients in the order of the parameters.
    before: Vec<Vec<f32>>,
    /// How many of them are of this step.
    kept: usize,
    /// Whether the group that is kept now is added to those before.
    adds: bool,
    /// Where the sums of each parameter that this rank wants lie in `sums`.
    wanted: Vec<Option<usize>>,
    sums: Vec<f32>,
    bucket: Vec<Piece>,
    room: usize,
    asked: VecDeque<(Vec<Piece>, B::Asked)>,
    /// Pieces that were given to all ranks, whose sums have not come.
    given: VecDeque<Piece>,
    pub(super) times: Times,
}

impl<B: Backend> Departure<B> {
    /// For gradients of these lengths, of which rank r has `held[r]` sums of groups; this one needs those `wanted`.
    pub(super) fn new(
        ranks: &dyn Ranks,
        held: &[usize],
        lengths: Vec<usize>,
        wanted: impl Fn(usize) -> bool,
    ) -> Result<Self> {
        let mut end = 0;
        let place = |(i, &n): (usize, &usize)| {
            let place = (n > 0 && wanted(i)).then_some(end);
            end += place.map_or(0, |_| n);
            place
        };
        Ok(Self {
            exchange: Exchange::open(ranks, held, BUCKET)?,
            leads: ranks.rank() == 0,
            wanted: lengths.iter().enumerate().map(place).collect(),
            sums: vec![0.0; end],
            lengths,
            before: Vec::new(),
            kept: 0,
            adds: false,
            bucket: Vec::new(),
            room: BUCKET,
            asked: VecDeque::new(),
            given: VecDeque::new(),
            times: Times::default(),
        })
    }

    /// Whether it is for ranks with so many sums of groups.
    pub(super) fn suits(&self, held: &[usize]) -> bool {
        self.exchange.suits(held, BUCKET)
    }

    /// Begins a step: nothing is under way, whatever became of the last one.
    pub(super) fn begin(&mut self) {
        (self.kept, self.room) = (0, BUCKET);
        self.bucket.clear();
        self.asked.clear();
    }

    /// Begins a group of which the host keeps the gradients: behind those of others, or added to them on the rank that leads.
    pub(super) fn keep(&mut self) {
        self.adds = self.leads && self.kept > 0;
        self.kept += usize::from(!self.adds);
        if self.before.len() < self.kept {
            let all = self.lengths.iter().sum();
            self.before.push(vec![0.0; all]);
        }
    }

    /// The gradients of these parameters are complete: they leave, in their order.
    pub(super) async fn leave(
        &mut self,
        (backend, tensors): (&B, &[Tensors<B>]),
        goal: Goal<'_>,
        parameters: impl Iterator<Item = usize>,
    ) -> Result<()> {
        for parameter in parameters {
            let (mut first, length) = (0, self.lengths[parameter]);
            while first < length {
                let n = self.room.min(length - first);
                self.bucket.push(Piece {
                    parameter,
                    first,
                    n,
                });
                (first, self.room) = (first + n, self.room - n);
                if self.room == 0 {
                    self.ask(backend, tensors)?;
                }
                while self.asked.len() > DEPTH {
                    self.land(backend, goal).await?;
                }
            }
        }
        Ok(())
    }

    /// Waits until all that has left is where it should be.
    pub(super) async fn arrive(
        &mut self,
        (backend, tensors): (&B, &[Tensors<B>]),
        goal: Goal<'_>,
    ) -> Result<()> {
        if !self.bucket.is_empty() {
            self.ask(backend, tensors)?;
        }
        while !self.asked.is_empty() {
            self.land(backend, goal).await?;
        }
        let (begun, waited) = (Instant::now(), self.exchange.waited());
        let (given, wanted, sums) = (&mut self.given, &self.wanted, &mut self.sums);
        self.exchange
            .finish(|part| store(given, wanted, sums, part));
        self.note(begun, waited);
        Ok(())
    }

    fn ask(&mut self, backend: &B, tensors: &[Tensors<B>]) -> Result<()> {
        let pieces = std::mem::take(&mut self.bucket);
        self.room = BUCKET;
        let run = |p: &Piece| (&tensors[p.parameter].gradient, p.first..p.first + p.n);
        let asked = backend.ask(&pieces.iter().map(run).collect::<Vec<_>>())?;
        self.asked.push_back((pieces, asked));
        Ok(())
    }

    /// Counts the time since `begun` as that of an exchange, but for what others were waited for.
    fn note(&mut self, begun: Instant, waited: Duration) -> Duration {
        let (all, waited) = (begun.elapsed(), self.exchange.waited() - waited);
        self.times.waiting += waited;
        self.times.exchange += all.saturating_sub(waited);
        all
    }

    /// Waits for the oldest bucket, and hands it on.
    async fn land(&mut self, backend: &B, goal: Goal<'_>) -> Result<()> {
        let Some((pieces, asked)) = self.asked.pop_front() else {
            return Ok(());
        };
        let begun = Instant::now();
        let handed = backend.answer(asked, |words| {
            let values = bytemuck::cast_slice(words);
            let (begun, waited) = (Instant::now(), self.exchange.waited());
            let done = match goal {
                Goal::Host => {
                    self.hold(&pieces, values);
                    Ok(())
                }
                Goal::Ranks(ranks) => self.give(ranks, &pieces, values),
            };
            done.map(|()| self.note(begun, waited))
        });
        let handed = handed.await??;
        self.times.device += begun.elapsed().saturating_sub(handed);
        Ok(())
    }

    /// Where the values of a piece lie among those of all gradients.
    fn place(&self, piece: &Piece) -> std::ops::Range<usize> {
        let first = self.lengths[..piece.parameter].iter().sum::<usize>() + piece.first;
        first..first + piece.n
    }

    /// Keeps a bucket of the group that is kept now.
    fn hold(&mut self, pieces: &[Piece], mut values: &[f32]) {
        for piece in pieces {
            let (mine, behind) = values.split_at(piece.n);
            let range = self.place(piece);
            let kept = &mut self.before[self.kept - 1][range];
            match self.adds {
                true => add(kept, mine),
                false => copy(kept, mine),
            }
            values = behind;
        }
    }

    /// Gives a bucket to all ranks, with what was kept of it.
    fn give(&mut self, ranks: &dyn Ranks, pieces: &[Piece], values: &[f32]) -> Result<()> {
        let places: Vec<_> = pieces.iter().map(|piece| self.place(piece)).collect();
        let (before, leads, n) = (&self.before[..self.kept], self.leads, values.len());
        let write = |addends: &mut [f32]| {
            // Of the rank that leads, one sum goes on: the sum of all begins with its groups.
            let (others, last) = addends.split_at_mut(if leads { 0 } else { before.len() * n });
            copy(last, values);
            let mut first = 0;
            for place in &places {
                let end = first + place.len();
                for (i, before) in before.iter().enumerate() {
                    match leads {
                        true => add(&mut last[first..end], &before[place.clone()]),
                        false => copy(&mut others[i * n..][first..end], &before[place.clone()]),
                    }
                }
                first = end;
            }
        };
        self.given.extend(pieces);
        let (given, wanted, sums) = (&mut self.given, &self.wanted, &mut self.sums);
        self.exchange
            .give(ranks, n, write, |part| store(given, wanted, sums, part))
    }

    /// Overwrites gradients by their sums over all groups, where those are wanted.
    pub(super) fn upload(&mut self, backend: &B, tensors: &[Tensors<B>]) -> Result<()> {
        let begun = Instant::now();
        for (i, tensors) in tensors.iter().enumerate() {
            if let Some(first) = self.wanted[i] {
                let sums = &self.sums[first..first + self.lengths[i]];
                backend.upload(&tensors.gradient, 0, bytemuck::cast_slice(sums))?;
            }
        }
        self.times.upload += begun.elapsed();
        Ok(())
    }

    /// What owners tell the others, through the same memory.
    pub(super) fn exchange(&mut self) -> &mut Exchange {
        &mut self.exchange
    }
}

/// Keeps the next sums of the pieces that were given, where they are wanted.
fn store(
    given: &mut VecDeque<Piece>,
    wanted: &[Option<usize>],
    sums: &mut [f32],
    mut part: &[f32],
) {
    while let Some(piece) = given.front_mut().filter(|_| !part.is_empty()) {
        let n = piece.n.min(part.len());
        let (mine, behind) = part.split_at(n);
        if let Some(place) = wanted[piece.parameter] {
            let first = place + piece.first;
            copy(&mut sums[first..first + n], mine);
        }
        (piece.first, piece.n, part) = (piece.first + n, piece.n - n, behind);
        if piece.n == 0 {
            given.pop_front();
        }
    }
}
