//! Gradient of the token embedding.

use crate::ops::*;

mod cases;

/// Values of a row of the table that one workgroup sums.
const WIDTH: usize = 256;

/// Adds the gradient of every token to the row that its id has in the table. Each row has one owner, which adds in the
/// order of the tokens, so that the sum is always the same.
///
/// Bindings: `d_y` [tokens, hidden] f32; `order` `[tokens]` u32 and `runs` [runs, 3] u32 as [`tokens_by_id`] makes them;
/// `d_table` [vocab, hidden] f32, added to.
#[derive(Debug, Clone)]
pub struct TokenEmbedBackward {
    /// Tokens.
    pub tokens: usize,
    /// Values per token.
    pub hidden: usize,
    /// Different ids among them.
    pub runs: usize,
    /// Rows of the table.
    pub vocab: usize,
}

params! {
    /// Uniform block of [`TokenEmbedBackward`].
    pub struct TokenEmbedBackwardParams {
        runs: u32,
        hidden: u32,
        blocks: u32,
    }
}

/// The indices of the tokens, sorted by id, and for each id that occurs (id, first, end): where its tokens lie in that
/// order.
pub fn tokens_by_id(ids: &[u32]) -> (Vec<u32>, Vec<[u32; 3]>) {
    let mut order: Vec<u32> = (0..ids.len() as u32).collect();
    order.sort_by_key(|&token| ids[token as usize]);
    let mut runs: Vec<[u32; 3]> = Vec::new();
    for (i, &token) in order.iter().enumerate() {
        let (id, end) = (ids[token as usize], i as u32 + 1);
        match runs.last_mut() {
            Some(last) if last[0] == id => last[2] = end,
            _ => runs.push([id, i as u32, end]),
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

    fn shape(&self) -> String {
        format!(
            "tokens={},hidden={},runs={},vocab={}",
            self.tokens, self.hidden, self.runs, self.vocab
        )
    }

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
        vec![self.tokens * self.hidden, self.tokens, 3 * self.runs, table]
    }

    fn cost(&self) -> Cost {
        let values = ((self.tokens + 2 * self.runs) * self.hidden) as f64;
        Cost {
            bytes: 4.0 * values,
            ops: (self.tokens * self.hidden) as f64,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (d_y, order, runs): (&[f32], &[u32], &[u32]) = (b.read(0), b.read(1), b.read(2));
        let d_table: &mut [f32] = b.write(3);
        for run in runs.chunks_exact(3).take(self.runs) {
            let table = &mut d_table[run[0] as usize * self.hidden..][..self.hidden];
            for (j, sum) in table.iter_mut().enumerate() {
                let tokens = order[run[1] as usize..run[2] as usize].iter();
                let added: f64 = tokens
                    .map(|&token| f64::from(d_y[token as usize * self.hidden + j]))
                    .sum();
                *sum = (f64::from(*sum) + added) as f32;
            }
        }
    }

    fn cases() -> Vec<Case<Self>> {
        cases::cases()
    }
}
