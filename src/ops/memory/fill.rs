//! Words set to one value: gradients before a step.

use crate::ops::*;
use bytemuck::Zeroable;

/// Words per workgroup.
const PER_GROUP: usize = 4096;

/// `y = value`. Binding: `y` `[words]` u32.
#[derive(Debug, Clone)]
pub struct Fill {
    /// How many.
    pub words: usize,
    /// What they become.
    pub value: u32,
}

/// Uniform block of [`Fill`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct FillParams {
    words: u32,
    value: u32,
}

impl Op for Fill {
    const NAME: &'static str = "fill";
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, memory / "fill")];
    const BINDINGS: &'static [Binding] = &[write("y", Elem::U32)];
    const AGREE: Agree = Agree::Bits;
    type Params = FillParams;

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
        let case = |name: &str, words, value| {
            Case::new(name, Self { words, value }, vec![Data::Out(words + 9)])
        };
        vec![
            case("one word", 1, 0),
            case("several workgroups and a bit", 16_423, 0x3f80_0000),
        ]
    }
}
