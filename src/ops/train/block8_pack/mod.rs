//! Packs f32 as codes of 8 bits, rounded at random.

use super::block8::{BLOCK, CODE_WORDS, Range, words};
use crate::ops::*;

mod cases;

/// The top exponent of a block: the one of its largest magnitude once that is rounded up to three bits behind the leading
/// one.
fn top(block: &[u32]) -> u32 {
    let largest = block.iter().map(|bits| bits & 0x7fff_ffff).max();
    (largest.unwrap_or(0) + 0xf_ffff) >> 23
}

/// f32 to 8 bits.
///
/// Bindings: `x` `[n]` f32; `y` all words of the tensor; those of the values from `offset` on are written.
#[derive(Debug, Clone)]
pub struct Block8Pack {
    /// Which values.
    pub range: Range,
    /// Seed of the noise that rounds.
    pub seed: u32,
}

params! {
    /// Uniform block of [`Block8Pack`].
    pub struct Block8PackParams {
        n: u32,
        offset: u32,
        blocks: u32,
        seed: u32,
        positive: u32,
        span: u32,
    }
}

impl Block8Pack {
    /// The code of a value, computed on its bits as the shader does.
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

    /// The code of a value by its definition, in f64, which has room for every number here.
    fn code_by_value(&self, value: f32, noise: u32, least: i32) -> u32 {
        let size = f64::from(value.abs());
        if size < f64::from(f32::MIN_POSITIVE) {
            return 0;
        }
        let exponent = (value.to_bits() >> 23 & 255) as i32;
        // the difference of two neighbouring codes
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
        let (codes, exponents) = range.split(y);
        let blocks = (codes, CODE_WORDS * HOST_BLOCKS);
        cpu::each_pair(
            blocks,
            (exponents, HOST_BLOCKS),
            |chunk, codes, exponents| {
                let first = chunk * HOST_BLOCKS * BLOCK;
                let values = x[..range.n][first..].chunks(BLOCK);
                let blocks = codes.chunks_mut(CODE_WORDS).zip(exponents).zip(values);
                for (i, ((codes, exponent), values)) in blocks.enumerate() {
                    *exponent = top(values);
                    let least = *exponent as i32 - range.span();
                    codes.fill(0);
                    let begin = range.offset + first + i * BLOCK;
                    for (j, &bits) in values.iter().enumerate() {
                        let noise = hash32((begin + j) as u32, self.seed);
                        codes[j / 4] |= code(bits, noise, least) << (8 * (j % 4));
                    }
                }
            },
        );
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

    fn shape(&self) -> String {
        format!("{},seed={}", self.range.shape(), self.seed)
    }

    fn params(&self) -> Block8PackParams {
        Block8PackParams {
            n: self.range.n as u32,
            offset: self.range.offset as u32,
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
        vec![self.range.n, words(self.range.total)]
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

    fn cases() -> Vec<Case<Self>> {
        cases::cases()
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        cases::bench_cases()
    }
}
