//! Words set to one value: gradients before a step.

use super::cases;
use crate::ops::*;

/// Words per workgroup.
const PER_GROUP: usize = 4096;

/// `y = value`. Binding: `y` `[words]` u32.
#[derive(Debug, Clone)]
pub struct Fill {
    /// Words.
    pub words: usize,
    /// Their new value.
    pub value: u32,
}

params! {
    /// Uniform block of [`Fill`].
    pub struct FillParams {
        words: u32,
        value: u32,
    }
}

impl Op for Fill {
    const NAME: &'static str = "fill";
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, memory / "fill")];
    const BINDINGS: &'static [Binding] = &[write("y", Elem::U32)];
    const AGREE: Agree = Agree::Bits;
    type Params = FillParams;

    fn shape(&self) -> String {
        format!("words={},value={}", self.words, self.value)
    }

    fn params(&self) -> FillParams {
        FillParams {
            words: self.words as u32,
            value: self.value,
        }
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: self.words.div_ceil(PER_GROUP) as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        vec![self.words]
    }

    fn cost(&self) -> Cost {
        Cost {
            bytes: 4.0 * self.words as f64,
            ops: 0.0,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let y: &mut [u32] = b.write(0);
        y[..self.words].fill(self.value);
    }

    fn cases() -> Vec<Case<Self>> {
        cases::fill()
    }
}
