//! The loss of the next tokens.

use crate::ops::*;

mod cases;

/// Cross entropy of every token's target, and the gradient of the weighted sum of these losses, which overwrites the
/// logits.
///
/// Bindings: `targets` [offset + tokens] u32, the ids of the next tokens, [`IGNORED`](crate::ops::sampling::IGNORED) for tokens that do not count; `x`
/// [tokens, vocab] f32, logits, becomes `factor * (softmax - [j = target])`; `losses` [offset + tokens] f32. Loss and
/// gradient of ignored tokens are 0.
#[derive(Debug, Clone)]
pub struct TokenLoss {
    /// Tokens.
    pub tokens: usize,
    /// Logits per token.
    pub vocab: usize,
    /// Index of the first token in `targets` and `losses`.
    pub offset: usize,
    /// Multiplies the gradient: the loss scale over the number of tokens that count.
    pub factor: f32,
}

params! {
    /// Uniform block of [`TokenLoss`].
    pub struct TokenLossParams {
        tokens: u32,
        vocab: u32,
        offset: u32,
        factor: f32,
    }
}

impl Op for TokenLoss {
    const NAME: &'static str = "token_loss";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        train / "token_loss",
        "reduce",
        "reduce_max"
    )];
    const BINDINGS: &'static [Binding] = &[
        read("targets", Elem::U32),
        write("x", Elem::F32),
        write("losses", Elem::F32),
    ];
    // exp is off by 3 + 2 * |x| ULP, and a loss of 50 by the roundings of the largest logits
    const AGREE: Agree = Agree::Nmse(1e-11);
    type Params = TokenLossParams;

    fn shape(&self) -> String {
        format!(
            "tokens={},vocab={},offset={},factor={}",
            self.tokens, self.vocab, self.offset, self.factor
        )
    }

    fn params(&self) -> TokenLossParams {
        TokenLossParams {
            tokens: self.tokens as u32,
            vocab: self.vocab as u32,
            offset: self.offset as u32,
            factor: self.factor,
        }
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: self.tokens as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        let all = self.offset + self.tokens;
        vec![all, self.tokens * self.vocab, all]
    }

    fn cost(&self) -> Cost {
        let n = (self.tokens * self.vocab) as f64;
        Cost {
            bytes: 8.0 * n,
            ops: 6.0 * n,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (targets, x): (&[u32], &mut [f32]) = (b.read(0), b.write(1));
        let losses: &mut [f32] = b.write(2);
        let results = targets.iter().zip(losses).skip(self.offset);
        for (x, (&target, loss)) in x
            .chunks_exact_mut(self.vocab)
            .zip(results)
            .take(self.tokens)
        {
            *loss = 0.0;
            if target as usize >= self.vocab {
                x.fill(0.0);
                continue;
            }
            let logits: Vec<f64> = x.iter().map(|&v| f64::from(v)).collect();
            let top = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = logits.iter().map(|v| (v - top).exp()).sum();
            *loss = (total.ln() + top - logits[target as usize]) as f32;
            for (j, (x, v)) in x.iter_mut().zip(logits).enumerate() {
                let one = if j == target as usize { 1.0 } else { 0.0 };
                *x = (f64::from(self.factor) * ((v - top).exp() / total - one)) as f32;
            }
        }
    }

    fn host(&self, b: &mut Bindings<'_>) {
        let (targets, x): (&[u32], &mut [f32]) = (b.read(0), b.write(1));
        let losses: &mut [f32] = b.write(2);
        let results = targets.iter().zip(losses).skip(self.offset);
        let rows = x
            .chunks_exact_mut(self.vocab)
            .zip(results)
            .take(self.tokens);
        cpu::each_worth(rows.collect(), 3 * self.vocab, |(x, (&target, loss))| {
            let target = target as usize;
            if target >= self.vocab {
                *loss = 0.0;
                x.fill(0.0);
                return;
            }
            let chosen = x[target];
            *loss = cpu::softmax(1.0, x) - chosen;
            x[target] -= 1.0;
            x.iter_mut().for_each(|v| *v *= self.factor);
        });
    }

    fn cases() -> Vec<Case<Self>> {
        cases::cases()
    }
}
