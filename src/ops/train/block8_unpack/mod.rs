//! Unpacks codes of 8 bits to f32.

use super::block8::{BLOCK, CODE_WORDS, Range, words};
use crate::ops::*;

mod cases;

/// 8 bits to f32.
///
/// Bindings: `x` all words of a tensor; `y` `[n]` f32, its values from `offset` on.
#[derive(Debug, Clone)]
pub struct Block8Unpack {
    /// Which values.
    pub range: Range,
}

params! {
    /// Uniform block of [`Block8Unpack`].
    pub struct Block8UnpackParams {
        n: u32,
        offset: u32,
        blocks: u32,
        positive: u32,
        span: u32,
    }
}

impl Op for Block8Unpack {
    const NAME: &'static str = "block8_unpack";
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, train / "block8_unpack")];
    const BINDINGS: &'static [Binding] = &[read("x", Elem::U32), write("y", Elem::F32)];
    const AGREE: Agree = Agree::Bits;
    type Params = Block8UnpackParams;

    fn shape(&self) -> String {
        self.range.shape()
    }

    fn params(&self) -> Block8UnpackParams {
        Block8UnpackParams {
            n: self.range.n as u32,
            offset: self.range.offset as u32,
            blocks: self.range.blocks() as u32,
            positive: self.range.positive.into(),
            span: self.range.span() as u32,
        }
    }

    fn grid(&self) -> Grid {
        Grid::element_wise(self.range.n.div_ceil(4))
    }

    fn lengths(&self) -> Vec<usize> {
        vec![words(self.range.total), self.range.n]
    }

    fn cost(&self) -> Cost {
        Cost {
            bytes: 5.0 * self.range.n as f64,
            ops: 10.0 * self.range.n as f64,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (x, y): (&[u32], &mut [f32]) = (b.read(0), b.write(1));
        let (codes, exponents) = x.split_at(self.range.blocks() * CODE_WORDS);
        for (i, y) in y[..self.range.n].iter_mut().enumerate() {
            let index = self.range.offset + i;
            let code = codes[index / 4] >> (8 * (index % 4)) & 255;
            let least = exponents[index / BLOCK] as i32 - self.range.span();
            let (negative, magnitude) = match self.range.positive {
                true => (false, code),
                false => (code > 127, code & 127),
            };
            // a code of 8 or more is 2^(least + code / 8 - 1) * (1 + code % 8 / 8)
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

    fn cases() -> Vec<Case<Self>> {
        cases::cases()
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        cases::bench_cases()
    }
}
