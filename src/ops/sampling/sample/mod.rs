//! Drawing a token from the best candidates on the device, in integers: every device draws the same.

use super::draw::{DrawSettings, Ranked, candidates};
use crate::ops::*;

mod cases;

/// Draws one token of each row from its best candidates: of those that top-k keeps (the equals of the k-th stay), those
/// that top-p keeps, and of these those that min-p keeps, by their tempered probabilities. Rows with a k of 1 to 256 are
/// drawn, and those that take the best one (temperature 0); `chosen` of others stays as it is, for
/// [`crate::ops::sampling::SampleAll`].
///
/// Weights are integers of 31 bits that follow from 27 fraction bits of the logarithm of the probability; so equal logits
/// and an equal random number give the same token everywhere.
///
/// Bindings: `ids` `[rows, k]` u32, `logits` `[rows, k]` f32, both as [`crate::ops::sampling::TopK`] leaves them;
/// `settings` `[rows, 4]` u32, the [`DrawSettings::words`] of each row, or of one that serves all of them; `random`
/// `[offset + rows]` u32, of which the last `rows` decide, one for each row; `chosen` `[offset + rows]` u32, of which the
/// last `rows` are written: an id of the row, or `u32::MAX` if its best logit is no number or minus infinity. What a row
/// draws depends on that row alone: on its first [`DrawSettings::candidates`], where there are as many.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Rows.
    pub rows: usize,
    /// Candidates that lie there for each row, at most 256. A row may draw from fewer.
    pub k: usize,
    /// Index of the first row's random number in `random`, and of its id in `chosen`.
    pub offset: usize,
    /// Whether one row of settings serves all rows.
    pub shared: bool,
}

params! {
    /// Uniform block of [`Sample`].
    pub struct SampleParams {
        rows: u32,
        k: u32,
        offset: u32,
        settings_stride: u32,
    }
}

impl Op for Sample {
    const NAME: &'static str = "sample";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        sampling / "sample",
        "wide",
        "draw",
        "scan"
    )];
    const BINDINGS: &'static [Binding] = &[
        read("ids", Elem::U32),
        read("logits", Elem::F32),
        read("settings", Elem::U32),
        read("random", Elem::U32),
        write("chosen", Elem::U32),
    ];
    const AGREE: Agree = Agree::Bits;
    type Params = SampleParams;

    fn shape(&self) -> String {
        let Self {
            rows,
            k,
            offset,
            shared,
        } = self;
        let shared = u32::from(*shared);
        format!("rows={rows},k={k},offset={offset},shared={shared}")
    }

    fn params(&self) -> SampleParams {
        SampleParams {
            rows: self.rows as u32,
            k: self.k as u32,
            offset: self.offset as u32,
            settings_stride: u32::from(!self.shared),
        }
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: self.rows as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        let (all, end) = (self.rows * self.k, self.offset + self.rows);
        let settings = if self.shared { 1 } else { self.rows };
        vec![all, all, DrawSettings::WORDS * settings, end, end]
    }

    fn cost(&self) -> Cost {
        Cost {
            bytes: 8.0 * (self.rows * (self.k + 1)) as f64,
            ops: 40.0 * (self.rows * self.k) as f64,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (ids, logits): (&[u32], &[f32]) = (b.read(0), b.read(1));
        let (settings, random): (&[u32], &[u32]) = (b.read(2), b.read(3));
        let chosen: &mut [u32] = b.write(4);
        for row in 0..self.rows {
            let (ids, logits) = (&ids[row * self.k..], &logits[row * self.k..][..self.k]);
            let of = if self.shared { 0 } else { row };
            let mut words = [0; DrawSettings::WORDS];
            words.copy_from_slice(&settings[of * DrawSettings::WORDS..][..DrawSettings::WORDS]);
            let own = candidates(&words);
            if own > 0 {
                let tokens = ids.iter().copied().zip(logits.iter().copied()).take(own);
                let ranked = Ranked::new(&words, tokens);
                let random = random[self.offset + row];
                chosen[self.offset + row] = ranked.map_or(u32::MAX, |ranked| ranked.draw(random));
            }
        }
    }

    fn cases() -> Vec<Case<Self>> {
        cases::cases()
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        cases::bench_cases()
    }
}
