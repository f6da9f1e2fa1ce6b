//! The candidates, and which of them is taken.

use super::bed::Bed;
use super::{Chosen, Measured, rounding};
use crate::backend::{Backend, Tuning, kernel_for};
use crate::error::Result;
use crate::model::{Config, LoadOptions};
use crate::ops::phase::{PhaseGemmBits, PhaseGemmCoop};
use std::time::Duration;
use web_time::Instant;

/// Time after which no more candidates are measured: their numbers stay as they are in the class of the device.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Time of one sample on a real GPU; software takes longer for one round.
const LEAST: Duration = Duration::from_millis(3);
/// Samples of each candidate, in turns.
const SAMPLES: usize = 3;
/// What is not faster by this is not chosen instead of the usual.
const CLEARLY: f64 = 0.97;
/// The same of the ways to multiply one token: layers by themselves tell less of a model there, whose other kernels run between
/// them. (On an H200, half of the workgroups are 4 % faster so for TinyLlama's layers, and the whole model is 3 % slower.)
const CLEARLY_ONE: f64 = 0.92;
/// Numbers of tokens for which one-bit products are compared with matrix-vector kernels.
const BITS_TOKENS: [usize; 8] = [2, 3, 4, 5, 6, 8, 12, 16];
/// Numbers of tokens for which matrix-vector kernels are compared with matrix-matrix ones.
const GEMV_TOKENS: [usize; 7] = [2, 4, 6, 8, 12, 16, 24];

/// A way to multiply.
struct Candidate {
    way: String,
    tokens: usize,
    tuning: Tuning,
}

/// Candidates that are measured in turns, and what came of them.
struct Race<'r, 'b, B: Backend> {
    backend: &'b B,
    bed: &'r Bed<'b, B>,
    begun: Instant,
    measured: Vec<Measured>,
}

impl<B: Backend> Race<'_, '_, B> {
    /// The median time of each, or nothing if there was no time to measure them.
    async fn run(&mut self, candidates: &[Candidate]) -> Result<Option<Vec<f64>>> {
        // All pipelines at once, on all threads.
        let collecting = self.backend.collect_pipelines()?;
        for c in candidates {
            self.bed.round(c.tuning, c.tokens).await?;
        }
        if collecting {
            self.backend.compile_pipelines().await?;
        }
        // What matters most comes first, and is measured however long it takes.
        if !self.measured.is_empty() && self.begun.elapsed() > PATIENCE {
            return Ok(None);
        }
        let mut samples = vec![Vec::new(); candidates.len()];
        for _ in 0..SAMPLES {
            for (c, samples) in candidates.iter().zip(&mut samples) {
                samples.push(self.bed.time(c.tuning, c.tokens, LEAST).await?);
            }
        }
        let medians: Vec<f64> = samples.into_iter().map(median).collect();
        let blocks = self.bed.blocks().max(1) as f64;
        let all = candidates.iter().zip(&medians);
        self.measured
            .extend(all.map(|(candidate, seconds)| Measured {
                way: candidate.way.clone(),
                tokens: candidate.tokens,
                microseconds: (seconds / blocks * 1e8).round() / 100.0,
            }));
        Ok(Some(medians))
    }

    /// The times of matrix-vector kernels and of `other` ones for these numbers of tokens; `tuning` gives both their numbers.
    async fn pairs(
        &mut self,
        all: &[usize],
        other: &str,
        tuning: impl Fn(usize, bool) -> Tuning,
    ) -> Result<Option<Vec<(usize, [f64; 2])>>> {
        let candidate = |tokens: usize, by_vectors: bool| Candidate {
            way: if by_vectors { "matrix-vector" } else { other }.to_owned(),
            tokens,
            tuning: tuning(tokens, by_vectors),
        };
        let both = all
            .iter()
            .flat_map(|&n| [candidate(n, true), candidate(n, false)]);
        let times = self.run(&both.collect::<Vec<_>>()).await?;
        let paired = |times: Vec<f64>| {
            let (pairs, _) = times.as_chunks();
            all.iter().copied().zip(pairs.iter().copied()).collect()
        };
        Ok(times.map(paired))
    }
}

