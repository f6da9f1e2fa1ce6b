//! Bias, penalties and masks on the device, before a token is drawn.

use crate::ops::*;

mod cases;

/// Bit of a word of `history`: the token is one of the prompt's. The lower bits count it among the generated tokens.
pub const IN_PROMPT: u32 = 1 << 31;

/// Elements per workgroup.
const PER_GROUP: usize = 1024;

/// Changes rows of logits in place, each as its settings and its slot's rows of three tables say: adds the bias; divides
/// positive logits of tokens that occurred by the repetition penalty and multiplies others by it; takes away
/// `presence + frequency * count` from tokens that were generated `count` times, if any; and makes tokens that the mask
/// leaves out minus infinity. The host's sampler has this order, too.
///
/// Tokens without bias, history and mask keep their bits, and so do rows whose flags are all unset. What a row becomes
/// depends on its own settings and slot alone.
///
/// Bindings: `settings` `[rows, 8]` u32, the [`PenaltySettings::words`] of each row; `history` `[history_slots, n]` u32, of
/// each token whether the prompt has it ([`IN_PROMPT`]) and how often it was generated; `bias` `[bias_slots, n]` f32;
/// `mask` `[mask_slots, ceil(n / 32)]` u32, bit `i % 32` of word `i / 32` set where token `i` may come; `x` `[rows, n]`
/// f32, logits, changed in place. A table that no row needs has no slots, and any buffer stands for it: flags of rows whose
/// slot a table does not have are ignored.
///
/// Every step is one IEEE operation, whose result becomes zero where it is subnormal; the division is a product with the
/// reciprocal, rounded to f32. So the bits are the same everywhere.
#[derive(Debug, Clone)]
pub struct Penalize {
    /// Rows, at most 65,535.
    pub rows: usize,
    /// Logits of a row.
    pub n: usize,
    /// Slots that `history` has, or 0.
    pub history_slots: usize,
    /// Slots that `bias` has, or 0.
    pub bias_slots: usize,
    /// Slots that `mask` has, or 0.
    pub mask_slots: usize,
}

/// How one row is penalized.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PenaltySettings {
    /// Its slot in the tables.
    pub slot: u32,
    /// Positive logits of tokens that occurred are divided, others multiplied by it; 1 does nothing.
    pub repetition: f32,
    /// Taken from the logits of tokens that were generated; 0 does nothing.
    pub presence: f32,
    /// Taken from the logits of tokens as often as they were generated; 0 does nothing.
    pub frequency: f32,
    /// Whether the slot's biases are added.
    pub biased: bool,
    /// Whether the slot's mask holds.
    pub masked: bool,
}

impl Default for PenaltySettings {
    /// Nothing of slot 0.
    fn default() -> Self {
        Self {
            slot: 0,
            repetition: 1.0,
            presence: 0.0,
            frequency: 0.0,
            biased: false,
            masked: false,
        }
    }
}

impl PenaltySettings {
    /// Words of a row of `settings`.
    pub const WORDS: usize = 8;
    /// Flag: one of the three penalties does something, and [`crate::ops::sampling::CountTokens`] counts the row's tokens.
    pub const PENALIZED: u32 = 1;
    /// Flag: [`Self::biased`].
    pub const BIASED: u32 = 2;
    /// Flag: [`Self::masked`].
    pub const MASKED: u32 = 4;

    /// Whether one of the three penalties does something.
    pub fn penalizes(&self) -> bool {
        (self.repetition, self.presence, self.frequency) != (1.0, 0.0, 0.0)
    }

    /// What the kernels read: slot, flags, the repetition penalty and one divided by it, the penalties of presence and
    /// frequency (all f32), and two zeros.
    pub fn words(&self) -> [u32; Self::WORDS] {
        let flag = |set, flag| if set { flag } else { 0 };
        let flags = flag(self.penalizes(), Self::PENALIZED)
            | flag(self.biased, Self::BIASED)
            | flag(self.masked, Self::MASKED);
        let repetition = self.factors().map(f32::to_bits);
        let [presence, frequency] = [self.presence, self.frequency].map(|v| settled(v).to_bits());
        let [factor, inverse] = repetition;
        [self.slot, flags, factor, inverse, presence, frequency, 0, 0]
    }

    /// The repetition penalty and one divided by it, of which neither is subnormal.
    fn factors(&self) -> [f32; 2] {
        let (least, most) = (2f32.powi(-100), 2f32.powi(100));
        let factor = self.repetition.clamp(least, most);
        [factor, 1.0 / factor]
    }

