//! Which tokens may be drawn, and how likely each is, after bias, penalties, temperature and filters: transformers'
//! numbers, within 1e-6.
//!
//! The host's sampler says its probabilities. What a device draws is measured exactly: equal logits give tokens in one
//! order as the random number grows, so that bisecting it finds where each token ends. Devices after the first one are
//! asked whether tokens end at the same numbers, and measured where they do not.

use super::Report;
use fairy2i_gpu::Result;
use fairy2i_gpu::backend::{Backend, Device, block_on, upload_new};
use fairy2i_gpu::model::{Sampler, Sampling};
use fairy2i_gpu::ops::noise;
use fairy2i_gpu::ops::sampling::{
    DrawSettings, IN_PROMPT, Penalize, PenaltySettings, Sample, SampleAll, TopK,
};
use serde_json::Value;
use std::collections::BTreeMap;

/// Logits of a case.
const N: usize = 64;
/// How far a probability may be off.
const BOUND: f64 = 1e-6;

struct Case {
    name: String,
    logits: Vec<f32>,
    how: Sampling,
    bias: Vec<(u32, f32)>,
    prompt: Vec<u32>,
    generated: Vec<u32>,
    want: Vec<(u32, f64)>,
}

fn ids(value: &Value) -> Vec<u32> {
    let ids = value.as_array().into_iter().flatten();
    ids.map(|id| id.as_u64().expect("an id") as u32).collect()
}

impl Case {
    fn new(index: usize, value: &Value) -> Self {
        let number = |key: &str, or: f64| value[key].as_f64().unwrap_or(or) as f32;
        let seed = value["seed"].as_u64().expect("a seed") as u32;
        let mut logits = noise(seed, N, number("amplitude", 1.0));
        if let Some(grid) = value["grid"].as_f64() {
            let grid = grid as f32;
            logits
                .iter_mut()
                .for_each(|l| *l = (*l / grid).floor() * grid);
        }
        for id in ids(&value["minus_infinity"]) {
            logits[id as usize] = f32::NEG_INFINITY;
        }
        let bias = value["logit_bias"].as_object().into_iter().flatten();
        let bias = bias.map(|(id, number)| {
            let number = number.as_f64().expect("a number");
            (id.parse().expect("an id"), number as f32)
        });
        let want = value["probabilities"].as_array().expect("probabilities");
        let want = want.iter().map(|pair| {
            let id = pair[0].as_u64().expect("an id");
            (id as u32, pair[1].as_f64().expect("a probability"))
        });
        Self {
            name: format!("case {index}, seed {seed}"),
            logits,
            how: Sampling {
                temperature: number("temperature", 1.0),
                top_k: value["top_k"].as_u64().unwrap_or(0) as usize,
                top_p: number("top_p", 1.0),
                min_p: number("min_p", 0.0),
                repetition_penalty: number("repetition_penalty", 1.0),
                penalty_window: usize::MAX,
                presence_penalty: number("presence_penalty", 0.0),
                frequency_penalty: number("frequency_penalty", 0.0),
                seed: 0,
            },
            bias: bias.collect(),
            prompt: ids(&value["prompt"]),
            generated: ids(&value["generated"]),
            want: want.collect(),
        }
    }

    /// Compares (id, probability) pairs with the fixture's.
    fn compare(&self, by: &str, got: &[(u32, f64)], report: &mut Report) {
        let id = format!("{}, {by}", self.name);
        let got: BTreeMap<u32, f64> = got.iter().copied().collect();
        let want: BTreeMap<u32, f64> = self.want.iter().copied().collect();
        let same = got.keys().eq(want.keys());
        report.check(same, || {
            format!("{id}: {:?} stay, not {:?}", got.keys(), want.keys())
        });
        for (token, want) in want {
            let got = got.get(&token).copied().unwrap_or(0.0);
            report.bound(&format!("{id}, token {token}"), (got - want).abs(), BOUND);
        }
    }