/// Times the candidates on `backend`, and chooses.
pub(super) async fn measure<B: Backend>(
    backend: &B,
    config: &Config,
    options: &LoadOptions,
    stages: usize,
) -> Result<Chosen> {
    let class = backend.facts().tuning;
    let most = GEMV_TOKENS[GEMV_TOKENS.len() - 1].max(BITS_TOKENS[BITS_TOKENS.len() - 1]);
    let widest = Tuning {
        fused_groups: 4 * class.fused_groups,
        integer_gemv_tokens: most.max(class.integer_gemv_tokens),
        ..class
    };
    let bed = Bed::new(backend, config, options, (stages, most), widest).await?;
    let mut race = Race {
        backend,
        bed: &bed,
        begun: Instant::now(),
        measured: Vec::new(),
    };
    let planes = options.activations.byte_planes();
    let (fused, groups) = one_token(&mut race, class).await?;
    let class = rounding(class, fused, groups);
    let mut chosen = Chosen {
        fused,
        fused_groups: groups,
        bits_tokens: class.bits_tokens[planes - 1],
        integer_gemv_tokens: class.integer_gemv_tokens,
        measured: Vec::new(),
    };
    let features = backend.facts().features;
    if kernel_for::<PhaseGemmBits>(features).is_some() {
        if let Some(tokens) = bits(&mut race, class, planes).await? {
            chosen.bits_tokens = tokens;
            chosen.integer_gemv_tokens = chosen.integer_gemv_tokens.max(tokens - 1);
        }
    } else if kernel_for::<PhaseGemmCoop>(features).is_none()
        && let Some(tokens) = gemv(&mut race, class).await?
    {
        chosen.integer_gemv_tokens = tokens;
    }
    chosen.measured = race.measured;
    Ok(chosen)
}

/// Whether the products of one token round it themselves, and in how many workgroups.
async fn one_token<B: Backend>(race: &mut Race<'_, '_, B>, class: Tuning) -> Result<(bool, usize)> {
    let usual = class.fused_groups;
    let mut ways = vec![(false, usual)];
    ways.extend([usual / 4, usual / 2, usual, 2 * usual, 4 * usual].map(|n| (true, n.max(1))));
    let candidates: Vec<Candidate> = ways
        .iter()
        .map(|&(at_once, groups)| Candidate {
            way: match at_once {
                true => format!("rounding in the product, {groups} workgroups"),
                false => "rounding before the product".to_owned(),
            },
            tokens: 1,
            tuning: rounding(class, at_once, groups),
        })
        .collect();
    let usual = (
        race.backend.facts().subgroup_size >= class.fused_subgroup,
        usual,
    );
    let Some(times) = race.run(&candidates).await? else {
        return Ok(usual);
    };
    let at = ways
        .iter()
        .position(|way| *way == usual || !usual.0 && !way.0);
    Ok(ways[fastest(&times, at.unwrap_or(0), CLEARLY_ONE)])
}

/// From how many tokens on one-bit products are faster.
async fn bits<B: Backend>(
    race: &mut Race<'_, '_, B>,
    class: Tuning,
    planes: usize,
) -> Result<Option<usize>> {
    let tuning = |tokens: usize, by_vectors: bool| {
        let mut bits_tokens = class.bits_tokens;
        bits_tokens[planes - 1] = if by_vectors { usize::MAX } else { tokens };
        Tuning {
            bits_tokens,
            integer_gemv_tokens: tokens,
            ..class
        }
    };
    // Beyond these, tokens go through half precision by either kernel.
    let exact = class.exact_tokens[planes - 1];
    let all: Vec<usize> = BITS_TOKENS.into_iter().filter(|&n| n <= exact).collect();
    let times = race.pairs(&all, "one-bit products", tuning).await?;
    let usual = class.bits_tokens[planes - 1];
    Ok(times.map(|times| {
        let slower =
            |&(n, [vectors, bits]): &(usize, [f64; 2])| bits >= margin(n >= usual) * vectors;
        let behind = times.iter().rposition(slower).map_or(0, |i| i + 1);
        match all.get(behind) {
            Some(&tokens) => tokens,
            None => all.last().map_or(usual, |most| most + 1),
        }
    }))
}

/// Up to how many tokens matrix-vector kernels are faster.
async fn gemv<B: Backend>(race: &mut Race<'_, '_, B>, class: Tuning) -> Result<Option<usize>> {
    let tuning = |tokens: usize, by_vectors: bool| Tuning {
        integer_gemv_tokens: if by_vectors { tokens } else { 1 },
        ..class
    };
    let times = race.pairs(&GEMV_TOKENS, "matrix-matrix", tuning).await?;
    let usual = class.integer_gemv_tokens;
    Ok(times.map(|times| {
        let faster =
            |&&(n, [vectors, others]): &&(usize, [f64; 2])| vectors < margin(n <= usual) * others;
        let last = times.iter().take_while(faster).last();
        last.map_or(1, |&(n, _)| n)
    }))
}

/// What share of another way's time is fast enough: more of the usual way, which is left for a clear gain alone.
fn margin(usual: bool) -> f64 {
    if usual { 1.0 / CLEARLY } else { CLEARLY }
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

/// The index of the least time; that of the usual one unless another takes less than this share of its time.
fn fastest(times: &[f64], usual: usize, clearly: f64) -> usize {
    let best = (0..times.len()).min_by(|&a, &b| times[a].total_cmp(&times[b]));
    let best = best.unwrap_or(usual);
    match times[best] < clearly * times[usual] {
        true => best,
        false => usual,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_way_is_left_for_a_clear_gain_alone() {
        assert_eq!(fastest(&[1.0, 0.98, 1.2], 0, 0.97), 0);
        assert_eq!(fastest(&[1.0, 0.9, 1.2], 0, 0.97), 1);
        assert_eq!(fastest(&[1.0], 0, 0.97), 0);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
    }
}
