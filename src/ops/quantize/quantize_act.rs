//! Rounding of tokens to integers.

use super::activations::{Activations, LEAST_ABSMAX, absmax_of, round};
use super::round_rows::round_rows;
use super::{Form, cases};
use crate::codebook::{COLUMNS_PER_WORD, words_for};
use crate::ops::*;

/// Rounds tokens: `q = round_half_even(x * levels / max(absmax, 1e-5))`, bit-exact. `absmax` is that of the token, or of the half
/// of the token that the value is in ([`Form::token_scales`]).
///
/// A token of `columns` real values is a complex vector: the first half (rounded up) are real parts, the rest
/// imaginary parts, a missing last one is 0. Complex column `c` lies in byte `c` of its plane; planes follow
/// each other as re, im (8 bit) or re high, re low, im high, im low (16 bit: `q = 256 high + low`, high
/// signed, low unsigned), each padded with zeros to whole packed words of weights.
///
/// Bindings: `x` [tokens, columns] f32; `q` [tokens, 2 * byte planes, words, 4] u32 of four bytes;
/// `absmax` [tokens, [`Form::token_scales`]] f32 (after the clamp).
#[derive(Debug, Clone)]
pub struct QuantizeAct {
    /// Tokens.
    pub tokens: usize,
    /// Real values of a token; an even number in the conjugate form.
    pub columns: usize,
    /// Of the layers that read the tokens: whether a token has one scale, or one for each half.
    pub form: Form,
    /// [`Activations::Int16`] or [`Activations::Int8`].
    pub mode: Activations,
}

impl QuantizeAct {
    fn new(tokens: usize, columns: usize, form: Form, mode: Activations) -> Self {
        Self {
            tokens,
            columns,
            form,
            mode,
        }
    }

    /// What has one scale: tokens, or their halves.
    fn rows(&self) -> usize {
        self.tokens * self.form.token_scales()
    }

    /// Halves of a token in a row.
    fn parts(&self) -> usize {
        2 / self.form.token_scales()
    }

    /// Workgroups that share a row: one per 256 words of its halves.
    fn slices(&self) -> usize {
        let words = words_for(self.columns.div_ceil(2)) * (COLUMNS_PER_WORD / 4);
        (self.parts() * words).div_ceil(256)
    }
}

params! {
    /// Uniform block of [`QuantizeAct`].
    pub struct QuantizeActParams {
        rows: u32,
        columns: u32,
        parts: u32,
        half: u32,
        plane_words: u32,
        slices: u32,
        levels: u32,
    }
}

impl Op for QuantizeAct {
    const NAME: &'static str = "quantize_act";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        quantize / "quantize_act",
        "wide",
        "round"
    )];
    const BINDINGS: &'static [Binding] = &[
        read("x", Elem::F32),
        write("q", Elem::U32),
        write("absmax", Elem::U32),
    ];
    const AGREE: Agree = Agree::Bits;
    type Params = QuantizeActParams;

    fn shape(&self) -> String {
        let shape = format!("n={},k={},act={}", self.tokens, self.columns, self.mode);
        match self.form {
            Form::WidelyLinear => shape,
            Form::Conjugate => shape + ",form=conjugate",
        }
    }

    fn params(&self) -> QuantizeActParams {
        let scales = self.form.token_scales();
        debug_assert!(self.columns.is_multiple_of(scales), "{}", self.shape());
        let half = self.columns.div_ceil(2);
        QuantizeActParams {
            rows: self.rows() as u32,
            columns: (self.columns / scales) as u32,
            parts: self.parts() as u32,
            half: half as u32,
            plane_words: (words_for(half) * COLUMNS_PER_WORD / 4) as u32,
            slices: self.slices() as u32,
            levels: self.mode.levels(),
        }
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: (self.rows() * self.slices()) as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        vec![
            self.tokens * self.columns,
            self.tokens * self.mode.row_words(self.columns),
            self.rows(),
        ]
    }

    fn cost(&self) -> Cost {
        let n = (self.tokens * self.columns) as f64;
        Cost {
            bytes: n * (4.0 + self.mode.byte_planes() as f64),
            ops: 4.0 * n,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let x: &[f32] = b.read(0);
        let (q, absmax): (&mut [u8], &mut [f32]) = (b.write(1), b.write(2));
        let complex_columns = self.columns.div_ceil(2);
        let plane = words_for(complex_columns) * COLUMNS_PER_WORD;
        let planes = self.mode.byte_planes();
        let scales = self.form.token_scales();
        for token in 0..self.tokens {
            let x = &x[token * self.columns..][..self.columns];
            let q = &mut q[token * 2 * planes * plane..][..2 * planes * plane];
            let absmax = &mut absmax[token * scales..][..scales];
            let shared = self.columns / scales;
            q.fill(0);
            for (absmax, x) in absmax.iter_mut().zip(x.chunks_exact(shared)) {
                *absmax = absmax_of(x);
            }
            for (i, &v) in x.iter().enumerate() {
                let value = round(v, absmax[i / shared], self.mode);
                let (half, column) = (i / complex_columns, i % complex_columns);
                let index = half * planes * plane + column;
                if planes == 2 {
                    q[index] = (value >> 8) as u8;
                    q[index + plane] = value as u8;
                } else {
                    q[index] = value as u8;
                }
            }
        }
    }

    fn host(&self, b: &mut Bindings<'_>) {
        let x: &[f32] = b.read(0);
        let x = &x[..self.tokens * self.columns];
        let how = (self.form, self.mode);
        let columns = (self.columns, LEAST_ABSMAX);
        round_rows(x, columns, how, b.write(1), b.write(2));
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        let data = [Made::Floats, Made::Zeros, Made::Zeros];
        cases::bench_tokens(&data, |tokens, columns, mode| {
            Self::new(tokens, columns, Form::WidelyLinear, mode)
        })
    }

    fn cases() -> Vec<Case<Self>> {
        let of = |form| move |tokens, columns, mode| Self::new(tokens, columns, form, mode);
        let mut all = cases::tokens(of(Form::WidelyLinear));
        all.extend(cases::tokens_in_halves(of(Form::Conjugate)));
        all
    }
}
