//! Drawing a token from the best candidates on the device, in integers: every device draws the same.

use crate::ops::*;
use bytemuck::Zeroable;

/// Draws one of the `k` best tokens of each row: min-p and top-p keep a prefix of the candidates (by their plain probabilities, as
/// llama.cpp has it), of which one is drawn by its tempered probability.
///
/// Weights are `2^23 2^-x` with 16 fraction bits of `x`, by integer products; so equal logits and an equal random number
/// give the same token everywhere.
///
/// Bindings: `ids` `[rows, k]` u32, `logits` `[rows, k]` f32, both as [`crate::ops::sampling::TopK`] leaves them; `random`
/// `[to + rows]` u32, of which the last `rows` decide, one for each row; `chosen` `[to + rows]` u32, of which the last
/// `rows` are written: an id of the row, or `u32::MAX` if its best logit is no number. What a row draws depends on that
/// row alone.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Rows.
    pub rows: usize,
    /// Candidates of a row, at most 256.
    pub k: usize,
    /// Place of the first row's random number in `random`, and of its id in `chosen`.
    pub to: usize,
    /// Above 0.
    pub temperature: f32,
    /// Sum of probabilities that is enough.
    pub top_p: f32,
    /// Least probability of a token, as a fraction of the best one's.
    pub min_p: f32,
}

/// Uniform block of [`Sample`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct SampleParams {
    rows: u32,
    k: u32,
    to: u32,
    rate: f32,
    tempered: f32,
    top_p: u32,
    min_p: u32,
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

impl Sample {
    /// How many candidates with these plain weights stay.
    fn kept(&self, weights: &[u32]) -> usize {
        let params = self.params();
        let enough = high(weights.iter().sum(), params.top_p);
        let mut sum = 0;
        for (i, &w) in weights.iter().enumerate() {
            if w < params.min_p {
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
    fn draw(&self, logits: &[f32], random: u32) -> Option<usize> {
        if logits[0].is_nan() {
            return None;
        }
        let params = self.params();
        let bound = |l: f32| l.clamp(f32::MIN, f32::MAX);
        let gaps: Vec<f32> = logits
            .iter()
            .map(|&l| bound(logits[0]) - bound(l))
            .collect();
        let plain: Vec<u32> = gaps.iter().map(|g| power(g * params.rate)).collect();
        let kept = self.kept(&plain);
        let tempered = gaps[..kept].iter().map(|g| power(g * params.tempered));
        let tempered: Vec<u32> = tempered.collect();
        let target = high(tempered.iter().sum(), random);
        let mut sum = 0;
        let choice = tempered.iter().position(|w| {
            sum += w;
            sum > target
        });
        Some(choice.unwrap_or(0))
    }
}

impl Op for Sample {
    const NAME: &'static str = "sample";
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, sampling / "sample", "wide")];
    const BINDINGS: &'static [Binding] = &[
        read("ids", Elem::U32),
        read("logits", Elem::F32),
        read("random", Elem::U32),
        write("chosen", Elem::U32),
    ];
    const AGREE: Agree = Agree::Bits;
    type Params = SampleParams;

    fn params(&self) -> SampleParams {
        let log2_e = std::f32::consts::LOG2_E;
        SampleParams {
            rows: self.rows as u32,
            k: self.k as u32,
            to: self.to as u32,
            rate: log2_e,
            tempered: log2_e / self.temperature,
            // conversions saturate
            top_p: (f64::from(self.top_p) * 2f64.powi(32)) as u32,
            min_p: (f64::from(self.min_p) * 2f64.powi(23)).ceil() as u32,
        }
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: self.rows as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        let (all, end) = (self.rows * self.k, self.to + self.rows);
        vec![all, all, end, end]
    }

