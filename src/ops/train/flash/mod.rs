//! Causal attention of training, forward and back, without a matrix of scores in memory: tiles of it are made where they are
//! used, and made again in the backward pass from the logarithm of each row's sum.
//!
//! The scheme is that of FlashAttention-2 (Dao, 2023), but for the backward pass, which has a kernel that sums over positions (for
//! queries) and one that sums over tokens (for keys and values), so that every sum has a fixed order.

use crate::ops::attention::default_scale;
use crate::ops::*;
use std::ops::Range;

mod backward_kv;
mod backward_q;
mod cases;
mod coop;
mod forward;
mod host;
mod reference;

pub use backward_kv::*;
pub use backward_q::*;
pub use coop::*;
pub use forward::*;

/// Heads of whole sequences, whose tokens see the positions up to their own, or the last of them.
///
/// Query head `h` attends to key/value head `h / (heads / kv_heads)`. Rows of `qkv` are `[q heads | k heads | v heads]`; what
/// attention gives has its heads side by side, or, where they are complex, the real halves of all heads before the imaginary ones.
/// Where heads are counted through all sequences, `head` is `sequence * heads + head`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CausalHeads {
    /// Sequences.
    pub n_seqs: usize,
    /// Tokens of each of them.
    pub tokens: usize,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads; divides `heads`.
    pub kv_heads: usize,
    /// Values of a head; even, at most [`LARGEST_HEAD`](crate::ops::attention::LARGEST_HEAD).
    pub head_dim: usize,
    /// Whether heads hold complex values, the real parts of a head before its imaginary parts.
    pub complex: bool,
    /// What products of queries and keys are multiplied by.
    pub scale: f32,
    /// Positions that a token sees at most, its own included, at least one: `usize::MAX` for all.
    pub window: usize,
    /// Scores become `softcap * tanh(score / softcap)`; 0 leaves them as they are.
    pub softcap: f32,
}

params! {
    /// Uniform block of the ops of flash attention.
    pub struct FlashParams {
        n_seqs: u32,
        tokens: u32,
        heads: u32,
        kv_heads: u32,
        head_dim: u32,
        window: u32,
        scale: f32,
        out_pitch: u32,
        out_gap: u32,
    }
}

/// What backward passes read.
#[derive(Clone, Copy)]
struct Inputs<'a> {
    qkv: &'a [f32],
    d_out: &'a [f32],
    lse: &'a [f32],
    delta: &'a [f32],
}

impl CausalHeads {
    /// Values of a token's queries, keys and values.
    pub fn qkv_row(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    /// Tokens of all sequences.
    fn rows(&self) -> usize {
        self.n_seqs * self.tokens
    }

    /// Values of `qkv`.
    fn qkv_values(&self) -> usize {
        self.rows() * self.qkv_row()
    }

    /// Values of `out`.
    fn out_values(&self) -> usize {
        self.rows() * self.heads * self.head_dim
    }

    /// Values of `lse` and of `delta`.
    fn row_values(&self) -> usize {
        self.rows() * self.heads
    }

    /// Query heads of a key/value head.
    fn share(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// Where the first value of a column of heads lies at a token.
    fn place(&self, (sequence, column): (usize, usize), token: usize) -> usize {
        (sequence * self.tokens + token) * self.qkv_row() + column * self.head_dim
    }

    /// Where a query begins; heads are counted through all sequences.
    fn query(&self, head: usize, token: usize) -> usize {
        self.place((head / self.heads, head % self.heads), token)
    }

    /// Where a key begins; key/value heads are counted through all sequences.
    fn key(&self, kv: usize, token: usize) -> usize {
        let column = self.heads + kv % self.kv_heads;
        self.place((kv / self.kv_heads, column), token)
    }

    /// Where a value begins.
    fn value(&self, kv: usize, token: usize) -> usize {
        self.key(kv, token) + self.kv_heads * self.head_dim
    }

    /// How heads lie in a row of `out`, in values: from head to head, and between the halves of a head.
    fn out_strides(&self) -> [usize; 2] {
        let half = self.head_dim / 2;
        match self.complex {
            false => [self.head_dim, 0],
            true => [half, (self.heads - 1) * half],
        }
    }

    /// Where value `j` of what a head gives lies.
    fn out(&self, head: usize, token: usize, j: usize) -> usize {
        let [pitch, gap] = self.out_strides();
        let gap = if j < self.head_dim / 2 { 0 } else { gap };
        let row = head / self.heads * self.tokens + token;
        row * self.heads * self.head_dim + head % self.heads * pitch + j + gap
    }

    /// What a token sees.
    fn seen(&self, token: usize) -> Range<usize> {
        let end = token + 1;
        end.saturating_sub(self.window.max(1))..end
    }

    /// The tokens that see one of the positions from `first` to `last`.
    fn seeing(&self, first: usize, last: usize) -> Range<usize> {
        first..self.tokens.min(last.saturating_add(self.window.max(1)))
    }

    /// For people and tests.
    fn shape(&self) -> String {
        let Self {
            n_seqs,
            tokens,
            heads,
            kv_heads,
            head_dim,
            ..
        } = self;
        let mut shape = format!(
            "n_seqs={n_seqs},tokens={tokens},heads={heads},kv_heads={kv_heads},head_dim={head_dim}"
        );
        if self.complex {
            shape += ",complex=1";
        }
        if self.scale != default_scale(self.head_dim, self.complex) {
            shape += &format!(",scale={}", self.scale);
        }
        if self.window < usize::MAX {
            shape += &format!(",window={}", self.window);
        }
        if self.softcap > 0.0 {
            shape += &format!(",softcap={}", self.softcap);
        }
        shape
    }

    /// The uniform block for kernels that count outputs in pieces of `piece` values.
    fn params(&self, piece: usize) -> FlashParams {
        let [out_pitch, out_gap] = self.out_strides().map(|stride| (stride / piece) as u32);
        FlashParams {
            n_seqs: self.n_seqs as u32,
            tokens: self.tokens as u32,
            heads: self.heads as u32,
            kv_heads: self.kv_heads as u32,
            head_dim: self.head_dim as u32,
            window: u32::try_from(self.window.max(1)).unwrap_or(u32::MAX),
            scale: self.scale,
            out_pitch,
            out_gap,
        }
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        vec![("SOFTCAP", self.softcap.into())]
    }

    /// A workgroup for every `rows` tokens of each of `heads` heads of a sequence.
    fn grid(&self, rows: usize, heads: usize) -> Grid {
        Grid {
            groups: (self.tokens.div_ceil(rows) * self.n_seqs * heads) as u32,
            batch: 1,
        }
    }

    /// `products` multiply-adds for each value of every pair of a token and a position that it sees; `bytes` read and written.
    fn cost(&self, products: usize, bytes: usize) -> Cost {
        let most = self.window.clamp(1, self.tokens);
        let seen = most * (most + 1) / 2 + (self.tokens - most) * most;
        Cost {
            bytes: bytes as f64,
            ops: (2 * products * self.head_dim) as f64 * (self.n_seqs * self.heads * seen) as f64,
        }
    }
}
