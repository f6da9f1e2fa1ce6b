//! Biases of linear layers.

use crate::ops::*;

/// Begins a product with its bias, or adds the bias to what is there: `y = bias` or `y += bias` for every token. A product that
/// accumulates comes behind it. The bias may belong to some of the columns of `y`.
///
/// Bindings: `values` of the bias `[n]` f32; `y` [tokens, stride] f32.
#[derive(Debug, Clone)]
pub struct Bias {
    /// Tokens.
    pub tokens: usize,
    /// Values of the bias.
    pub n: usize,
    /// Values of a token of `y`.
    pub stride: usize,
    /// The first of its columns that belong to the bias.
    pub first: usize,
    /// Add instead of overwriting.
    pub accumulate: bool,
}

params! {
    /// Uniform block of [`Bias`].
    pub struct BiasParams {
        tokens: u32,
        n: u32,
        stride: u32,
        first: u32,
        accumulate: u32,
    }
}

impl Op for Bias {
    const NAME: &'static str = "bias";
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, matmul / "bias")];
    const BINDINGS: &'static [Binding] = &[read("values", Elem::F32), write("y", Elem::F32)];
    const AGREE: Agree = Agree::Bits;
    type Params = BiasParams;

    fn shape(&self) -> String {
        let accumulate = if self.accumulate { ",accumulate=1" } else { "" };
        let Self {
            tokens,
            n,
            stride,
            first,
            ..
        } = self;
        format!("tokens={tokens},n={n},stride={stride},first={first}{accumulate}")
    }

    fn params(&self) -> BiasParams {
        BiasParams {
            tokens: self.tokens as u32,
            n: self.n as u32,
            stride: self.stride as u32,
            first: self.first as u32,
            accumulate: self.accumulate.into(),
        }
    }

    fn grid(&self) -> Grid {
        Grid::element_wise(self.tokens * self.n)
    }

    fn lengths(&self) -> Vec<usize> {
        vec![self.n, self.tokens * self.stride]
    }

    fn cost(&self) -> Cost {
        let reads = if self.accumulate { 2 } else { 1 };
        Cost {
            bytes: 4.0 * (reads * self.tokens * self.n + self.n) as f64,
            ops: (self.tokens * self.n) as f64,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (bias, y): (&[f32], &mut [f32]) = (b.read(0), b.write(1));
        for y in y.chunks_exact_mut(self.stride).take(self.tokens) {
            for (y, &bias) in y[self.first..].iter_mut().zip(bias).take(self.n) {
                *y = if self.accumulate { *y + bias } else { bias };
            }
        }
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |tokens, n, [first, stride]: [usize; 2], accumulate| {
            let y = match accumulate || n < stride {
                true => Data::f32(&noise(151, tokens * stride, 1.0)),
                false => Data::Out(tokens * n),
            };
            let op = Self {
                tokens,
                n,
                stride,
                first,
                accumulate,
            };
            Case::new("", op, vec![Data::f32(&noise(150, n, 1.0)), y])
        };
        // one token; several workgroups, the last of them not full; some of the columns
        vec![
            case(1, 7, [0, 7], false),
            case(3, 300, [0, 300], true),
            case(2, 5, [3, 9], false),
        ]
    }
}
