//! Eight bits a value between steps: small floats, scaled by a power of two for each block of 256 values.
//!
//! A block's scale is the exponent of its largest magnitude, the top. Below it, a code is a float of its own: three bits
//! of the significand and, for values with a sign, four bits of the exponent, which reach 2^-17 of the top; magnitudes
//! without a sign have five bits, which reach 2^-33. A linear code of eight bits would end at 2^-7. Values are rounded
//! up or down at random, with the probabilities that make the mean right: a running mean that changes by a hundredth in
//! a step would stand still if it were rounded to the nearest of codes that lie an eighth apart. A magnitude without a sign
//! that is not 0 does not become 0, so that nothing is divided by a second moment that was lost.
//!
//! Everything is done in integers on the bits of f32: every device gives the same codes. Magnitudes below 2^-126 count as 0.

use super::*;
use bytemuck::Zeroable;

/// Values of a block.
pub const BLOCK: usize = 256;
/// Words of its codes.
const CODE_WORDS: usize = BLOCK / 4;

/// Words of `n` values: four codes a word, whole blocks, then a word for each block.
pub const fn words(n: usize) -> usize {
    n.div_ceil(BLOCK) * (CODE_WORDS + 1)
}

/// Values that lie one behind the other among those of a tensor.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    /// Values.
    pub n: usize,
    /// Place of the first, a multiple of [`BLOCK`]; so is `n`, but for the last ones of the tensor.
    pub first: usize,
    /// Values of the tensor.
    pub of: usize,
    /// They have no sign, and their codes eight bits of magnitude.
    pub positive: bool,
}

impl Range {
    /// Exponents from the least one with three bits of the significand to the top.
    fn span(&self) -> i32 {
        if self.positive { 30 } else { 14 }
    }

    fn blocks(&self) -> usize {
        self.of.div_ceil(BLOCK)
    }

    /// Codes and top exponents of these values in all words.
    fn split<'a>(&self, words: &'a mut [u32]) -> (&'a mut [u32], &'a mut [u32]) {
        let (codes, tops) = words.split_at_mut(self.blocks() * CODE_WORDS);
        let (block, blocks) = (self.first / BLOCK, self.n.div_ceil(BLOCK));
        let codes = &mut codes[block * CODE_WORDS..][..blocks * CODE_WORDS];
        (codes, &mut tops[block..][..blocks])
    }
}

/// The top exponent of a block: of the largest magnitude once it is rounded up to three bits behind the leading one.
fn top(block: &[u32]) -> u32 {
    let largest = block.iter().map(|bits| bits & 0x7fff_ffff).max();
    (largest.unwrap_or(0) + 0xf_ffff) >> 23
}

/// f32 to 8 bits.
///
/// Bindings: `x` `[n]` f32; `y` all words of the tensor, of which those of the values from `first` on are written.
#[derive(Debug, Clone)]
pub struct Block8Pack {
    /// Which values.
    pub range: Range,
    /// Which noise.
    pub seed: u32,
}

/// Uniform block of [`Block8Pack`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct Block8PackParams {
    n: u32,
    first: u32,
    blocks: u32,
    seed: u32,
    positive: u32,
    span: u32,
}

impl Block8Pack {
    /// The code of a value by arithmetic on its bits, as the shader does it.
    fn code(&self, bits: u32, noise: u32, least: i32) -> u32 {
        let exponent = (bits >> 23 & 255) as i32;
        if exponent == 0 {
            return 0;
        }
        let shift = 20 + (least - exponent).max(0);
        let mut magnitude = 0;
        if shift < 32 {
            let significand = bits & 0x7f_ffff | 0x80_0000;
            let dropped = (1 << shift) - 1;
            let above = (exponent - least).max(0) as u32;
            magnitude = (above << 3) + ((significand + (noise & dropped)) >> shift);
        }
        match self.range.positive {
            true => magnitude.max(1),
            false => magnitude | bits >> 24 & 128,
        }
    }

