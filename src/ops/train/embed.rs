//! Gradient of the token embedding.

use super::*;
use bytemuck::Zeroable;

/// Values of a row that a workgroup sums.
const WIDTH: usize = 256;

/// Adds the gradient of every token to its row of the table: one owner per row, which adds in the order of the
/// tokens, so that the sum is always the same.
///
/// Bindings: `d_y` [rows, hidden] f32; `order` `[rows]` u32 and `runs` [runs, 3] u32 as [`sorted`] makes them;
/// `d_table` [vocab, hidden] f32, added to.
#[derive(Debug, Clone)]
pub struct TokenEmbedBackward {
    /// Tokens.
    pub rows: usize,
    /// Values per token.
    pub hidden: usize,
    /// Different tokens among them.
    pub runs: usize,
    /// Rows of the table.
    pub vocab: usize,
}

/// Uniform block of [`TokenEmbedBackward`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct TokenEmbedBackwardParams {
    runs: u32,
    hidden: u32,
    blocks: u32,
}

/// The rows by token, and for each token that occurs (token, first, end) of its rows among them.
pub fn sorted(tokens: &[u32]) -> (Vec<u32>, Vec<[u32; 3]>) {
    let mut order: Vec<u32> = (0..tokens.len() as u32).collect();
    order.sort_by_key(|&row| tokens[row as usize]);
    let mut runs: Vec<[u32; 3]> = Vec::new();
    for (i, &row) in order.iter().enumerate() {
        let (token, end) = (tokens[row as usize], i as u32 + 1);
        match runs.last_mut() {
            Some(last) if last[0] == token => last[2] = end,
            _ => runs.push([token, i as u32, end]),
        }
    }
    (order, runs)
}

impl Op for TokenEmbedBackward {
    const NAME: &'static str = "token_embed_backward";
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, train / "token_embed_backward")];
    const BINDINGS: &'static [Binding] = &[
        read("d_y", Elem::F32),
        read("order", Elem::U32),
        read("runs", Elem::U32),
        write("d_table", Elem::F32),
    ];
    // one chain of roundings, as long as a token is frequent
    const AGREE: Agree = Agree::Nmse(1e-12);
    type Params = TokenEmbedBackwardParams;

    fn params(&self) -> TokenEmbedBackwardParams {
        TokenEmbedBackwardParams {
            runs: self.runs as u32,
            hidden: self.hidden as u32,
            blocks: self.hidden.div_ceil(WIDTH) as u32,
        }
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: (self.runs * self.hidden.div_ceil(WIDTH)) as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        let table = self.vocab * self.hidden;
        vec![self.rows * self.hidden, self.rows, 3 * self.runs, table]
    }

    fn cost(&self) -> Cost {
        let values = ((self.rows + 2 * self.runs) * self.hidden) as f64;
        Cost {
            bytes: 4.0 * values,
            ops: (self.rows * self.hidden) as f64,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (d_y, order, runs): (&[f32], &[u32], &[u32]) = (b.read(0), b.read(1), b.read(2));
        let d_table: &mut [f32] = b.write(3);
        for run in runs.chunks_exact(3).take(self.runs) {
            let table = &mut d_table[run[0] as usize * self.hidden..][..self.hidden];
            for (j, to) in table.iter_mut().enumerate() {
                let rows = order[run[1] as usize..run[2] as usize].iter();
                let sum: f64 = rows
                    .map(|&row| f64::from(d_y[row as usize * self.hidden + j]))
                    .sum();
                *to = (f64::from(*to) + sum) as f32;
            }
        }
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |name: &str, hidden, vocab, tokens: &[u32]| {
            let (order, runs) = sorted(tokens);
            let op = Self {
                rows: tokens.len(),
                hidden,
                runs: runs.len(),
                vocab,
            };
            let data = vec![
                Data::f32(&noise(15, op.rows * hidden, 1.0)),
                Data::u32(&order),
                Data::u32(runs.as_flattened()),
                Data::f32(&noise(16, vocab * hidden, 1.0)),
            ];
            Case::new(name, op, data)
        };
        let many: Vec<u32> = noise_u32(17, 200).iter().map(|w| w % 11).collect();
        vec![
            case("repeated tokens", 288, 20, &[7, 3, 7, 0, 7, 19]),
            case("few of many rows", 301, 12, &many),
            case("one token", 5, 3, &[2]),
        ]
    }
}
