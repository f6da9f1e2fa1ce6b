//! Gradient of a bias.

use crate::ops::*;

/// Gradient of [`Bias`](crate::ops::matmul::Bias): the sum of the gradients of all tokens is added to that of the bias. The bias may
/// belong to some of the columns of `d_y`.
///
/// Bindings: `d_y` [tokens, stride] f32; `d_bias` `[n]` f32.
#[derive(Debug, Clone)]
pub struct BiasBackward {
    /// Tokens.
    pub tokens: usize,
    /// Values of the bias.
    pub n: usize,
    /// Values of a token of `d_y`.
    pub stride: usize,
    /// The first of its columns that belong to the bias.
    pub first: usize,
}

params! {
    /// Uniform block of [`BiasBackward`].
    pub struct BiasBackwardParams {
        tokens: u32,
        n: u32,
        stride: u32,
        first: u32,
    }
}

impl Op for BiasBackward {
    const NAME: &'static str = "bias_backward";
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, train / "bias_backward")];
    const BINDINGS: &'static [Binding] = &[read("d_y", Elem::F32), write("d_bias", Elem::F32)];
    // sums of as many values as there are tokens, by lanes, against sums in f64
    const AGREE: Agree = Agree::Nmse(1e-12);
    type Params = BiasBackwardParams;

    fn shape(&self) -> String {
        let Self {
            tokens,
            n,
            stride,
            first,
        } = self;
        format!("tokens={tokens},n={n},stride={stride},first={first}")
    }

    fn params(&self) -> BiasBackwardParams {
        BiasBackwardParams {
            tokens: self.tokens as u32,
            n: self.n as u32,
            stride: self.stride as u32,
            first: self.first as u32,
        }
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: self.n.div_ceil(32) as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        vec![self.tokens * self.stride, self.n]
    }

    fn cost(&self) -> Cost {
        Cost {
            bytes: 4.0 * ((self.tokens + 2) * self.n) as f64,
            ops: (self.tokens * self.n) as f64,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (d_y, d_bias): (&[f32], &mut [f32]) = (b.read(0), b.write(1));
        for (i, d_bias) in d_bias.iter_mut().enumerate().take(self.n) {
            let column = |token: usize| f64::from(d_y[token * self.stride + self.first + i]);
            let sum: f64 = (0..self.tokens).map(column).sum();
            *d_bias = (f64::from(*d_bias) + sum) as f32;
        }
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |tokens, n, stride, first| {
            let op = Self {
                tokens,
                n,
                stride,
                first,
            };
            let d_y = Data::f32(&noise(152, tokens * stride, 1.0));
            Case::new("", op, vec![d_y, Data::f32(&noise(153, n, 1.0))])
        };
        // fewer tokens than lanes of a column, and more; the last columns of a token
        vec![case(3, 5, 5, 0), case(70, 66, 100, 34)]
    }
}
