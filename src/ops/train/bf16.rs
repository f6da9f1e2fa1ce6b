//! bf16 between steps: the upper half of an f32, with its range and eight bits of the significand.
//!
//! What training adds to a number in a step is often less than half of its last place in bf16, so that rounding to the
//! nearest would leave it where it is for ever. [`Bf16Pack`] rounds up or down at random, with the probabilities that
//! make the mean right. The random numbers are [`hash32`] of a place and a seed: the same step gives the same bits.

use super::*;
use bytemuck::Zeroable;

/// Words of `n` values in bf16, two a word.
pub const fn words(n: usize) -> usize {
    n.div_ceil(2)
}

/// f32 to bf16, rounded at random. Infinity and NaN stay what they are.
///
/// Bindings: `x` `[n]` f32; `y` two bf16 a word, of which the values from `first` on are written.
#[derive(Debug, Clone)]
pub struct Bf16Pack {
    /// Values.
    pub n: usize,
    /// Place of the first of them in `y`, even. If `n` is odd, they are the last ones.
    pub first: usize,
    /// Which noise.
    pub seed: u32,
}

/// Uniform block of [`Bf16Pack`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct Bf16PackParams {
    n: u32,
    first: u32,
    seed: u32,
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

    fn params(&self) -> Bf16PackParams {
        Bf16PackParams {
            n: self.n as u32,
            first: self.first as u32,
            seed: self.seed,
        }
    }

    fn grid(&self) -> Grid {
        Grid::element_wise(self.n.div_ceil(2))
    }

    fn lengths(&self) -> Vec<usize> {
        vec![self.n, words(self.first + self.n)]
    }

    fn cost(&self) -> Cost {
        Cost {
            bytes: 6.0 * self.n as f64,
            ops: 8.0 * self.n as f64,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (x, y): (&[u32], &mut [u32]) = (b.read(0), b.write(1));
        let pairs = x[..self.n].chunks(2).zip(&mut y[self.first / 2..]);
        for (i, (pair, y)) in pairs.enumerate() {
            let noise = hash32((self.first / 2 + i) as u32, self.seed);
            let upper = pair.get(1).map_or(0, |&x| rounded(x, noise >> 16));
            *y = upper << 16 | rounded(pair[0], noise & 0xffff);
        }
    }

    fn host(&self, b: &mut Bindings<'_>) {
        let (x, y): (&[u32], &mut [u32]) = (b.read(0), b.write(1));
        let y = &mut y[self.first / 2..][..words(self.n)];
        cpu::each_chunk(y, HOST_WORDS, |chunk, y| {
            let first = chunk * HOST_WORDS;
            let part = &x[2 * first..self.n.min(2 * (first + HOST_WORDS))];
            for (i, (pair, y)) in part.chunks(2).zip(y).enumerate() {
                let noise = hash32((self.first / 2 + first + i) as u32, self.seed);
                let upper = pair.get(1).map_or(0, |&x| rounded(x, noise >> 16));
                *y = upper << 16 | rounded(pair[0], noise & 0xffff);
            }
        });
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        bench::bf16_pack()
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |name: &str, x: &[f32], first| {
            let n = x.len();
            let op = Self { n, first, seed: 3 };
            let there = noise_u32(130, words(first + n));
            Case::new(name, op, vec![Data::f32(x), Data::u32(&there)])
        };
        let special = [0.0, -0.0, f32::NAN, f32::INFINITY, -1e-44, 1.0, -3.1];
        vec![
            case("several workgroups", &noise(131, 3000, 2.0), 0),
            case("behind others", &noise(132, 301, 1e-9), 512),
            case("special numbers", &special, 2),
        ]
    }
}

/// Words that one thread of the CPU backend writes at a time.
const HOST_WORDS: usize = 1 << 14;

/// bf16 to f32.
///
/// Bindings: `x` two bf16 a word, of which the values from `first` on are read; `y` `[n]` f32.
#[derive(Debug, Clone)]
pub struct Bf16Unpack {
    /// Values.
    pub n: usize,
    /// Place of the first of them in `x`, even.
    pub first: usize,
}

/// Uniform block of [`Bf16Unpack`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct Bf16UnpackParams {
    n: u32,
    first: u32,
}

impl Op for Bf16Unpack {
    const NAME: &'static str = "bf16_unpack";
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, train / "bf16_unpack")];
    const BINDINGS: &'static [Binding] = &[read("x", Elem::U32), write("y", Elem::F32)];
    const AGREE: Agree = Agree::Bits;
    type Params = Bf16UnpackParams;

    fn params(&self) -> Bf16UnpackParams {
        Bf16UnpackParams {
            n: self.n as u32,
            first: self.first as u32,
        }
    }

    fn grid(&self) -> Grid {
        Grid::element_wise(self.n.div_ceil(2))
    }

    fn lengths(&self) -> Vec<usize> {
        vec![words(self.first + self.n), self.n]
    }

    fn cost(&self) -> Cost {
        Cost {
            bytes: 6.0 * self.n as f64,
            ops: 0.0,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (x, y): (&[u32], &mut [u32]) = (b.read(0), b.write(1));
        for (i, y) in y[..self.n].iter_mut().enumerate() {
            let at = self.first + i;
            *y = x[at / 2] >> (16 * (at % 2)) << 16;
        }
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        bench::bf16_unpack()
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |name: &str, n: usize, first| {
            let op = Self { n, first };
            // without exponents of NaN, whose bits a device may change when it moves them
            let x: Vec<u32> = noise_u32(133, words(first + n))
                .into_iter()
                .map(|w| w & 0xbfff_bfff)
                .collect();
            Case::new(name, op, vec![Data::u32(&x), Data::Out(n)])
        };
        vec![
            case("several workgroups", 3000, 0),
            case("behind others, an odd number", 301, 512),
        ]
    }
}
