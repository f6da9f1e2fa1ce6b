//! The loss of a student that has a teacher.

use crate::ops::*;

mod cases;

/// Cross entropy of every token's target and the Kullback-Leibler divergence from a teacher's distribution, mixed, and
/// the gradient of the weighted sum of these losses, which overwrites the logits.
///
/// With p the softmax of `x` and q that of `teacher`, the loss of a token is `(1 - share) * (-ln p_target) + share *
/// sum_j q_j * ln(q_j / p_j)` (Hinton et al., arXiv 1503.02531, at temperature 1).
///
/// Bindings: `targets` [offset + tokens] u32, the ids of the next tokens, [`IGNORED`](crate::ops::sampling::IGNORED) for tokens that do not count;
/// `teacher` [tokens, vocab] f32, its logits; `x` [tokens, vocab] f32, logits, becomes `factor * (p - share * q - (1 -
/// share) * [j = target])`; `losses` [offset + tokens] f32. Loss and gradient of ignored tokens are 0.
#[derive(Debug, Clone)]
pub struct TokenDistill {
    /// Tokens.
    pub tokens: usize,
    /// Logits per token.
    pub vocab: usize,
    /// Index of the first token in `targets` and `losses`.
    pub offset: usize,
    /// Multiplies the gradient: the loss scale over the number of tokens that count.
    pub factor: f32,
    /// Weight of the divergence in the loss, from 0 to 1.
    pub share: f32,
}

params! {
    /// Uniform block of [`TokenDistill`].
    pub struct TokenDistillParams {
        tokens: u32,
        vocab: u32,
        offset: u32,
        factor: f32,
        share: f32,
    }
}

/// Logits less the logarithm of the sum of their exponentials.
fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let wide = || logits.iter().map(|&v| f64::from(v));
    let top = wide().fold(f64::NEG_INFINITY, f64::max);
    let total: f64 = wide().map(|v| (v - top).exp()).sum();
    wide().map(|v| v - top - total.ln()).collect()
}

impl Op for TokenDistill {
    const NAME: &'static str = "token_distill";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        train / "token_distill",
        "reduce",
        "reduce_max"
    )];
    const BINDINGS: &'static [Binding] = &[
        read("targets", Elem::U32),
        read("teacher", Elem::F32),
        write("x", Elem::F32),
        write("losses", Elem::F32),
    ];
    // the bound of the plain loss; a divergence is a small difference of such losses
    const AGREE: Agree = Agree::Nmse(1e-11);
    type Params = TokenDistillParams;

    fn shape(&self) -> String {
        format!(
            "tokens={},vocab={},offset={},factor={},share={}",
            self.tokens, self.vocab, self.offset, self.factor, self.share
        )
    }

    fn params(&self) -> TokenDistillParams {
        TokenDistillParams {
            tokens: self.tokens as u32,
            vocab: self.vocab as u32,
            offset: self.offset as u32,
            factor: self.factor,
            share: self.share,
        }
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: self.tokens as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        let (all, logits) = (self.offset + self.tokens, self.tokens * self.vocab);
        vec![all, logits, logits, all]
    }

    fn cost(&self) -> Cost {
        let n = (self.tokens * self.vocab) as f64;
        Cost {
            bytes: 12.0 * n,
            ops: 14.0 * n,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (targets, teacher): (&[u32], &[f32]) = (b.read(0), b.read(1));
        let (x, losses): (&mut [f32], &mut [f32]) = (b.write(2), b.write(3));
        let results = targets.iter().zip(losses).skip(self.offset);
        let rows = x.chunks_exact_mut(self.vocab);
        let rows = rows.zip(teacher.chunks_exact(self.vocab)).zip(results);
        let (factor, share) = (f64::from(self.factor), f64::from(self.share));
        cpu::each_worth(
            rows.take(self.tokens).collect(),
            8 * self.vocab,
            |((x, teacher), (&target, loss))| {
                *loss = 0.0;
                if target as usize >= self.vocab {
                    x.fill(0.0);
                    return;
                }
                let (p, q) = (log_softmax(x), log_softmax(teacher));
                let apart = p.iter().zip(&q).map(|(p, q)| q.exp() * (q - p));
                let divergence = apart.sum::<f64>();
                *loss = (share * divergence - (1.0 - share) * p[target as usize]) as f32;
                for (j, (x, (p, q))) in x.iter_mut().zip(p.iter().zip(&q)).enumerate() {
                    let one = if j == target as usize { 1.0 } else { 0.0 };
                    *x = (factor * (p.exp() - share * q.exp() - (1.0 - share) * one)) as f32;
                }
            },
        );
    }

    fn cases() -> Vec<Case<Self>> {
        cases::cases()
    }
}
