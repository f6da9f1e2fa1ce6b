//! Slots, and what is kept in them for requests that begin alike.

use super::active::Active;

/// Fewest tokens of another slot that are worth a copy.
const WORTH_COPYING: usize = 16;

/// A slot of the cache: who has it, and whose keys and values are there.
#[derive(Default)]
pub(super) struct Slot<'m> {
    /// Tokens whose keys and values are there, from the first position on.
    pub(super) tokens: Vec<u32>,
    /// How many of the first ones were read as a prompt's.
    pub(super) read: usize,
    pub(super) active: Option<Active<'m>>,
    /// When it was given away last, counted in requests.
    pub(super) used: u64,
}

impl Slot<'_> {
    /// How many tokens at the beginning of `prompt` can be taken from here. The last token of a prompt never is: decoding
    /// begins with it. `read_only` leaves out what was decoded.
    fn shared(&self, prompt: &[u32], read_only: bool) -> usize {
        let there = match read_only {
            true => &self.tokens[..self.read.min(self.tokens.len())],
            false => &self.tokens,
        };
        let wanted = prompt.len().saturating_sub(1);
        let pairs = there.iter().zip(&prompt[..wanted]);
        pairs.take_while(|(a, b)| a == b).count()
    }

    /// Says that the slot has only its first `tokens` tokens.
    pub(super) fn truncate(&mut self, tokens: usize) {
        self.tokens.truncate(tokens);
        self.read = self.read.min(tokens);
    }

    /// Says that tokens of a prompt are there, too.
    pub(super) fn extend_read(&mut self, tokens: &[u32]) {
        if self.read == self.tokens.len() {
            self.read += tokens.len();
        }
        self.tokens.extend_from_slice(tokens);
    }
}

/// Where a request begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// The slot it gets.
    pub(super) slot: usize,
    /// Tokens of its prompt that are there, or will be.
    pub(super) tokens: usize,
    /// The slot that they are copied from, if it is another one.
    pub(super) copy: Option<usize>,
}

/// The free slot for `prompt`, and where the beginning of its keys and values comes from; `None` where no slot is free.
///
/// A free slot that has the longest beginning is taken as it is, unless most of what it keeps would be lost by that; then,
/// and where a running sequence has the longest beginning, that is copied to the free slot which was used least recently.
///
/// `keeps` says whether a slot still has all that is needed behind so many of its first tokens, and may be taken up there.
pub(super) fn place(
    slots: &[Slot<'_>],
    prompt: &[u32],
    read_only: bool,
    keeps: impl Fn(usize, usize) -> bool,
) -> Option<Place> {
    let free = |i: &usize| slots[*i].active.is_none();
    let shared = |i: usize| {
        let tokens = slots[i].shared(prompt, read_only);
        if keeps(i, tokens) { tokens } else { 0 }
    };
    let oldest = (0..slots.len())
        .filter(free)
        .min_by_key(|&i| (!slots[i].tokens.is_empty(), slots[i].used))?;
    let in_place = |slot, tokens| Place {
        slot,
        tokens,
        copy: None,
    };
    let best = (0..slots.len()).max_by_key(|&i| (shared(i), free(&i)))?;
    let tokens = shared(best);
    if tokens == 0 {
        return Some(in_place(oldest, 0));
    }
    let kept = slots[best].tokens.len();
    if free(&best) && (best == oldest || 2 * tokens >= kept || tokens < WORTH_COPYING) {
        return Some(in_place(best, tokens));
    }
    if tokens < WORTH_COPYING {
        return Some(in_place(oldest, shared(oldest)));
    }
    Some(Place {
        slot: oldest,
        tokens,
        copy: (best != oldest).then_some(best),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(tokens: &[u32], used: u64) -> Slot<'static> {
        Slot {
            tokens: tokens.to_vec(),
            read: tokens.len(),
            active: None,
            used,
        }
    }

    #[test]
    fn a_request_begins_behind_what_it_shares() {
        let long: Vec<u32> = (0..40).collect();
        let slots = [slot(&long, 1), slot(&[], 5)];
        let at = |prompt: &[u32], keeps: fn(usize, usize) -> bool| {
            let place = place(&slots, prompt, false, keeps).expect("both are free");
            (place.slot, place.tokens, place.copy)
        };
        // An empty slot is taken before one that keeps something.
        assert_eq!(at(&[9, 9, 9], |_, _| true), (1, 0, None));
        // The whole of what is kept: taken in place, and the last token of the prompt is left to decode.
        assert_eq!(at(&long, |_, _| true), (0, 39, None));
        // Less than half of what is kept: copied, so that the rest stays.
        let prompt = [&long[..18], &[99; 4]].concat();
        assert_eq!(at(&prompt, |_, _| true), (1, 18, Some(0)));
        // Nothing of it, where a ring has lost what it needs, or the request wants that.
        assert_eq!(at(&long, |slot, _| slot != 0), (1, 0, None));
        assert_eq!(at(&prompt, |_, _| false), (1, 0, None));
    }

    #[test]
    fn decoded_tokens_are_left_where_only_read_ones_count() {
        let mut kept = slot(&[1, 2, 3, 4], 0);
        kept.read = 2;
        kept.extend_read(&[5]);
        assert_eq!((kept.read, kept.tokens.len()), (2, 5));
        assert_eq!(kept.shared(&[1, 2, 3, 4, 5, 6], true), 2);
        assert_eq!(kept.shared(&[1, 2, 3, 4, 5, 6], false), 5);
        kept.truncate(1);
        kept.extend_read(&[2]);
        assert_eq!((kept.read, kept.tokens.len()), (2, 2));
    }
}
