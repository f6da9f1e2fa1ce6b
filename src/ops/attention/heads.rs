//! Shape of attention in one dispatch, and where its tokens stand in the caches.

use super::{Kv, Rotation};
use std::ops::Range;

/// Largest head the attention kernels take: one invocation for each value.
pub const LARGEST_HEAD: usize = 256;

/// Where the tokens of a dispatch stand in the caches.
///
/// The row table is a buffer `[.., 2]` of u32: (slot, position) of one token after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Positions {
    /// Consecutive tokens of one sequence. The row table is not read, because its rows would only repeat this.
    Run {
        /// Slot of the sequence.
        slot: usize,
        /// Position of token 0, which is how many tokens the slot had before.
        first: usize,
    },
    /// Tokens of any sequences: row `row + i` of the row table says where token `i` stands. No two tokens stand at the same
    /// place.
    Table {
        /// Row of token 0.
        row: usize,
        /// Slots of the caches. A row with a larger slot counts as one with the last.
        slots: usize,
        /// All positions are below it. A row with a larger position counts as one with the last.
        end: usize,
    },
}

/// What scores are multiplied by where a model does not say: the root of one over the number of values of a head, complex ones
/// counted once.
pub fn default_scale(head_dim: usize, complex: bool) -> f32 {
    let values = if complex { head_dim / 2 } else { head_dim };
    (values as f64).powf(-0.5) as f32
}

/// Shape of attention in one dispatch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Heads {
    /// Tokens of this dispatch.
    pub tokens: usize,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads; divides `heads`.
    pub kv_heads: usize,
    /// Values of a head; even, at most [`LARGEST_HEAD`].
    pub head_dim: usize,
    /// Whether heads hold complex values, the real parts of a head before its imaginary parts; `head_dim` is then a multiple
    /// of four. A score is the real part of `q conj(k)`, which is the dot product of the halves that lie so. What attention
    /// gives is `[re | im]` as a whole: the real parts of all heads, then the imaginary parts of all.
    pub complex: bool,
    /// How the caches hold their values.
    pub kv: Kv,
    /// Positions of a slot of the caches, which are `[slots, capacity, kv_heads, head_dim]`. A slot is a ring: position `t`
    /// lies at `t % capacity`. Where positions go beyond the capacity, `window + tokens - 1` is at most that, so that no token
    /// of a dispatch overwrites what another one sees.
    pub capacity: usize,
    /// Row of `qkv` and `out` that holds token 0: several dispatches may share a step.
    pub offset: usize,
    /// Where the tokens stand.
    pub positions: Positions,
    /// What scores are multiplied by; see [`default_scale`].
    pub scale: f32,
    /// Positions that a token sees at most, its own included, at least one: `usize::MAX` for all.
    pub window: usize,
    /// Scores become `softcap * tanh(score / softcap)`; 0 leaves them as they are.
    pub softcap: f32,
    /// Which values of a head are rotated, and by what pairs.
    pub rotation: Rotation,
}

impl Heads {
    /// Values in a row of q, k and v together.
    pub fn qkv_row(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    /// Values of one position in a cache.
    pub fn cache_row(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Values of a token's queries, or of what attention makes of them.
    pub(super) fn q_row(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Index in `out` of value `j` of a head in row `row`.
    pub(super) fn out_index(&self, (row, head): (usize, usize), j: usize) -> usize {
        let [pitch, gap] = self.out_strides();
        let gap = if j < self.head_dim / 2 { 0 } else { gap };
        row * self.q_row() + head * pitch + j + gap
    }

    /// How heads lie in a row of `out`, in values: from head to head, and between the halves of a head.
    pub(super) fn out_strides(&self) -> [usize; 2] {
        let half = self.head_dim / 2;
        match self.complex {
            false => [self.head_dim, 0],
            true => [half, (self.heads - 1) * half],
        }
    }

    /// [`Heads::out_strides`] for kernels that write `piece` values at a time.
    pub(super) fn out_params(&self, piece: usize) -> [u32; 2] {
        debug_assert!(!self.complex || self.head_dim.is_multiple_of(2 * piece));
        self.out_strides().map(|stride| (stride / piece) as u32)
    }

    /// The halves of every head of every token in `out`, heads of a token side by side.
    pub(super) fn out_halves<'a>(&self, out: &'a mut [f32]) -> Vec<[&'a mut [f32]; 2]> {
        let half = self.head_dim / 2;
        let rows = out.chunks_exact_mut(self.q_row());
        let mut all = Vec::with_capacity(self.tokens * self.heads);
        for row in rows.skip(self.offset).take(self.tokens) {
            if self.complex {
                let (re, im) = row.split_at_mut(self.heads * half);
                let heads = re.chunks_exact_mut(half).zip(im.chunks_exact_mut(half));
                all.extend(heads.map(|(re, im)| [re, im]));
            } else {
                let heads = row.chunks_exact_mut(self.head_dim);
                all.extend(heads.map(|head| head.split_at_mut(half).into()));
            }
        }
        all
    }

    /// Rows that `qkv` must at least have.
    pub(super) fn rows(&self) -> usize {
        self.offset + self.tokens
    }

    /// Positions that the token which sees most of them may see.
    pub fn end(&self) -> usize {
        match self.positions {
            Positions::Run { first, .. } => first + self.tokens,
            Positions::Table { end, .. } => end,
        }
    }

    /// What a token at `position` sees.
    pub fn seen(&self, position: usize) -> Range<usize> {
        let end = position + 1;
        end.saturating_sub(self.window.max(1))..end
    }

    /// Positions that a token sees at most.
    pub(super) fn most_seen(&self) -> usize {
        self.seen(self.end() - 1).len()
    }

    /// What kernels are told of the window.
    pub(super) fn window_param(&self) -> u32 {
        u32::try_from(self.window.max(1)).unwrap_or(u32::MAX)
    }

    /// What becomes of a sum of products of `q` and a key.
    pub(super) fn score(&self, products: f64) -> f64 {
        let score = products * f64::from(self.scale);
        match f64::from(self.softcap) {
            cap if cap > 0.0 => cap * (score / cap).tanh(),
            _ => score,
        }
    }

    /// Values that the table of angles must at least have.
    pub(super) fn angle_words(&self) -> usize {
        self.end() * self.rotation.width
    }

    /// The angles of a position.
    pub(super) fn angles<'a>(&self, table: &'a [f32], position: usize) -> &'a [f32] {
        let width = self.rotation.width;
        &table[position * width..][..width]
    }

