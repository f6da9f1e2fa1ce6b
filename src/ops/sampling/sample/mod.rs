//! Drawing a token from the best candidates on the device, in integers: every device draws the same.

use crate::ops::*;

mod cases;

/// Draws one of the `k` best tokens of each row: min-p and top-p keep a prefix of the candidates (by their plain
/// probabilities, as llama.cpp has it), of which one is drawn by its tempered probability.
///
/// Weights are `2^23 2^-x` with 16 fraction bits of `x`, by integer products; so equal logits and an equal random number
/// give the same token everywhere.
///
/// Bindings: `ids` `[rows, k]` u32, `logits` `[rows, k]` f32, both as [`crate::ops::sampling::TopK`] leaves them; `settings`
/// `[rows, 4]` u32, the [`DrawSettings::words`] of each row, or of one that serves all of them; `random` `[offset + rows]`
/// u32, of which the last `rows` decide, one for each row; `chosen` `[offset + rows]` u32, of which the last `rows` are
/// written: an id of the row, or `u32::MAX` if its best logit is no number. What a row draws depends on that row alone.
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

/// How one row draws.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DrawSettings {
    /// Candidates of the row, at least 1. The first one is drawn where it is the only one, whatever the rest says.
    pub k: usize,
    /// What logits are divided by, above 0.
    pub temperature: f32,
    /// Sum of probabilities that is enough.
    pub top_p: f32,
    /// Least probability of a token, as a fraction of the best one's.
    pub min_p: f32,
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

/// 2^32 2^(-2^-(b + 1)).
const ROOTS: [u32; 16] = [
    0xb504_f334,
    0xd744_fccb,
    0xeac0_c6e8,
    0xf525_7d15,
    0xfa83_b2db,
    0xfd3e_0c0d,
    0xfe9e_115c,
    0xff4e_cb59,
    0xffa7_5652,
    0xffd3_a752,
    0xffe9_d2b3,
    0xfff4_e91c,
    0xfffa_747f,
    0xfffd_3a3b,
    0xfffe_9d1d,
    0xffff_4e8e,
];

/// The upper half of a product.
fn high(a: u32, b: u32) -> u32 {
    ((u64::from(a) * u64::from(b)) >> 32) as u32
}

/// `2^23 2^-x`.
fn power(x: f32) -> u32 {
    if x.is_nan() || x >= 24.0 {
        return 0;
    }
    let fixed = (x * 65536.0) as u32;
    let bits = (0..16).filter(|b| fixed >> (15 - b) & 1 == 1);
    let w = bits.fold(1u32 << 31, |w, b| high(w, ROOTS[b as usize]));
    w >> (8 + (fixed >> 16))
}

impl DrawSettings {
    /// Words of a row of `settings`.
    pub const WORDS: usize = 4;

    /// What the kernel reads: log2 e / temperature as f32, top-p in units of 2^-32, min-p in units of 2^-23, and k.
    pub fn words(&self) -> [u32; Self::WORDS] {
        let rate = std::f32::consts::LOG2_E / self.temperature;
        // conversions saturate
        let top_p = (f64::from(self.top_p) * 2f64.powi(32)) as u32;
        let min_p = (f64::from(self.min_p) * 2f64.powi(23)).ceil() as u32;
        [rate.to_bits(), top_p, min_p, self.k as u32]
    }
}

/// How many candidates with these plain weights stay.
fn kept(weights: &[u32], top_p: u32, min_p: u32) -> usize {
    let enough = high(weights.iter().sum(), top_p);
    let mut sum = 0;
    for (i, &w) in weights.iter().enumerate() {
        if w < min_p {
            return i.max(1);
        }
        sum += w;
        if sum > enough {
            return i + 1;
        }
    }
    weights.len()
}

/// Which of the candidates with these logits `random` draws; none where the best is no number.
fn draw(settings: &[u32], logits: &[f32], random: u32) -> Option<usize> {
    if logits[0].is_nan() {
        return None;
    }
    let &[tempered, top_p, min_p, k] = settings else {
        return None;
    };
    let (rate, tempered) = (std::f32::consts::LOG2_E, f32::from_bits(tempered));
    let bound = |l: f32| l.clamp(f32::MIN, f32::MAX);
    let gaps = logits.iter().take(k as usize);
    let gaps: Vec<f32> = gaps.map(|&l| bound(logits[0]) - bound(l)).collect();
    let plain: Vec<u32> = gaps.iter().map(|g| power(g * rate)).collect();
    let kept = kept(&plain, top_p, min_p);
    let weights = gaps[..kept].iter().map(|g| power(g * tempered));
    let weights: Vec<u32> = weights.collect();
    let target = high(weights.iter().sum(), random);
    let mut sum = 0;
    let choice = weights.iter().position(|w| {
        sum += w;
        sum > target
    });
    Some(choice.unwrap_or(0))
}

impl Op for Sample {
    const NAME: &'static str = "sample";
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, sampling / "sample", "wide")];
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
            let settings = &settings[of * DrawSettings::WORDS..][..DrawSettings::WORDS];
            let choice = draw(settings, logits, random[self.offset + row]);
            chosen[self.offset + row] = choice.map_or(u32::MAX, |choice| ids[choice]);
        }
    }

    fn cases() -> Vec<Case<Self>> {
        cases::cases()
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        cases::bench_cases()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_are_powers() {
        for i in 0..3000 {
            let x = i as f32 * 0.01;
            let want = (23.0 - f64::from(x)).exp2();
            let got = f64::from(power(x));
            assert!((got - want).abs() <= want * 3e-5 + 1.0, "{x}: {got} {want}");
        }
    }

    #[test]
    fn draws_follow_the_weights() {
        let logits = [1.0f32, 0.5, 0.0, -1.0];
        let total: f64 = logits.iter().map(|l| f64::from(*l).exp()).sum();
        let settings = DrawSettings {
            k: 4,
            temperature: 1.0,
            top_p: 1.0,
            min_p: 0.0,
        };
        let mut counts = [0usize; 4];
        let draws = 20_000u32;
        for i in 0..draws {
            let choice = draw(&settings.words(), &logits, hash32(i, 9));
            counts[choice.expect("numbers")] += 1;
        }
        for (count, l) in counts.iter().zip(logits) {
            let want = f64::from(l).exp() / total;
            let got = *count as f64 / f64::from(draws);
            assert!((got - want).abs() < 0.012, "{l}: {got} {want}");
        }
    }
}
