//! Drawing a token from the whole vocabulary on the device, in integers: every device draws the same.

use super::draw::{Buckets, DrawSettings, MOST_K, Ranked};
use crate::ops::*;

mod cases;

/// Draws one token of each row from all of its logits, as [`crate::ops::sampling::Sample`] does from the best few: for rows
/// without top-k, or with a large one. `chosen` of others, and of those that take the best one, stays as it is.
///
/// Bindings: `x` `[rows, n]` f32, logits; `settings` `[rows, 4]` u32, the [`DrawSettings::words`] of each row, or of one
/// that serves all of them; `random` `[offset + rows]` u32, of which the last `rows` decide, one for each row; `chosen`
/// `[offset + rows]` u32, of which the last `rows` are written: an index within the row, or `u32::MAX` if no logit is a
/// number above minus infinity. What a row draws depends on that row alone.
#[derive(Debug, Clone)]
pub struct SampleAll {
    /// Rows.
    pub rows: usize,
    /// Logits of a row, at least one.
    pub n: usize,
    /// Index of the first row's random number in `random`, and of its id in `chosen`.
    pub offset: usize,
    /// Whether one row of settings serves all rows.
    pub shared: bool,
    /// The least k, beside 0, of rows that are drawn here: [`Self::LEAST_K`], where [`crate::ops::sampling::Sample`] draws
    /// the others.
    pub least_k: usize,
}

params! {
    /// Uniform block of [`SampleAll`].
    pub struct SampleAllParams {
        rows: u32,
        n: u32,
        offset: u32,
        settings_stride: u32,
        least_k: u32,
    }
}

impl SampleAll {
    /// The least k that [`crate::ops::sampling::Sample`] does not draw with.
    pub const LEAST_K: usize = MOST_K + 1;

    /// The settings of a row, if it is drawn here.
    fn settings(&self, settings: &[u32], row: usize) -> Option<[u32; DrawSettings::WORDS]> {
        let of = if self.shared { 0 } else { row };
        let mut words = [0; DrawSettings::WORDS];
        words.copy_from_slice(&settings[of * DrawSettings::WORDS..][..DrawSettings::WORDS]);
        let [rate, _, _, k] = words;
        let own = k == 0 || k as usize >= self.least_k;
        (own && f32::from_bits(rate) != f32::INFINITY).then_some(words)
    }
}

impl Op for SampleAll {
    const NAME: &'static str = "sample_all";
    const SHADERS: &'static [Shader] = &[
        // The kernel needs no subgroups: devices that have them run wider workgroups.
        shader!(Features::SUBGROUP_INT64, sampling / "sample_all" as "sample_all_wide", "wide64", "key", "draw", "scan", "radix"),
        shader!(
            Features::NONE,
            sampling / "sample_all",
            "wide",
            "key",
            "draw",
            "scan",
            "radix"
        ),
    ];
    const BINDINGS: &'static [Binding] = &[
        read("x", Elem::F32),
        read("settings", Elem::U32),
        read("random", Elem::U32),
        write("chosen", Elem::U32),
    ];
    const AGREE: Agree = Agree::Bits;
    type Params = SampleAllParams;

    fn shape(&self) -> String {
        let Self {
            rows,
            n,
            offset,
            shared,
            least_k,
        } = self;
        let shared = u32::from(*shared);
        format!("rows={rows},n={n},offset={offset},shared={shared},least_k={least_k}")
    }

    fn params(&self) -> SampleAllParams {
        SampleAllParams {
            rows: self.rows as u32,
            n: self.n as u32,
            offset: self.offset as u32,
            settings_stride: u32::from(!self.shared),
            least_k: self.least_k as u32,
        }
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        // A lone workgroup has little else to hide the latency of loads with.
        vec![("WIDTH", 1024.0)]
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: self.rows as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        let end = self.offset + self.rows;
        let settings = if self.shared { 1 } else { self.rows };
        vec![self.rows * self.n, DrawSettings::WORDS * settings, end, end]
    }

    fn cost(&self) -> Cost {
        let elements = (self.rows * self.n) as f64;
        Cost {
            bytes: 4.0 * elements,
            ops: 20.0 * elements,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (x, settings): (&[f32], &[u32]) = (b.read(0), b.read(1));
        let (random, chosen): (&[u32], &mut [u32]) = (b.read(2), b.write(3));
        for (row, x) in x.chunks_exact(self.n).take(self.rows).enumerate() {
            if let Some(words) = self.settings(settings, row) {
                let ranked = Ranked::new(&words, (0..).zip(x.iter().copied()));
                let random = random[self.offset + row];
                chosen[self.offset + row] = ranked.map_or(u32::MAX, |ranked| ranked.draw(random));
            }
        }
    }

    fn host(&self, b: &mut Bindings<'_>) {
        let (x, settings): (&[f32], &[u32]) = (b.read(0), b.read(1));
        let (random, chosen): (&[u32], &mut [u32]) = (b.read(2), b.write(3));
        let rows = x.chunks_exact(self.n).zip(&random[self.offset..]);
        let rows = rows.zip(&mut chosen[self.offset..]).take(self.rows);
        // An element takes about 10 ns: its distance, its weight, its bucket.
        cpu::each_worth(
            rows.enumerate().collect(),
            10 * self.n,
            |(row, ((x, &random), chosen))| {
                if let Some(words) = self.settings(settings, row) {
                    let tokens = (0..).zip(x.iter().copied());
                    let drawn = Buckets::new(&words, tokens).and_then(|mut all| all.draw(random));
                    *chosen = drawn.unwrap_or(u32::MAX);
                }
            },
        );
    }

    fn cases() -> Vec<Case<Self>> {
        cases::cases()
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        cases::bench_cases()
    }
}