    /// Words the row table must at least have.
    pub(super) fn table_words(&self) -> usize {
        match self.positions {
            Positions::Run { .. } => 0,
            Positions::Table { row, .. } => 2 * (row + self.tokens),
        }
    }

    /// What kernels are told of the positions: `table`, `row`, `slot` and `position` of `row_table.wgsl`.
    pub(super) fn position_params(&self) -> [u32; 4] {
        let params = match self.positions {
            Positions::Run { slot, first } => [0, 0, slot, first],
            Positions::Table { row, slots, end } => [1, row, slots - 1, end - 1],
        };
        params.map(|value| value as u32)
    }

    /// Slot and position of token `i`, where `rows` is the row table.
    pub(super) fn place(&self, rows: &[u32], i: usize) -> (usize, usize) {
        match self.positions {
            Positions::Run { slot, first } => (slot, first + i),
            Positions::Table { row, slots, end } => {
                let [slot, position] = [0, 1].map(|word| rows[2 * (row + i) + word] as usize);
                (slot.min(slots - 1), position.min(end - 1))
            }
        }
    }

    /// Attention operations: four for each value of the positions that are seen, of a table all that may be.
    pub(super) fn attention_ops(&self) -> f64 {
        let seen = match self.positions {
            Positions::Run { first, .. } => {
                // tokens that see all up to their own position, then those that a window bounds
                let whole = self.window.max(1).saturating_sub(first).min(self.tokens) as f64;
                let bounded = (self.tokens as f64 - whole) * self.most_seen() as f64;
                whole * (first as f64 + (whole + 1.0) / 2.0) + bounded
            }
            Positions::Table { .. } => (self.tokens * self.most_seen()) as f64,
        };
        4.0 * seen * self.q_row() as f64
    }

    /// Bytes of keys and values that are read once each, of a table all that may be.
    pub(super) fn cached_bytes(&self) -> usize {
        let positions = match self.positions {
            Positions::Run { first, .. } => self.end() - self.seen(first).start,
            Positions::Table { slots, .. } => slots.min(self.tokens) * self.most_seen(),
        };
        2 * self.kv.bytes() * positions * self.cache_row()
    }

    /// For people and tests: `tokens=2,heads=8,kv_heads=2,head_dim=64,kv=f16,slot=0,position=5`.
    pub(super) fn shape(&self) -> String {
        let place = match self.positions {
            Positions::Run { slot, first } => format!("slot={slot},position={first}"),
            Positions::Table { row, slots, end } => format!("row={row},slots={slots},end={end}"),
        };
        let kv = match self.kv {
            Kv::F32 => "f32",
            Kv::F16 => "f16",
        };
        let Self {
            tokens,
            heads,
            kv_heads,
            head_dim,
            capacity,
            offset,
            ..
        } = self;
        let suffix = self.complex_suffix().to_owned() + &self.scoring_suffix();
        let rotation = self.rotation.suffix(*head_dim);
        format!(
            "tokens={tokens},heads={heads},kv_heads={kv_heads},head_dim={head_dim},kv={kv},capacity={capacity},{place},offset={offset}{suffix}{rotation}"
        )
    }

    /// What the shapes of heads end with whose scores are not the usual ones.
    fn scoring_suffix(&self) -> String {
        let mut suffix = String::new();
        if self.scale != default_scale(self.head_dim, self.complex) {
            suffix += &format!(",scale={}", self.scale);
        }
        if self.window < usize::MAX {
            suffix += &format!(",window={}", self.window);
        }
        if self.softcap > 0.0 {
            suffix += &format!(",softcap={}", self.softcap);
        }
        suffix
    }

    /// What the shapes of complex heads end with.
    pub(super) fn complex_suffix(&self) -> &'static str {
        if self.complex { ",complex=1" } else { "" }
    }
}

/// How far the positions of a token may be split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ranges {
    /// Workgroups after which the device has enough to do.
    pub groups: usize,
    /// Positions under which a range is not worth a workgroup.
    pub least: usize,
}
