//! Rounds of steps that only decode.

use super::Scheduler;
use super::active::Active;
use super::step::{Decoding, Events};
use crate::error::Result;
use crate::generate::generator::next_round;
use crate::generate::lookup;
use web_time::Instant;

impl Scheduler<'_> {
    /// Takes the tokens of a round that was begun ahead, if there is one; whether there was. Nothing else is done before that.
    pub(super) async fn take_ahead(&mut self, events: &mut Events) -> Result<bool> {
        let decoding = self.decoding();
        let ahead = self.session.steps_ahead(&decoding.slots);
        let Some(steps) = ahead.filter(|_| !decoding.slots.is_empty()) else {
            return Ok(false);
        };
        self.decode_round(decoding, steps, events).await?;
        Ok(true)
    }

    /// Some steps that only decode.
    pub(super) async fn decode(
        &mut self,
        mut decoding: Decoding,
        events: &mut Events,
    ) -> Result<()> {
        if let Some(ids) = self.look_up(&mut decoding).await? {
            return self.take(decoding, ids, events).await;
        }
        let steps = match (decoding.step_by_step, &self.lookup) {
            (true, _) => 1,
            // soon again, where a draft may come
            (_, Some((_, worth))) if worth.pays() && decoding.slots.len() == 1 => self.round.min(4),
            _ => self.round,
        };
        let steps = steps.min(decoding.room);
        self.decode_round(decoding, steps, events).await
    }

    /// A round of `steps` steps, and the beginning of the one behind it where the device can go on by itself: nobody waits for
    /// a slot, every sequence goes on, and no token has to pass the host first.
    async fn decode_round(
        &mut self,
        mut decoding: Decoding,
        steps: usize,
        events: &mut Events,
    ) -> Result<()> {
        let clock = Instant::now();
        let by_itself = self.lookup.is_none()
            && self.session.goes_ahead()
            && !decoding.step_by_step
            && self.waiting.is_empty()
            && self.feeding().is_empty()
            && !self.session.adjusts(&decoding.slots);
        let next = match by_itself {
            true => self.round.min(decoding.room - steps),
            false => 0,
        };
        let (slots, last) = (decoding.slots.clone(), decoding.last.clone());
        let choice = decoding.choice();
        let chosen = self
            .session
            .decode_ahead(&slots, &last, [steps, next], choice);
        let ids = chosen.await?;
        self.pace.decoded(steps, clock.elapsed());
        self.round = next_round(clock.elapsed(), steps);
        if let Some((_, worth)) = &mut self.lookup {
            worth.passed(steps);
        }
        self.take(decoding, ids, events).await
    }

    /// Some tokens of the only sequence by drafts from its own text; `None` where there are no drafts, or where they do not
    /// pay. Several sequences fill a pass by themselves.
    async fn look_up(&mut self, decoding: &mut Decoding) -> Result<Option<Vec<u32>>> {
        let Some((with, worth)) = &mut self.lookup else {
            return Ok(None);
        };
        let (&[slot], &[last]) = (&decoding.slots[..], &decoding.last[..]) else {
            return Ok(None);
        };
        let most = with.most().min(decoding.room.saturating_sub(1));
        let plain = self.slots[slot]
            .active
            .as_ref()
            .is_some_and(Active::leaves_logits);
        if most == 0 || !worth.pays() || decoding.step_by_step || !plain {
            return Ok(None);
        }
        let text = [&self.slots[slot].tokens[..], &[last]].concat();
        let drafts = lookup::draft(&text, most);
        if drafts.is_empty() {
            return Ok(None);
        }
        let choice = decoding.choice();
        let checked = self
            .session
            .check_drafts(with, (slot, last), drafts, choice);
        let ids = checked.await?;
        worth.checked(ids.len());
        self.counters.drafted += drafts.len() as u64;
        self.counters.accepted += ids.len() as u64 - 1;
        if let Some(active) = &mut self.slots[slot].active {
            active.times.drafted += drafts.len();
            active.times.accepted += ids.len() - 1;
        }
        Ok(Some(ids))
    }
}
