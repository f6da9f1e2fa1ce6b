//! Packs f32 as bf16, rounded at random.

use super::bf16;
use crate::ops::*;

mod cases;

/// f32 to bf16, rounded at random. Infinity stays infinity, and NaN stays NaN.
///
/// Bindings: `x` `[n]` f32; `y` two bf16 a word; those from value `offset` on are written.
#[derive(Debug, Clone)]
pub struct Bf16Pack {
    /// Values.
    pub n: usize,
    /// Index of the first of them in `y`, even. If `n` is odd, they are the last ones.
    pub offset: usize,
    /// Seed of the noise that rounds.
    pub seed: u32,
}

params! {
    /// Uniform block of [`Bf16Pack`].
    pub struct Bf16PackParams {
        n: u32,
        offset: u32,
        seed: u32,
    }
}

/// The upper half of `bits` after 16 bits of `noise` were added.
fn rounded(bits: u32, noise: u32) -> u32 {
    if bits & 0x7f80_0000 == 0x7f80_0000 {
        let quiet = if bits & 0x7f_ffff == 0 { 0 } else { 0x40 };
        return bits >> 16 | quiet;
    }
    (bits + noise) >> 16
}

impl Op for Bf16Pack {
    const NAME: &'static str = "bf16_pack";
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, train / "bf16_pack", "hash")];
    const BINDINGS: &'static [Binding] = &[read("x", Elem::F32), write("y", Elem::U32)];
    const AGREE: Agree = Agree::Bits;
    type Params = Bf16PackParams;

    fn shape(&self) -> String {
        format!("n={},offset={},seed={}", self.n, self.offset, self.seed)
    }

    fn params(&self) -> Bf16PackParams {
        Bf16PackParams {
            n: self.n as u32,
            offset: self.offset as u32,
            seed: self.seed,
        }
    }

    fn grid(&self) -> Grid {
        Grid::element_wise(self.n.div_ceil(2))
    }

    fn lengths(&self) -> Vec<usize> {
        vec![self.n, bf16::words(self.offset + self.n)]
    }

    fn cost(&self) -> Cost {
        Cost {
            bytes: 6.0 * self.n as f64,
            ops: 8.0 * self.n as f64,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (x, y): (&[u32], &mut [u32]) = (b.read(0), b.write(1));
        let pairs = x[..self.n].chunks(2).zip(&mut y[self.offset / 2..]);
        for (i, (pair, y)) in pairs.enumerate() {
            let noise = hash32((self.offset / 2 + i) as u32, self.seed);
            let upper = pair.get(1).map_or(0, |&x| rounded(x, noise >> 16));
            *y = upper << 16 | rounded(pair[0], noise & 0xffff);
        }
    }

    fn host(&self, b: &mut Bindings<'_>) {
        let (x, y): (&[u32], &mut [u32]) = (b.read(0), b.write(1));
        let y = &mut y[self.offset / 2..][..bf16::words(self.n)];
        cpu::each_chunk(y, HOST_WORDS, |chunk, y| {
            let first = chunk * HOST_WORDS;
            let values = &x[2 * first..self.n.min(2 * (first + HOST_WORDS))];
            for (i, (pair, y)) in values.chunks(2).zip(y).enumerate() {
                let noise = hash32((self.offset / 2 + first + i) as u32, self.seed);
                let upper = pair.get(1).map_or(0, |&x| rounded(x, noise >> 16));
                *y = upper << 16 | rounded(pair[0], noise & 0xffff);
            }
        });
    }

    fn cases() -> Vec<Case<Self>> {
        cases::cases()
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        cases::bench_cases()
    }
}

/// Words that one thread of the CPU backend writes at a time.
const HOST_WORDS: usize = 1 << 14;
