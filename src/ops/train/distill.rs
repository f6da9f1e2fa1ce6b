//! The loss of a student that has a teacher.

use super::loss::IGNORED;
use super::*;
use bytemuck::Zeroable;

/// Cross entropy of every row's target and the Kullback-Leibler divergence from a teacher's distribution, mixed, and
/// the gradient of their weighted sum in the place of the logits.
///
/// With p the softmax of `x` and q that of `teacher`, the loss of a row is `(1 - share) (-ln p_target) + share sum_j
/// q_j ln(q_j / p_j)` (Hinton et al., arXiv 1503.02531, at temperature 1).
///
/// Bindings: `targets` [first + rows] u32, the ids of the next tokens, [`IGNORED`] for rows that do not count;
/// `teacher` [rows, vocab] f32, its logits; `x` [rows, vocab] f32, logits, becomes `factor (p - share q - (1 - share)
/// (one at the target))`; `losses` [first + rows] f32. Loss and gradient of ignored rows are 0.
#[derive(Debug, Clone)]
pub struct TokenDistill {
    /// Tokens.
    pub rows: usize,
    /// Logits per token.
    pub vocab: usize,
    /// Place of the first row in `targets` and `losses`.
    pub first: usize,
    /// What the gradient is multiplied by: the loss scale over the number of rows that count.
    pub factor: f32,
    /// Of the divergence in the loss, from 0 to 1.
    pub share: f32,
}

/// Uniform block of [`TokenDistill`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct TokenDistillParams {
    rows: u32,
    vocab: u32,
    first: u32,
    factor: f32,
    share: f32,
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
    // as of the plain loss; a divergence is a small difference of such losses
    const AGREE: Agree = Agree::Nmse(1e-11);
    type Params = TokenDistillParams;

    fn params(&self) -> TokenDistillParams {
        TokenDistillParams {
            rows: self.rows as u32,
            vocab: self.vocab as u32,
            first: self.first as u32,
            factor: self.factor,
            share: self.share,
        }
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: self.rows as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        let (all, logits) = (self.first + self.rows, self.rows * self.vocab);
        vec![all, logits, logits, all]
    }

    fn cost(&self) -> Cost {
        let n = (self.rows * self.vocab) as f64;
        Cost {
            bytes: 12.0 * n,
            ops: 14.0 * n,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (targets, teacher): (&[u32], &[f32]) = (b.read(0), b.read(1));
        let (x, losses): (&mut [f32], &mut [f32]) = (b.write(2), b.write(3));
        let places = targets.iter().zip(losses).skip(self.first);
        let rows = x.chunks_exact_mut(self.vocab);
        let rows = rows.zip(teacher.chunks_exact(self.vocab)).zip(places);
        let (factor, share) = (f64::from(self.factor), f64::from(self.share));
        cpu::each_worth(
            rows.take(self.rows).collect(),
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
        let case = |name: &str, vocab, first, targets: &[u32], share, amplitude| {
            let op = Self {
                rows: targets.len() - first,
                vocab,
                first,
                factor: 0.37,
                share,
            };
            let data = vec![
                Data::u32(targets),
                Data::f32(&noise(43, op.rows * vocab, amplitude)),
                Data::f32(&noise(44, op.rows * vocab, amplitude)),
                Data::Out(targets.len()),
            ];
            Case::new(name, op, data)
        };
        vec![
            case("several rows", 300, 0, &[299, 0, IGNORED, 17], 0.5, 5.0),
            case("later rows, wide", 5000, 2, &[1, 2, 4999, 3], 0.9, 20.0),
            case("the teacher alone", 77, 0, &[76, 77, 5], 1.0, 1.0),
            case("no teacher", 2, 1, &[0, 1, 0, IGNORED], 0.0, 3.0),
        ]
    }
}
