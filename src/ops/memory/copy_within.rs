//! Words moved within a buffer: keys and values that two sequences share.

use super::cases;
use crate::ops::*;

/// Words per workgroup.
const PER_GROUP: usize = 4096;

/// `y[dst..dst + words] = y[src..src + words]`, of ranges that do not overlap. Binding: `y` u32.
#[derive(Debug, Clone)]
pub struct CopyWithin {
    /// First word that is read.
    pub src: usize,
    /// First word that is written.
    pub dst: usize,
    /// Words.
    pub words: usize,
}

params! {
    /// Uniform block of [`CopyWithin`].
    pub struct CopyWithinParams {
        src: u32,
        dst: u32,
        words: u32,
    }
}

impl Op for CopyWithin {
    const NAME: &'static str = "copy_within";
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, memory / "copy_within")];
    const BINDINGS: &'static [Binding] = &[write("y", Elem::U32)];
    const AGREE: Agree = Agree::Bits;
    type Params = CopyWithinParams;

    fn shape(&self) -> String {
        format!("src={},dst={},words={}", self.src, self.dst, self.words)
    }

    fn params(&self) -> CopyWithinParams {
        debug_assert!(self.src.abs_diff(self.dst) >= self.words);
        CopyWithinParams {
            src: self.src as u32,
            dst: self.dst as u32,
            words: self.words as u32,
        }
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: self.words.div_ceil(PER_GROUP) as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        vec![self.src.max(self.dst) + self.words]
    }

    fn cost(&self) -> Cost {
        Cost {
            bytes: 8.0 * self.words as f64,
            ops: 0.0,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let y: &mut [u32] = b.write(0);
        y.copy_within(self.src..self.src + self.words, self.dst);
    }

    fn cases() -> Vec<Case<Self>> {
        cases::copy_within()
    }
}
