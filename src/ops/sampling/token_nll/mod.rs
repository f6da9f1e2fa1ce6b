//! How well logits predict the tokens that came.

use crate::ops::*;

mod cases;

/// The target of a token that does not count.
pub const IGNORED: u32 = u32::MAX;

/// Negative log-likelihood, in nats, of every row's target under the softmax of its logits. The logits stay.
///
/// Bindings: `targets` [first + rows] u32, [`IGNORED`] (or anything beyond the vocabulary) for rows that do not count;
/// `x` [rows, vocab] f32, logits; `nll` [offset + rows] f32, 0 for rows that do not count.
#[derive(Debug, Clone)]
pub struct TokenNll {
    /// Tokens.
    pub rows: usize,
    /// Logits of each token.
    pub vocab: usize,
    /// Index of the first row's target in `targets`.
    pub first: usize,
    /// Index of the first row's result in `nll`.
    pub offset: usize,
}

params! {
    /// Uniform block of [`TokenNll`].
    pub struct TokenNllParams {
        rows: u32,
        vocab: u32,
        first: u32,
        offset: u32,
    }
}

impl Op for TokenNll {
    const NAME: &'static str = "token_nll";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        sampling / "token_nll",
        "reduce",
        "reduce_max"
    )];
    const BINDINGS: &'static [Binding] = &[
        read("targets", Elem::U32),
        read("x", Elem::F32),
        write("nll", Elem::F32),
    ];
    // exp is off by 3 + 2 |x| ULP, and a loss of 50 by the roundings of the largest logits.
    const AGREE: Agree = Agree::Nmse(1e-11);
    type Params = TokenNllParams;

    fn shape(&self) -> String {
        let Self {
            rows,
            vocab,
            first,
            offset,
        } = self;
        format!("rows={rows},vocab={vocab},first={first},offset={offset}")
    }

    fn params(&self) -> TokenNllParams {
        TokenNllParams {
            rows: self.rows as u32,
            vocab: self.vocab as u32,
            first: self.first as u32,
            offset: self.offset as u32,
        }
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: self.rows as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        vec![
            self.first + self.rows,
            self.rows * self.vocab,
            self.offset + self.rows,
        ]
    }

    fn cost(&self) -> Cost {
        let n = (self.rows * self.vocab) as f64;
        Cost {
            bytes: 4.0 * n,
            ops: 4.0 * n,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (targets, x, nll): (&[u32], &[f32], &mut [f32]) = (b.read(0), b.read(1), b.write(2));
        let rows = x.chunks_exact(self.vocab).zip(&targets[self.first..]);
        for ((x, &target), nll) in rows.zip(&mut nll[self.offset..]).take(self.rows) {
            let wide = || x.iter().map(|&v| f64::from(v));
            let top = wide().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = wide().map(|v| (v - top).exp()).sum();
            let chosen = x.get(target as usize).map(|&v| f64::from(v));
            *nll = chosen.map_or(0.0, |v| (total.ln() + top - v) as f32);
        }
    }

    fn host(&self, b: &mut Bindings<'_>) {
        let (targets, x, nll): (&[u32], &[f32], &mut [f32]) = (b.read(0), b.read(1), b.write(2));
        let rows = x.chunks_exact(self.vocab).zip(&targets[self.first..]);
        let rows = rows.zip(&mut nll[self.offset..]).take(self.rows).collect();
        crate::ops::cpu::each_worth(rows, 2 * self.vocab, |((x, &target), nll)| {
            let chosen = x.get(target as usize);
            *nll = chosen.map_or(0.0, |chosen| cpu::log_sum_exp(x) - chosen);
        });
    }

    fn cases() -> Vec<Case<Self>> {
        cases::cases()
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        cases::bench_cases()
    }
}
