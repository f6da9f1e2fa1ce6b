//! Shape of attention in one dispatch, and where its tokens stand in the caches.

use super::Kv;
use std::borrow::Cow;
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

/// Shape of attention in one dispatch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// Tokens of this dispatch.
    pub tokens: usize,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads; divides `heads`.
    pub kv_heads: usize,
    /// Values of a head; even, at most [`LARGEST_HEAD`].
    pub head_dim: usize,
    /// Whether heads hold complex values, the real parts of a head before its imaginary parts; `head_dim` is then a multiple of
    /// four. A score is the real part of `q conj(k)`, which is the dot product of the halves that lie so, and is divided by the
    /// root of the number of complex values. What attention gives is `[re | im]` as a whole: the real parts of all heads, then
    /// the imaginary parts of all.
    pub complex: bool,
    /// How the caches hold their values.
    pub kv: Kv,
    /// Positions of a slot of the caches, which are `[slots, capacity, kv_heads, head_dim]`.
    pub capacity: usize,
    /// Row of `qkv` and `out` that holds token 0: several dispatches may share a step.
    pub offset: usize,
    /// Where the tokens stand.
    pub positions: Positions,
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

    /// The number by whose root scores are divided: values of a head, complex ones counted once.
    pub(super) fn scored(&self) -> usize {
        if self.complex {
            self.head_dim / 2
        } else {
            self.head_dim
        }
    }

    /// What scores are multiplied by.
    pub(super) fn scale(&self) -> f64 {
        (self.scored() as f64).powf(-0.5)
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

    /// Words the row table must at least have.
    pub(super) fn table_words(&self) -> usize {
        match self.positions {
            Positions::Run { .. } => 0,
            Positions::Table { row, .. } => 2 * (row + self.tokens),
        }
    }

    /// Words each cache must at least have: to the last position that a token may have.
    pub(super) fn cache_words(&self) -> usize {
        let slot = match self.positions {
            Positions::Run { slot, .. } => slot,
            Positions::Table { slots, .. } => slots - 1,
        };
        let rows = slot * self.capacity + self.end();
        self.kv.words(rows * self.cache_row())
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

    /// First value of position `position` of slot `slot` in a cache.
    pub(super) fn cache_index(&self, (slot, position): (usize, usize)) -> usize {
        (slot * self.capacity + position) * self.cache_row()
    }

    /// The values of a cache that a token at this place sees.
    pub(super) fn cached<'a>(&self, words: &'a [u32], place: (usize, usize)) -> Cow<'a, [f32]> {
        let [begin, end] = [0, place.1 + 1].map(|position| {
            let index = self.cache_index((place.0, position));
            self.kv.words(index)
        });
        self.kv.values(&words[begin..end])
    }

    /// [`Heads::cached`] of the keys and of the values for every token; a run shares one copy.
    pub(super) fn cached_by_token<'a>(
        &self,
        rows: &[u32],
        caches: [&'a [u32]; 2],
    ) -> Vec<[Cow<'a, [f32]>; 2]> {
        let of = |token| {
            let place = self.place(rows, token);
            caches.map(|cache| self.cached(cache, place))
        };
        match self.positions {
            Positions::Run { .. } => vec![of(self.tokens - 1)],
            Positions::Table { .. } => (0..self.tokens).map(of).collect(),
        }
    }

    /// Attention operations: four for each value of the positions that are seen, of a table all that may be.
    pub(super) fn attention_ops(&self) -> f64 {
        let tokens = self.tokens as f64;
        let seen = match self.positions {
            Positions::Run { first, .. } => tokens * (first as f64 + (tokens + 1.0) / 2.0),
            Positions::Table { end, .. } => tokens * end as f64,
        };
        4.0 * seen * self.q_row() as f64
    }

    /// Bytes of keys and values that are read once each, of a table all that may be.
    pub(super) fn cached_bytes(&self) -> usize {
        let slots = match self.positions {
            Positions::Run { .. } => 1,
            Positions::Table { slots, .. } => slots.min(self.tokens),
        };
        2 * self.kv.bytes() * slots * self.end() * self.cache_row()
    }

    /// One head of the token in row `row` of `qkv` over a range of the keys and values it sees, in f32: the largest score and
    /// the sum of weights are returned, the weighted values (not yet divided by that sum) are left in `out`.
    pub(super) fn attend(
        &self,
        (row, head): (usize, usize),
        range: Range<usize>,
        qkv: &[f32],
        [k, v]: [&[f32]; 2],
        out: &mut [f32],
    ) -> (f32, f32) {
        if range.is_empty() {
            out.fill(0.0);
            return (0.0, 0.0);
        }
        let d = self.head_dim;
        let q = &qkv[row * self.qkv_row() + head * d..][..d];
        let kv = head / (self.heads / self.kv_heads) * d;
        let (begin, end) = (range.start * self.cache_row(), range.end * self.cache_row());
        let [k, v] = [k, v].map(|cache| &cache[begin..end][kv..]);
        let scale = self.scale() as f32;
        crate::ops::cpu::attended(q, scale, [k, v], self.cache_row(), out)
    }

    /// About how long [`Heads::attend`] takes over `positions` positions.
    pub(super) fn nanoseconds(&self, positions: usize) -> usize {
        100 + positions * (10 + self.head_dim / 4)
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
        let complex = self.complex_suffix();
        format!(
            "tokens={tokens},heads={heads},kv_heads={kv_heads},head_dim={head_dim},kv={kv},capacity={capacity},{place},offset={offset}{complex}"
        )
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
