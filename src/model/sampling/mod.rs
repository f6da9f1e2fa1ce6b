//! Choosing the next token from logits.
//!
//! The filters, their order and their defaults are llama.cpp's: repetition penalty, top-k, top-p, min-p, then
//! temperature. Everything is computed with IEEE additions, multiplications and divisions (those of `libm::exp`
//! included, while the exponential function of a system may differ in the last place), and random numbers are
//! [`SplitMix64`]'s; so equal logits and an equal seed give the same token on every platform.

use super::choice::{MAX_TOP_K, Sampling};
use super::session::{Choice, Session, Speculation};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::random::SplitMix64;
use std::cmp::Ordering;
use std::collections::{HashSet, VecDeque};
use std::slice::{from_mut, from_ref};

/// What a [`Sampler`] needs to see of the logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// Only the most likely token: [`Session::argmax`].
    Argmax,
    /// So many most likely ones: [`Session::top_k`].
    TopK(usize),
    /// All of them: [`Session::logits`].
    All,
}

/// Chooses tokens; remembers recent ones and the state of its random numbers.
#[derive(Debug, Clone)]
pub struct Sampler {
    how: Sampling,
    random: SplitMix64,
    recent: VecDeque<u32>,
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
        Ok(Self {
            how,
            random: SplitMix64::new(how.seed),
            recent: VecDeque::new(),
        })
    }

    /// How it chooses.
    pub fn how(&self) -> &Sampling {
        &self.how
    }

    fn penalizes(&self) -> bool {
        self.how.repetition_penalty != 1.0 && self.how.penalty_window > 0
    }

    fn greedy(&self) -> bool {
        self.how.temperature == 0.0 || self.how.top_k == 1
    }

    /// What it needs: as little as its settings allow, because all logits are a megabyte of readback.
    pub fn wants(&self) -> Wants {
        if self.penalizes() {
            Wants::All
        } else if self.greedy() {
            Wants::Argmax
        } else if (1..=MAX_TOP_K).contains(&self.how.top_k) {
            Wants::TopK(self.how.top_k)
        } else {
            Wants::All
        }
    }

    /// Remembers `tokens` (of the prompt, or just chosen) for the repetition penalty.
    pub fn accept(&mut self, tokens: &[u32]) {
        if !self.penalizes() {
            return;
        }
        self.recent.extend(tokens);
        let surplus = self.recent.len().saturating_sub(self.how.penalty_window);
        self.recent.drain(..surplus);
    }

    /// Chooses what follows the sequence of `session` and remembers it.
    ///
    /// # Errors
    /// Failures of the device; [`Error::NonFinite`] when no logit is a number.
    pub async fn next<B: Backend>(&mut self, session: &Session<'_, B>) -> Result<u32> {
        let token = match self.wants() {
            Wants::Argmax => session.argmax().await?,
            Wants::TopK(_) => {
                let (how, random) = (from_ref(&self.how), from_mut(&mut self.random));
                session.draw(how, random).await?[0]
            }
            Wants::All => self.pick_from_logits(&session.logits().await?)?,
        };
        self.accept(&[token]);
        Ok(token)
    }

    /// Chooses the `steps` tokens after `last` on the device, without waiting in between; the last one is not appended.
    /// Only where [`Sampler::wants`] is not [`Wants::All`].
    ///
    /// # Errors
    /// As [`Session::decode`].
    pub async fn follow<B: Backend>(
        &mut self,
        session: &mut Session<'_, B>,
        last: u32,
        steps: usize,
    ) -> Result<Vec<u32>> {
        let Wants::TopK(_) = self.wants() else {
            return session.decode(&[last], steps, Choice::Greedy).await;
        };
        let choice = Choice::Drawn(from_ref(&self.how), from_mut(&mut self.random));
        session.decode(&[last], steps, choice).await
    }

    /// [`Sampler::follow`] with drafts: chooses some of the `steps + 1` tokens after `last`, the same that it would choose.
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
            Wants::TopK(_) => Choice::Drawn(from_ref(&self.how), from_mut(&mut self.random)),
            _ => Choice::Greedy,
        };
        session.speculate(with, last, steps, choice).await
    }

    /// Chooses from the logits of the whole vocabulary.
    ///
    /// # Errors
    /// [`Error::NonFinite`] when none of them is a number.
    pub fn pick_from_logits(&mut self, logits: &[f32]) -> Result<u32> {
        self.pick((0..).zip(logits.iter().copied()).collect())
    }

    /// Chooses from (id, logit) candidates; NaN is never chosen, equal logits favour the lower id.
    ///
    /// # Errors
    /// [`Error::NonFinite`] when no candidate is a number.
    pub fn pick(&mut self, mut candidates: Vec<(u32, f32)>) -> Result<u32> {
        candidates.retain(|c| !c.1.is_nan());
        for c in &mut candidates {
            c.1 = c.1.clamp(f32::MIN, f32::MAX); // infinities, so that differences are numbers
        }
        self.penalize(&mut candidates);
        let Some(best) = candidates.iter().copied().min_by(order) else {
            return Err(Error::NonFinite {
                tensor: "logits of the next token".to_owned(),
                index: 0,
                value: f32::NAN,
            });
        };
        if self.greedy() {
            return Ok(best.0);
        }
        self.filter(&mut candidates, f64::from(best.1));
        Ok(self.draw(&candidates, f64::from(best.1)))
    }

    fn penalize(&self, candidates: &mut [(u32, f32)]) {
        if !self.penalizes() {
            return;
        }
        let recent: HashSet<u32> = self.recent.iter().copied().collect();
        let by = self.how.repetition_penalty;
        for (id, logit) in candidates {
            if recent.contains(id) {
                *logit = if *logit <= 0.0 {
                    *logit * by
                } else {
                    *logit / by
                };
            }
        }
    }

    /// Top-k, top-p and min-p. Each keeps a prefix of the sorted candidates, so min-p may go first: what it
    /// drops need not be sorted, which is nearly the whole vocabulary when top-k is off.
    fn filter(&self, candidates: &mut Vec<(u32, f32)>, top: f64) {
        let Sampling {
            top_k,
            top_p,
            min_p,
            ..
        } = self.how;
        if (1..candidates.len()).contains(&top_k) {
            candidates.select_nth_unstable_by(top_k - 1, order);
            candidates.truncate(top_k);
        }
        if top_k > 0 {
            candidates.sort_unstable_by(order);
        }
        let weight = |c: &(u32, f32)| libm::exp(f64::from(c.1) - top);
        let total: f64 = candidates.iter().map(weight).sum();
        candidates.retain(|c| weight(c) >= f64::from(min_p));
        candidates.sort_unstable_by(order);
        if top_p < 1.0 {
            let enough = f64::from(top_p) * total;
            let mut sum = 0.0;
            let reached = candidates.iter().position(|c| {
                sum += weight(c);
                sum >= enough
            });
            candidates.truncate(reached.map_or(candidates.len(), |i| i + 1));
        }
    }

    fn draw(&mut self, candidates: &[(u32, f32)], top: f64) -> u32 {
        let t = f64::from(self.how.temperature);
        let weights: Vec<f64> = candidates
            .iter()
            .map(|c| libm::exp((f64::from(c.1) - top) / t))
            .collect();
        let target = self.random.next_f64() * weights.iter().sum::<f64>();
        let mut sum = 0.0;
        for (c, weight) in candidates.iter().zip(&weights) {
            sum += weight;
            if target < sum {
                return c.0;
            }
        }
        candidates[0].0 // rounding of the last sum: the most likely one
    }
}

/// Most likely first; the lower id among equals.
fn order(a: &(u32, f32), b: &(u32, f32)) -> Ordering {
    b.1.partial_cmp(&a.1)
        .unwrap_or(Ordering::Equal)
        .then(a.0.cmp(&b.0))
}

#[cfg(test)]
mod tests;