    fn on_host(&self, report: &mut Report) {
        let sampler = Sampler::new(self.how).expect("settings that make sense");
        let mut sampler = sampler.with_bias(&self.bias).expect("numbers");
        sampler.accept_prompt(&self.prompt);
        sampler.accept(&self.generated);
        self.compare("host", &sampler.probabilities(&self.logits), report);
    }

    /// The logits after bias and penalties on a device.
    async fn penalized(&self, device: &Device) -> Result<Vec<f32>> {
        let how = PenaltySettings {
            slot: 0,
            repetition: self.how.repetition_penalty,
            presence: self.how.presence_penalty,
            frequency: self.how.frequency_penalty,
            biased: true,
            masked: false,
        };
        let (mut history, mut bias) = (vec![0; N], vec![0.0; N]);
        self.prompt
            .iter()
            .for_each(|&id| history[id as usize] |= IN_PROMPT);
        self.generated
            .iter()
            .for_each(|&id| history[id as usize] += 1);
        for &(id, number) in &self.bias {
            bias[id as usize] = number;
        }
        let op = Penalize {
            rows: 1,
            n: N,
            history_slots: 1,
            bias_slots: 1,
            mask_slots: 0,
        };
        let new = |words: &[u32]| upload_new(device, "penalties", words);
        let (settings, history) = (new(&how.words())?, new(&history)?);
        let (bias, mask) = (new(bytemuck::cast_slice(&bias))?, new(&[0])?);
        let logits = new(bytemuck::cast_slice(&self.logits))?;
        let buffers = [&settings, &history, &bias, &mask, &logits];
        device.run(&op, &buffers).await?;
        let words = device.download(&logits, 0, N).await?;
        Ok(words.into_iter().map(f32::from_bits).collect())
    }

    /// Where the tokens end that a device draws from all logits, or from the best of them: the first random number that draws
    /// what stands behind the token at each place of `order`. One place more than there should be tokens finds out whether
    /// there are more. `guess` is tried first.
    async fn ends(
        &self,
        device: &Device,
        (logits, order): (&[f32], &[u32]),
        all: bool,
        guess: Option<&[u64]>,
    ) -> Result<Vec<u64>> {
        let rows = (self.want.len() + 1).min(N);
        let drawing = Drawing::new(device, self.settings(all), logits, rows, all).await?;
        // Whether each random number draws what stands behind the token at its place.
        let behind = async |numbers: &[u64]| {
            let random: Vec<u32> = numbers.iter().map(|&number| number as u32).collect();
            let chosen = drawing.draw(device, &random).await?.into_iter();
            let place = |token: u32| order.iter().position(|&id| id == token).expect("an id");
            let behind = chosen.enumerate().map(|(row, token)| place(token) > row);
            Result::Ok(behind.collect::<Vec<bool>>())
        };
        const LAST: u64 = u32::MAX as u64;
        if let Some(guess) = guess {
            let at = behind(&guess.iter().map(|&end| end.min(LAST)).collect::<Vec<_>>()).await?;
            let before: Vec<_> = guess.iter().map(|&end| end.saturating_sub(1)).collect();
            let before = behind(&before).await?;
            let holds =
                |row: usize| at[row] == (guess[row] <= LAST) && before[row] == (guess[row] == 0);
            if (0..rows).all(holds) {
                return Ok(guess.to_vec());
            }
        }
        // Numbers below `known` do not, those from `ends` on do.
        let (mut ends, mut known) = (vec![1u64 << 32; rows], vec![0u64; rows]);
        for _ in 0..33 {
            let between = ends.iter().zip(&known);
            let middle = between.map(|(end, known)| (known + (end - known) / 2).min(LAST));
            let middle: Vec<u64> = middle.collect();
            for (row, behind) in behind(&middle).await?.into_iter().enumerate() {
                match behind {
                    true => ends[row] = middle[row],
                    false => known[row] = (middle[row] + 1).min(ends[row]),
                }
            }
        }
        Ok(ends)
    }