    /// The same from what it means, in f64, which has room for every number here.
    fn code_by_value(&self, value: f32, noise: u32, least: i32) -> u32 {
        let size = f64::from(value.abs());
        if size < f64::from(f32::MIN_POSITIVE) {
            return 0;
        }
        let exponent = (value.to_bits() >> 23 & 255) as i32;
        // what lies between two neighbouring codes
        let step = f64::from(exponent.max(least) - 127 - 3).exp2();
        let bits = 20 + (least - exponent).max(0);
        let random =
            f64::from(noise & (1u32.checked_shl(bits as u32).unwrap_or(0).wrapping_sub(1)));
        let rounded = (size / step + random / f64::from(bits).exp2()).floor() as u32;
        let above = 8 * (exponent - least).max(0) as u32;
        let magnitude = if bits < 32 { above + rounded } else { 0 };
        match self.range.positive {
            true => magnitude.max(1),
            false if value.is_sign_negative() => magnitude | 128,
            false => magnitude,
        }
    }

    fn each(&self, b: &mut Bindings<'_>, code: impl Fn(u32, u32, i32) -> u32 + Sync + Send) {
        let (x, y): (&[u32], &mut [u32]) = (b.read(0), b.write(1));
        let range = &self.range;
        let (codes, tops) = range.split(y);
        let blocks = (codes, CODE_WORDS * HOST_BLOCKS);
        cpu::each_pair(blocks, (tops, HOST_BLOCKS), |chunk, codes, tops| {
            let first = chunk * HOST_BLOCKS * BLOCK;
            let values = x[..range.n][first..].chunks(BLOCK);
            let blocks = codes.chunks_mut(CODE_WORDS).zip(tops).zip(values);
            for (i, ((codes, at), values)) in blocks.enumerate() {
                *at = top(values);
                let least = *at as i32 - range.span();
                codes.fill(0);
                let begin = range.first + first + i * BLOCK;
                for (j, &bits) in values.iter().enumerate() {
                    let noise = hash32((begin + j) as u32, self.seed);
                    codes[j / 4] |= code(bits, noise, least) << (8 * (j % 4));
                }
            }
        });
    }
}

/// Blocks that one thread of the CPU backend does at a time.
const HOST_BLOCKS: usize = 64;

impl Op for Block8Pack {
    const NAME: &'static str = "block8_pack";
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, train / "block8_pack", "hash")];
    const BINDINGS: &'static [Binding] = &[read("x", Elem::F32), write("y", Elem::U32)];
    const AGREE: Agree = Agree::Bits;
    type Params = Block8PackParams;

    fn params(&self) -> Block8PackParams {
        Block8PackParams {
            n: self.range.n as u32,
            first: self.range.first as u32,
            blocks: self.range.blocks() as u32,
            seed: self.seed,
            positive: self.range.positive.into(),
            span: self.range.span() as u32,
        }
    }

    fn grid(&self) -> Grid {
        Grid::element_wise(self.range.n.div_ceil(BLOCK) * CODE_WORDS)
    }

    fn lengths(&self) -> Vec<usize> {
        vec![self.range.n, words(self.range.of)]
    }

    fn cost(&self) -> Cost {
        Cost {
            bytes: 5.0 * self.range.n as f64,
            ops: 20.0 * self.range.n as f64,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        self.each(b, |bits, noise, least| {
            self.code_by_value(f32::from_bits(bits), noise, least)
        });
    }

    fn host(&self, b: &mut Bindings<'_>) {
        self.each(b, |bits, noise, least| self.code(bits, noise, least));
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        bench::block8_pack()
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |name: &str, positive, x: &[f32], first, of| {
            let n = x.len();
            let range = Range {
                n,
                first,
                of,
                positive,
            };
            let there = noise_u32(140, words(of));
            let op = Self { range, seed: 5 };
            Case::new(name, op, vec![Data::f32(x), Data::u32(&there)])
        };
        let wide = uneven(141, 1500);
        let squares: Vec<f32> = uneven(142, 1400).iter().map(|v| v * v).collect();
        let mut special = vec![0.0; 300];
        special[..4].copy_from_slice(&[-1e-44, 2e-38, -1.5e-38, 0.0]);
        special[256..260].copy_from_slice(&[1.9999999, -1e-30, 3e-5, 1e-5]);
        vec![
            case("several workgroups", false, &wide, 0, 1500),
            case("some blocks of many", false, &wide[..512], 256, 1000),
            case("magnitudes", true, &squares, 0, 1400),
            case("the last of them", true, &squares[..77], 768, 845),
            case("special numbers", false, &special, 0, 300),
        ]
    }
}

