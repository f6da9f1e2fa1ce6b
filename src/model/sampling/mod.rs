//! Choosing the next token from logits.
//!
//! The steps and their order, everywhere in this crate: logit bias, repetition penalty, penalties of presence and
//! frequency, temperature, top-k (whose last one's equals stay), top-p, min-p. Each filter sees the probabilities that the
//! steps before it left, as in transformers and vLLM; llama.cpp's default divides by the temperature behind the filters.
//! The settings' defaults are llama.cpp's.
//!
//! Penalties are single IEEE operations and drawing is done in integers, both by the code that the CPU backend runs, and
//! random numbers are [`SplitMix64`]'s; so equal logits and an equal seed give the same token on every platform, on the
//! host and on devices.

use super::choice::Sampling;
use super::session::{Choice, Session, Speculation, numbers};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::ops::sampling::{IN_PROMPT, PenaltySettings};
use crate::random::SplitMix64;
use std::cmp::Ordering;
use std::collections::{HashMap, HashSet, VecDeque};
use std::slice::{from_mut, from_ref};

/// What a [`Sampler`] needs to see of the logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// Only the most likely token: [`Session::argmax`].
    Argmax,
    /// A token that the device draws: [`Session::draw`].
    Drawn,
    /// All of them: [`Session::logits`].
    All,
}

/// Chooses tokens; remembers those that came and the state of its random numbers.
#[derive(Debug, Clone)]
pub struct Sampler {
    how: Sampling,
    random: SplitMix64,
    bias: HashMap<u32, f32>,
    /// The last tokens of prompt and text, for the repetition penalty.
    recent: VecDeque<u32>,
    /// How often each token was generated, for the penalties of presence and frequency.
    generated: HashMap<u32, u32>,
}

impl Sampler {
    /// A sampler at the beginning of its random numbers.
    ///
    /// # Errors
    /// [`Error::Usage`] for values that make no sense (NaN, negative, probabilities above 1).
    pub fn new(how: Sampling) -> Result<Self> {
        let check = |name: &str, value: f32, valid: bool, hint: &str| {
            if valid {
                return Ok(());
            }
            Err(Error::usage(
                format!("{name} is {value}"),
                format!("it must be {hint}"),
            ))
        };
        let (t, p, m, r) = (
            how.temperature,
            how.top_p,
            how.min_p,
            how.repetition_penalty,
        );
        let finite = "a number, 0 (greedy) or more";
        check("temperature", t, t.is_finite() && t >= 0.0, finite)?;
        check("top-p", p, (0.0..=1.0).contains(&p), "between 0 and 1")?;
        check("min-p", m, (0.0..=1.0).contains(&m), "between 0 and 1")?;
        let positive = r.is_finite() && r > 0.0;
        check("repetition penalty", r, positive, "above 0 (1 is off)")?;
        for (name, value) in [
            ("presence penalty", how.presence_penalty),
            ("frequency penalty", how.frequency_penalty),
        ] {
            check(name, value, value.is_finite(), "a number (0 is off)")?;
        }
        Ok(Self {
            how,
            random: SplitMix64::new(how.seed),
            bias: HashMap::new(),
            recent: VecDeque::new(),
            generated: HashMap::new(),
        })
    }

    /// Adds numbers to the logits of tokens, (id, number), before everything else; minus infinity forbids a token. Several
    /// numbers of a token add up.
    ///
    /// # Errors
    /// [`Error::Usage`] for NaN and infinity.
    pub fn with_bias(mut self, bias: &[(u32, f32)]) -> Result<Self> {
        for &(id, number) in bias {
            if number.is_nan() || number == f32::INFINITY {
                return Err(Error::usage(
                    format!("the logit bias of token {id} is {number}"),
                    "it must be a number, or minus infinity",
                ));
            }
            *self.bias.entry(id).or_default() += number;
        }
        Ok(self)
    }

    /// How it chooses.
    pub fn how(&self) -> &Sampling {
        &self.how
    }

    /// Whether the repetition penalty does something.
    fn repeats(&self) -> bool {
        self.how.repetition_penalty != 1.0 && self.how.penalty_window > 0
    }

    /// Whether the penalties of presence and frequency do something.
    fn counts(&self) -> bool {
        (self.how.presence_penalty, self.how.frequency_penalty) != (0.0, 0.0)
    }

    /// What it needs: as little as its settings allow, because all logits are a megabyte of readback.
    pub fn wants(&self) -> Wants {
        if self.repeats() || self.counts() || !self.bias.is_empty() {
            Wants::All
        } else if self.how.temperature == 0.0 {
            Wants::Argmax
        } else {
            Wants::Drawn
        }
    }

    /// Remembers the tokens of the prompt, for the repetition penalty.
    pub fn accept_prompt(&mut self, tokens: &[u32]) {
        if !self.repeats() {
            return;
        }
        self.recent.extend(tokens);
        let surplus = self.recent.len().saturating_sub(self.how.penalty_window);
        self.recent.drain(..surplus);
    }

    /// Remembers tokens that were just chosen, for all penalties.
    pub fn accept(&mut self, tokens: &[u32]) {
        self.accept_prompt(tokens);
        if self.counts() {
            for &token in tokens {
                *self.generated.entry(token).or_default() += 1;
            }
        }
    }

    /// Chooses what follows the sequence of `session` and remembers it.
    ///
    /// # Errors
    /// Failures of the device; [`Error::NonFinite`] when no logit is a number.
    pub async fn next<B: Backend>(&mut self, session: &Session<'_, B>) -> Result<u32> {
        let token = match self.wants() {
            Wants::Argmax => session.argmax().await?,
            Wants::Drawn => {
                let (how, random) = (from_ref(&self.how), from_mut(&mut self.random));
                session.draw(how, random).await?[0]
            }
            Wants::All => self.pick_from_logits(&session.logits().await?)?,
        };
        self.accept(&[token]);
        Ok(token)
    }