    fn cost(&self) -> Cost {
        Cost {
            bytes: 8.0 * (self.rows * (self.k + 1)) as f64,
            ops: 40.0 * (self.rows * self.k) as f64,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (ids, logits): (&[u32], &[f32]) = (b.read(0), b.read(1));
        let (random, chosen): (&[u32], &mut [u32]) = (b.read(2), b.write(3));
        for row in 0..self.rows {
            let (ids, logits) = (&ids[row * self.k..], &logits[row * self.k..][..self.k]);
            let choice = self.draw(logits, random[self.to + row]);
            chosen[self.to + row] = choice.map_or(u32::MAX, |choice| ids[choice]);
        }
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        bench::sample()
    }

    fn cases() -> Vec<Case<Self>> {
        let sorted = |k: usize, amplitude: f32| {
            let mut logits = noise(74, k, amplitude);
            logits.sort_by(|a, b| b.total_cmp(a));
            logits
        };
        let rows_of =
            |name: &str, logits: &[f32], [temperature, top_p, min_p]: [f32; 3], random: &[u32]| {
                let op = Self {
                    rows: random.len(),
                    k: logits.len() / random.len(),
                    to: 2,
                    temperature,
                    top_p,
                    min_p,
                };
                let ids: Vec<u32> = (0..logits.len() as u32).map(|i| 1000 + 7 * i).collect();
                let before = Data::Words(vec![5; 2 + random.len()]);
                let random = Data::u32(&[&[0, u32::MAX], random].concat());
                Case::new(
                    name,
                    op,
                    vec![Data::u32(&ids), Data::f32(logits), random, before],
                )
            };
        let case = |name: &str, logits: &[f32], how, random| {
            rows_of(&format!("{name}, {random:#x}"), logits, how, &[random])
        };
        let usual = [0.8, 0.95, 0.05];
        let mut cases = Vec::new();
        for random in [0, 0x1234_5678, 0x9999_9999, u32::MAX] {
            cases.push(case("usual", &sorted(40, 5.0), usual, random));
            cases.push(case("hot", &sorted(256, 3.0), [3.0, 1.0, 0.0], random));
            cases.push(case("cold", &sorted(17, 1.0), [0.05, 0.5, 0.0], random));
        }
        let odd = [
            f32::INFINITY,
            f32::INFINITY,
            3.0,
            f32::NEG_INFINITY,
            f32::NAN,
        ];
        cases.push(case("infinities", &odd, [1.0, 1.0, 0.0], 0xc000_0000));
        cases.push(case("no number", &[f32::NAN; 3], usual, 7));
        cases.push(case("one", &[-2.0], usual, 7));
        // rows that decide differently, a hopeless one among them
        let rows: Vec<f32> = (0..6).flat_map(|_| sorted(40, 3.0)).collect();
        let random = noise_u32(75, 6);
        cases.push(rows_of("several rows", &rows, [1.0, 1.0, 0.0], &random));
        let mut rows = [sorted(7, 2.0), vec![f32::NAN; 7], sorted(7, 9.0)].concat();
        rows[14] = f32::INFINITY;
        cases.push(rows_of("rows of all kinds", &rows, usual, &random[..3]));
        cases
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
        let mut counts = [0usize; 4];
        let draws = 20_000u32;
        for i in 0..draws {
            let op = Sample {
                rows: 1,
                k: 4,
                to: 0,
                temperature: 1.0,
                top_p: 1.0,
                min_p: 0.0,
            };
            let mut chosen = [0u32];
            let words = logits.map(f32::to_bits);
            let mut b = Bindings::new();
            b.push_read(&[0, 1, 2, 3]);
            b.push_read(&words);
            let random = [hash32(i, 9)];
            b.push_read(&random);
            b.push_write(&mut chosen);
            op.reference(&mut b);
            counts[chosen[0] as usize] += 1;
        }
        for (count, l) in counts.iter().zip(logits) {
            let want = f64::from(l).exp() / total;
            let got = *count as f64 / f64::from(draws);
            assert!((got - want).abs() < 0.012, "{l}: {got} {want}");
        }
    }
}