    /// A logit with `bias` of a token with the word `history`: what [`Penalize`] makes of it.
    pub fn apply(&self, logit: f32, bias: f32, history: u32) -> f32 {
        if bias == 0.0 && history == 0 {
            return logit;
        }
        let mut logit = settled(logit);
        if bias != 0.0 {
            logit = settled(logit + settled(bias));
        }
        if history != 0 {
            let [factor, inverse] = self.factors();
            logit = settled(logit * if logit > 0.0 { inverse } else { factor });
        }
        let count = history & !IN_PROMPT;
        if count > 0 {
            let frequent = settled(count as f32 * settled(self.frequency));
            let penalty = settled(frequent + settled(self.presence));
            logit = settled(logit - penalty);
        }
        logit
    }
}

/// A value with the bits that all devices give it: zero where it is subnormal, and one NaN.
fn settled(value: f32) -> f32 {
    if value.is_nan() {
        return f32::from_bits(0x7fc0_0000);
    }
    match value.is_normal() || value.is_infinite() {
        true => value,
        false => 0.0,
    }
}

params! {
    /// Uniform block of [`Penalize`].
    pub struct PenalizeParams {
        rows: u32,
        n: u32,
        history_slots: u32,
        bias_slots: u32,
        mask_slots: u32,
    }
}

impl Op for Penalize {
    const NAME: &'static str = "penalize";
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, sampling / "penalize")];
    const BINDINGS: &'static [Binding] = &[
        read("settings", Elem::U32),
        read("history", Elem::U32),
        read("bias", Elem::F32),
        read("mask", Elem::U32),
        write("x", Elem::F32),
    ];
    const AGREE: Agree = Agree::Bits;
    type Params = PenalizeParams;

    fn shape(&self) -> String {
        let Self {
            rows,
            n,
            history_slots,
            bias_slots,
            mask_slots,
        } = self;
        format!(
            "rows={rows},n={n},history_slots={history_slots},bias_slots={bias_slots},mask_slots={mask_slots}"
        )
    }

    fn params(&self) -> PenalizeParams {
        PenalizeParams {
            rows: self.rows as u32,
            n: self.n as u32,
            history_slots: self.history_slots as u32,
            bias_slots: self.bias_slots as u32,
            mask_slots: self.mask_slots as u32,
        }
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: self.n.div_ceil(PER_GROUP) as u32,
            batch: self.rows as u32,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        vec![
            self.rows * PenaltySettings::WORDS,
            self.history_slots * self.n,
            self.bias_slots * self.n,
            self.mask_slots * self.n.div_ceil(32),
            self.rows * self.n,
        ]
    }

    fn cost(&self) -> Cost {
        let tables = [self.history_slots, self.bias_slots].map(|slots| slots.min(1));
        let words = tables.into_iter().sum::<usize>() as f64 + self.mask_slots.min(1) as f64 / 32.0;
        let elements = (self.rows * self.n) as f64;
        Cost {
            bytes: 4.0 * elements * (words + 2.0),
            ops: 6.0 * elements,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (settings, history): (&[u32], &[u32]) = (b.read(0), b.read(1));
        let (bias, mask): (&[f32], &[u32]) = (b.read(2), b.read(3));
        let x: &mut [f32] = b.write(4);
        let rows = x
            .chunks_exact_mut(self.n)
            .zip(settings.chunks_exact(PenaltySettings::WORDS));
        for (x, words) in rows.take(self.rows) {
            let how = Row::new(words);
            let slot = how.settings.slot as usize;
            let has = |flag: u32, slots: usize| how.flags & flag != 0 && slot < slots;
            let penalized = has(PenaltySettings::PENALIZED, self.history_slots);
            let biased = has(PenaltySettings::BIASED, self.bias_slots);
            let masked = has(PenaltySettings::MASKED, self.mask_slots);
            for (i, x) in x.iter_mut().enumerate() {
                let word = if penalized {
                    history[slot * self.n + i]
                } else {
                    0
                };
                let bias = if biased { bias[slot * self.n + i] } else { 0.0 };
                *x = how.settings.apply(*x, bias, word);
                if masked && mask[slot * self.n.div_ceil(32) + i / 32] >> (i % 32) & 1 == 0 {
                    *x = f32::NEG_INFINITY;
                }
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

/// What the words of a row of settings say.
struct Row {
    settings: PenaltySettings,
    flags: u32,
}

impl Row {
    fn new(words: &[u32]) -> Self {
        let float = |i: usize| f32::from_bits(words[i]);
        Self {
            settings: PenaltySettings {
                slot: words[0],
                repetition: float(2),
                presence: float(4),
                frequency: float(5),
                biased: words[1] & PenaltySettings::BIASED != 0,
                masked: words[1] & PenaltySettings::MASKED != 0,
            },
            flags: words[1],
        }
    }
}