    fn settings(&self, all: bool) -> DrawSettings {
        let k = self.how.top_k;
        DrawSettings {
            // Without top-k, everything is among the best.
            k: if all || k > 0 { k } else { N },
            temperature: self.how.temperature,
            top_p: self.how.top_p,
            min_p: self.how.min_p,
        }
    }
}

/// Rows of the same logits that are drawn from with different random numbers.
struct Drawing {
    rows: usize,
    all: bool,
    logits: <Device as Backend>::Buffer,
    best: [<Device as Backend>::Buffer; 2],
    settings: <Device as Backend>::Buffer,
    random: <Device as Backend>::Buffer,
    chosen: <Device as Backend>::Buffer,
}

impl Drawing {
    async fn new(
        device: &Device,
        how: DrawSettings,
        logits: &[f32],
        rows: usize,
        all: bool,
    ) -> Result<Self> {
        let new = |words: &[u32]| upload_new(device, "drawing", words);
        let drawing = Self {
            rows,
            all,
            logits: new(bytemuck::cast_slice(&logits.repeat(rows)))?,
            best: [new(&vec![0; rows * N])?, new(&vec![0; rows * N])?],
            settings: new(&how.words())?,
            random: new(&vec![0; rows])?,
            chosen: new(&vec![0; rows])?,
        };
        let top_k = TopK { rows, n: N, k: N };
        let [ids, best] = &drawing.best;
        let buffers = [&drawing.logits, ids, best];
        device.run(&top_k, &buffers).await?;
        Ok(drawing)
    }

    async fn draw(&self, device: &Device, random: &[u32]) -> Result<Vec<u32>> {
        device.upload(&self.random, 0, random)?;
        let (rows, offset, shared) = (self.rows, 0, true);
        let [ids, best] = &self.best;
        let (settings, random, chosen) = (&self.settings, &self.random, &self.chosen);
        match self.all {
            true => {
                let op = SampleAll {
                    rows,
                    n: N,
                    offset,
                    shared,
                    least_k: 1,
                };
                let buffers = [&self.logits, settings, random, chosen];
                device.run(&op, &buffers).await?;
            }
            false => {
                let op = Sample {
                    rows,
                    k: N,
                    offset,
                    shared,
                };
                let buffers = [ids, best, settings, random, chosen];
                device.run(&op, &buffers).await?;
            }
        }
        device.download(chosen, 0, rows).await
    }
}

/// The probabilities of the tokens of `order`, which end there.
fn probabilities(order: &[u32], ends: &[u64]) -> Vec<(u32, f64)> {
    let mut begin = 0;
    let lengths = ends
        .iter()
        .map(|&end| end - std::mem::replace(&mut begin, end));
    let likely = lengths.map(|length| length as f64 / 2f64.powi(32));
    let pairs = order.iter().copied().zip(likely);
    pairs.filter(|pair| pair.1 > 0.0).collect()
}

pub fn judge(fixture: &Value, devices: &[(String, Device)]) -> Report {
    let mut report = Report::default();
    let cases = fixture["cases"].as_array().expect("cases");
    let cases = cases.iter().enumerate();
    for case in cases.map(|(index, value)| Case::new(index, value)) {
        case.on_host(&mut report);
        for (all, op) in [(true, "all"), (false, "the best")] {
            let mut guess: Option<Vec<u64>> = None;
            for (name, device) in devices {
                let logits = block_on(device, case.penalized(device)).expect("penalizes");
                let mut order: Vec<u32> = (0..N as u32).collect();
                order.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]));
                let ends = case.ends(device, (&logits, &order), all, guess.as_deref());
                let ends = block_on(device, ends).expect("draws");
                let got = probabilities(&order, &ends);
                case.compare(&format!("from {op} on {name}"), &got, &mut report);
                guess = Some(ends);
            }
        }
    }
    report
}
