//! `/metrics`: counters and times in the text form of Prometheus and OpenMetrics.

use super::engine::Status;
use crate::generate::scheduler::Counters;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the answer to a scraper is.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper ends of the ranges that times are counted in, in seconds.
const SECONDS: [f64; 16] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
];

/// A counter of the engine: its name, what it counts, and its value.
type EngineCounter = (&'static str, &'static str, fn(&Counters) -> u64);

const ENGINE: [EngineCounter; 9] = [
    ("sequences_finished", "Sequences that ended", |c| c.finished),
    ("sequences_cancelled", "Sequences whose clients left", |c| {
        c.cancelled
    }),
    ("sequences_failed", "Sequences that could not go on", |c| {
        c.failed
    }),
    (
        "prompt_tokens",
        "Tokens of prompts that were processed",
        |c| c.prompt_tokens,
    ),
    (
        "cached_tokens",
        "Tokens of prompts that were there already",
        |c| c.cached_tokens,
    ),
    ("generated_tokens", "New tokens", |c| c.new_tokens),
    ("drafted_tokens", "Tokens that were drafted", |c| c.drafted),
    ("accepted_tokens", "Drafted tokens that were right", |c| {
        c.accepted
    }),
    ("steps", "Steps over the weights", |c| c.steps),
];

/// A path, and the status of its answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Answer {
    pub path: &'static str,
    pub status: u16,
}

/// Everything that is counted.
pub(super) struct Metrics {
    registry: Registry,
    pub requests: Family<Answer, Counter>,
    /// Requests that were answered, whatever the answer.
    answered: AtomicU64,
    pub seconds: Histogram,
    pub first_token: Histogram,
    pub between_tokens: Histogram,
    pub rebuilds: Counter,
    pub connections: Gauge,
    slots: Gauge,
    busy: Gauge,
    waiting: Gauge,
    engine: [Counter; ENGINE.len()],
}

impl Metrics {
    pub(super) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("fairy2i"),
            requests: Family::default(),
            answered: AtomicU64::new(0),
            seconds: Histogram::new(SECONDS),
            first_token: Histogram::new(SECONDS),
            between_tokens: Histogram::new(SECONDS),
            rebuilds: Counter::default(),
            connections: Gauge::default(),
            slots: Gauge::default(),
            busy: Gauge::default(),
            waiting: Gauge::default(),
            engine: Default::default(),
        };
        metrics.register();
        metrics
    }

    /// Counts an answer.
    pub(super) fn count(&self, answer: &Answer) {
        self.requests.get_or_create(answer).inc();
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests that were answered so far.
    pub(super) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    fn register(&mut self) {
        let all = &mut self.registry;
        all.register(
            "requests",
            "Answers by path and status",
            self.requests.clone(),
        );
        for (name, help, histogram) in [
            (
                "request_seconds",
                "From the headers of a request to the end of its answer",
                &self.seconds,
            ),
            (
                "time_to_first_token_seconds",
                "From a request to its first token",
                &self.first_token,
            ),
            (
                "time_between_tokens_seconds",
                "Between two tokens of a sequence",
                &self.between_tokens,
            ),
        ] {
            all.register(name, help, histogram.clone());
        }
        for (name, help, gauge) in [
            ("connections", "Open connections", &self.connections),
            ("slots", "Sequences that can go on together", &self.slots),
            ("slots_busy", "Sequences that go on", &self.busy),
            (
                "requests_waiting",
                "Sequences that wait for a slot",
                &self.waiting,
            ),
        ] {
            all.register(name, help, gauge.clone());
        }
        all.register(
            "engine_rebuilds",
            "Devices that were lost",
            self.rebuilds.clone(),
        );
        for ((name, help, _), counter) in ENGINE.iter().zip(&self.engine) {
            all.register(*name, *help, counter.clone());
        }
    }

    /// Takes over how the engine stands, which stood as `before`. The counters of a new engine begin at 0, ours go on.
    pub(super) fn follow(&self, before: &Status, now: &Status) {
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.slots.set(count(now.slots.len()));
        let busy = now.slots.iter().filter(|slot| slot.request.is_some());
        self.busy.set(count(busy.count()));
        self.waiting.set(count(now.waiting));
        for ((_, _, value), counter) in ENGINE.iter().zip(&self.engine) {
            let (before, now) = (value(&before.counters), value(&now.counters));
            counter.inc_by(now.checked_sub(before).unwrap_or(now));
        }
    }

    /// The text of all.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(_) => String::new(), // writing to a string does not fail
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_go_on_when_the_engine_begins_anew() {
        let metrics = Metrics::new();
        let with = |new_tokens| Status {
            counters: Counters {
                new_tokens,
                ..Counters::default()
            },
            ..Status::default()
        };
        metrics.follow(&with(0), &with(5));
        metrics.follow(&with(5), &with(7));
        metrics.follow(&with(7), &with(0));
        metrics.follow(&with(0), &with(2));
        let text = metrics.text();
        assert!(
            text.contains("\nfairy2i_generated_tokens_total 9\n"),
            "{text}"
        );
        assert!(
            text.contains("# TYPE fairy2i_time_to_first_token_seconds histogram"),
            "{text}"
        );
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