/// Values of many orders of magnitude.
fn uneven(seed: u32, n: usize) -> Vec<f32> {
    let sizes = noise(seed + 50, n, 20.0);
    let values = noise(seed, n, 1.0).into_iter().zip(sizes);
    values.map(|(v, size)| v * size.exp2()).collect()
}

/// 8 bits to f32.
///
/// Bindings: `x` all words of a tensor; `y` `[n]` f32, its values from `first` on.
#[derive(Debug, Clone)]
pub struct Block8Unpack {
    /// Which values.
    pub range: Range,
}

/// Uniform block of [`Block8Unpack`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct Block8UnpackParams {
    n: u32,
    first: u32,
    blocks: u32,
    positive: u32,
    span: u32,
}

impl Op for Block8Unpack {
    const NAME: &'static str = "block8_unpack";
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, train / "block8_unpack")];
    const BINDINGS: &'static [Binding] = &[read("x", Elem::U32), write("y", Elem::F32)];
    const AGREE: Agree = Agree::Bits;
    type Params = Block8UnpackParams;

    fn params(&self) -> Block8UnpackParams {
        Block8UnpackParams {
            n: self.range.n as u32,
            first: self.range.first as u32,
            blocks: self.range.blocks() as u32,
            positive: self.range.positive.into(),
            span: self.range.span() as u32,
        }
    }

    fn grid(&self) -> Grid {
        Grid::element_wise(self.range.n.div_ceil(4))
    }

    fn lengths(&self) -> Vec<usize> {
        vec![words(self.range.of), self.range.n]
    }

    fn cost(&self) -> Cost {
        Cost {
            bytes: 5.0 * self.range.n as f64,
            ops: 10.0 * self.range.n as f64,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (x, y): (&[u32], &mut [f32]) = (b.read(0), b.write(1));
        let (codes, tops) = x.split_at(self.range.blocks() * CODE_WORDS);
        for (i, y) in y[..self.range.n].iter_mut().enumerate() {
            let at = self.range.first + i;
            let code = codes[at / 4] >> (8 * (at % 4)) & 255;
            let least = tops[at / BLOCK] as i32 - self.range.span();
            let (negative, magnitude) = match self.range.positive {
                true => (false, code),
                false => (code > 127, code & 127),
            };
            // a code of 8 and more is 2^(least + code / 8 - 1) times 1 and some eighths
            let (exponent, eighths) = match magnitude < 8 {
                true => (least, magnitude),
                false => (least - 1 + (magnitude >> 3) as i32, 8 + (magnitude & 7)),
            };
            let size = f64::from(eighths) * f64::from(exponent - 127 - 3).exp2();
            let size = if size < f64::from(f32::MIN_POSITIVE) {
                0.0
            } else {
                size as f32
            };
            *y = if negative { -size } else { size };
        }
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        bench::block8_unpack()
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |name: &str, positive, n: usize, first, of: usize| {
            let range = Range {
                n,
                first,
                of,
                positive,
            };
            let mut x = noise_u32(145, words(of));
            let codes = of.div_ceil(BLOCK) * CODE_WORDS;
            // tops from far below what f32 has to far above 1
            for (i, top) in x[codes..].iter_mut().enumerate() {
                *top = [3, 0, 120, 127, 31, 200][i % 6];
            }
            let op = Self { range };
            Case::new(name, op, vec![Data::u32(&x), Data::Out(n)])
        };
        vec![
            case("several workgroups", false, 1500, 0, 1500),
            case("some blocks of many", false, 512, 256, 1000),
            case("magnitudes", true, 1500, 0, 1500),
            case("the last of them", true, 77, 768, 845),
        ]
    }
}