    /// Chooses the tokens of `steps` steps after `last` on the device, without waiting in between, and begins `next` more steps
    /// without waiting for them; the last token is not appended. Only where [`Sampler::wants`] is not [`Wants::All`].
    ///
    /// # Errors
    /// As [`Session::decode_ahead`].
    pub async fn follow_ahead<B: Backend>(
        &mut self,
        session: &mut Session<'_, B>,
        last: u32,
        [steps, next]: [usize; 2],
    ) -> Result<Vec<u32>> {
        let choice = match self.wants() {
            Wants::Drawn => Choice::Drawn(from_ref(&self.how), from_mut(&mut self.random)),
            _ => Choice::Greedy,
        };
        let last = [last];
        let ids = session.decode_ahead(&[0], &last, [steps, next], choice);
        numbers(ids.await?)
    }

    /// [`Sampler::follow_ahead`] with drafts: chooses some of the `steps + 1` tokens after `last`, the same that it would choose.
    ///
    /// # Errors
    /// As [`Session::speculate`].
    pub async fn speculate<'m, B: Backend>(
        &mut self,
        session: &mut Session<'m, B>,
        with: &Speculation<'m, B>,
        last: u32,
        steps: usize,
    ) -> Result<Vec<u32>> {
        let choice = match self.wants() {
            Wants::Drawn => Choice::Drawn(from_ref(&self.how), from_mut(&mut self.random)),
            _ => Choice::Greedy,
        };
        session.speculate(with, last, steps, choice).await
    }

    /// [`Sampler::follow_ahead`] with tokens that may follow: chooses some tokens after `last`, the same that it would choose.
    ///
    /// # Errors
    /// As [`Session::check_drafts`].
    pub async fn check_drafts<'m, B: Backend>(
        &mut self,
        session: &mut Session<'m, B>,
        with: &Speculation<'m, B>,
        last: u32,
        drafts: &[u32],
    ) -> Result<Vec<u32>> {
        let choice = match self.wants() {
            Wants::Drawn => Choice::Drawn(from_ref(&self.how), from_mut(&mut self.random)),
            _ => Choice::Greedy,
        };
        let checked = session.check_drafts(with, (0, last), drafts, choice);
        numbers(checked.await?)
    }

    /// Chooses from the logits of the whole vocabulary.
    ///
    /// # Errors
    /// [`Error::NonFinite`] when none of them is a number above minus infinity.
    pub fn pick_from_logits(&mut self, logits: &[f32]) -> Result<u32> {
        self.pick((0..).zip(logits.iter().copied()).collect())
    }

    /// Chooses from (id, logit) candidates: what a device draws from the same logits with the same random number. NaN and
    /// minus infinity are never chosen, equal logits favour the lower id where the best one is taken.
    ///
    /// # Errors
    /// [`Error::NonFinite`] when no candidate is a number above minus infinity.
    pub fn pick(&mut self, mut candidates: Vec<(u32, f32)>) -> Result<u32> {
        self.prepare(&mut candidates);
        let settings = self.how.draw_settings();
        let random = match self.how.temperature == 0.0 {
            true => 0,
            false => self.random.next_u32(),
        };
        let drawn = settings.draw(candidates.into_iter(), random);
        drawn.ok_or_else(|| Error::NonFinite {
            tensor: "logits of the next token".to_owned(),
            index: 0,
            value: f32::NAN,
        })
    }

    /// The tokens that may be chosen next, best first, each with its probability; none where no logit is a number above
    /// minus infinity.
    pub fn probabilities(&self, logits: &[f32]) -> Vec<(u32, f64)> {
        let mut candidates = (0..).zip(logits.iter().copied()).collect();
        self.prepare(&mut candidates);
        let settings = self.how.draw_settings();
        settings.probabilities(candidates.into_iter())
    }

    /// Candidates with bias and penalties, without those that are beyond what devices look at.
    fn prepare(&self, candidates: &mut Vec<(u32, f32)>) {
        self.penalize(candidates);
        let own = self.how.draw_settings().candidates();
        if own > 0 && own < candidates.len() {
            candidates.select_nth_unstable_by(own, order);
            candidates.truncate(own);
        }
    }

    fn penalize(&self, candidates: &mut [(u32, f32)]) {
        let repeated = PenaltySettings {
            repetition: self.how.repetition_penalty,
            ..PenaltySettings::default()
        };
        let counted = PenaltySettings {
            presence: self.how.presence_penalty,
            frequency: self.how.frequency_penalty,
            ..PenaltySettings::default()
        };
        if self.wants() != Wants::All {
            return;
        }
        let recent: HashSet<u32> = self.recent.iter().copied().collect();
        for (id, logit) in candidates {
            let bias = self.bias.get(id).copied().unwrap_or(0.0);
            let count = self.generated.get(id).copied().unwrap_or(0);
            // Only recent tokens are repeated, while all generated ones are counted.
            let repetition = if recent.contains(id) { IN_PROMPT } else { 0 };
            *logit = repeated.apply(*logit, bias, repetition);
            *logit = counted.apply(*logit, 0.0, count);
        }
    }
}

/// Most likely first; the lower id among equals, and NaN last.
fn order(a: &(u32, f32), b: &(u32, f32)) -> Ordering {
    let known = a.1.is_nan().cmp(&b.1.is_nan());
    let value = b.1.partial_cmp(&a.1).unwrap_or(Ordering::Equal);
    known.then(value).then(a.0.cmp(&b.0))
}

#[cfg(test)]
mod tests;
