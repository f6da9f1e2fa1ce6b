//! The loss of the next tokens.

use super::*;
use bytemuck::Zeroable;

/// The target of a row that does not count.
pub const IGNORED: u32 = u32::MAX;

/// Cross entropy of every row's target, and the gradient of their weighted sum in the place of the logits.
///
/// Bindings: `targets` [first + rows] u32, the ids of the next tokens, [`IGNORED`] for rows that do not count; `x`
/// [rows, vocab] f32, logits, becomes `factor (softmax - one at the target)`; `losses` [first + rows] f32. Loss and
/// gradient of ignored rows are 0.
#[derive(Debug, Clone)]
pub struct TokenLoss {
    /// Tokens.
    pub rows: usize,
    /// Logits per token.
    pub vocab: usize,
    /// Place of the first row in `targets` and `losses`.
    pub first: usize,
    /// What the gradient is multiplied by: the loss scale over the number of rows that count.
    pub factor: f32,
}

/// Uniform block of [`TokenLoss`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct TokenLossParams {
    rows: u32,
    vocab: u32,
    first: u32,
    factor: f32,
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
    // exp is off by 3 + 2 |x| ULP, and a loss of 50 by the roundings of the largest logits
    const AGREE: Agree = Agree::Nmse(1e-11);
    type Params = TokenLossParams;

    fn params(&self) -> TokenLossParams {
        TokenLossParams {
            rows: self.rows as u32,
            vocab: self.vocab as u32,
            first: self.first as u32,
            factor: self.factor,
        }
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: self.rows as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        let all = self.first + self.rows;
        vec![all, self.rows * self.vocab, all]
    }

    fn cost(&self) -> Cost {
        let n = (self.rows * self.vocab) as f64;
        Cost {
            bytes: 8.0 * n,
            ops: 6.0 * n,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (targets, x): (&[u32], &mut [f32]) = (b.read(0), b.write(1));
        let losses: &mut [f32] = b.write(2);
        let places = targets.iter().zip(losses).skip(self.first);
        for (x, (&target, loss)) in x.chunks_exact_mut(self.vocab).zip(places).take(self.rows) {
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
        let places = targets.iter().zip(losses).skip(self.first);
        let rows = x.chunks_exact_mut(self.vocab).zip(places).take(self.rows);
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
        let case = |name: &str, vocab, first, targets: &[u32], amplitude| {
            let op = Self {
                rows: targets.len() - first,
                vocab,
                first,
                factor: 0.37,
            };
            let data = vec![
                Data::u32(targets),
                Data::f32(&noise(18, op.rows * vocab, amplitude)),
                Data::Out(targets.len()),
            ];
            Case::new(name, op, data)
        };
        vec![
            case("several rows", 300, 0, &[299, 0, IGNORED, 17], 5.0),
            case("later rows, wide", 5000, 2, &[1, 2, 4999, 3], 20.0),
            case("odd vocabulary", 77, 0, &[76, 77, 5], 1.0),
            case("two tokens", 2, 1, &[0, 1, 0, IGNORED], 3.0),
        ]
    }
}
