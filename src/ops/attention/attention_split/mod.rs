//! Attention of few tokens to many positions: ranges of positions apart, which [`super::AttentionMerge`] puts together.
//!
//! One workgroup for each token and head leaves a large GPU idle when there is one token. [`AttentionSplit::of`] says when
//! and how far splitting pays; the results are those of [`super::Attention`].

use super::host::Group;
use super::{Heads, Positions, Ranges};
use crate::ops::*;
use std::ops::Range;

mod cases;
pub(super) use cases::split_heads;

/// For each range of positions the largest score, the sum of `e = exp(score - largest)`, and the sum of `e v`.
///
/// The positions that each token of a run sees are cut into ranges of the size that suits the one which sees most. Tokens of
/// a table are cut each by the positions that it sees itself, into as many ranges as suit it alone: how a sequence's sums are
/// rounded does not depend on the sequences beside it.
///
/// Bindings: `qkv`, `rows`, `k_cache`, `v_cache` as in [`super::Attention`]; `partials` [tokens, heads, splits, 2 + head_dim]
/// f32. Ranges that a token does not reach are zero.
#[derive(Debug, Clone)]
pub struct AttentionSplit {
    /// Shape of the dispatch.
    pub heads: Heads,
    /// Ranges of the token that sees most positions.
    pub splits: usize,
    /// Positions that a range has at least, where tokens of a table are cut.
    pub least: usize,
}

params! {
    /// Uniform block of [`AttentionSplit`].
    pub struct AttentionSplitParams {
        tokens: u32,
        heads: u32,
        kv_heads: u32,
        head_dim: u32,
        capacity: u32,
        scale: f32,
        window: u32,
        offset: u32,
        splits: u32,
        range: u32,
        least: u32,
        table: u32,
        row: u32,
        slot: u32,
        position: u32,
    }
}

impl AttentionSplit {
    /// The split that suits `heads`. With one range, [`super::Attention`] is as good.
    pub fn of(heads: Heads, ranges: Ranges) -> Self {
        let tokens = match heads.positions {
            Positions::Run { .. } => heads.tokens,
            // as if each token were alone
            Positions::Table { .. } => 1,
        };
        let room = ranges.groups / (tokens * heads.heads).max(1);
        let least = ranges.least.max(1);
        Self {
            splits: (heads.most_seen() / least).min(room).max(1),
            heads,
            least,
        }
    }

    /// Words of `partials` for `heads` with `splits` ranges.
    pub fn partial_words(heads: &Heads, splits: usize) -> usize {
        heads.tokens * heads.heads * splits * (2 + heads.head_dim)
    }

    /// Most words of `partials` that a step of a session with `n_seqs` sequences needs: either the step is a run, which
    /// [`AttentionSplit::of`] does not split beyond `ranges.groups` workgroups, or each of its tokens is split as far alone.
    pub fn most_words(n_seqs: usize, head_dim: usize, ranges: Ranges) -> usize {
        n_seqs.saturating_mul(ranges.groups * (2 + head_dim))
    }

    /// Positions of a range of a token that sees `seen` of them.
    fn range(&self, seen: usize) -> usize {
        match self.heads.positions {
            Positions::Run { .. } => self.heads.most_seen().div_ceil(self.splits),
            Positions::Table { .. } => seen.div_ceil((seen / self.least).clamp(1, self.splits)),
        }
    }

    /// (token, head) and positions of partial `i`.
    fn part(&self, i: usize, rows: &[u32]) -> ((usize, usize), Range<usize>) {
        let (group, split) = (i / self.splits, i % self.splits);
        let (token, head) = (group / self.heads.heads, group % self.heads.heads);
        let seen = self.heads.seen(self.heads.place(rows, token).1);
        let range = self.range(seen.len());
        let begin = (seen.start + split * range).min(seen.end);
        ((token, head), begin..(begin + range).min(seen.end))
    }
}

impl Op for AttentionSplit {
    const NAME: &'static str = "attention_split";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        attention / "attention_split",
        "softcap",
        "ring",
        "attend",
        "row_table"
    )];
    const BINDINGS: &'static [Binding] = &[
        read("qkv", Elem::F32),
        read("rows", Elem::U32),
        read("k_cache", Elem::U32),
        read("v_cache", Elem::U32),
        write("partials", Elem::F32),
    ];
    // as in attention
    const AGREE: Agree = Agree::Nmse(1e-10);
    type Params = AttentionSplitParams;

    fn shape(&self) -> String {
        let (heads, splits, least) = (self.heads.shape(), self.splits, self.least);
        format!("{heads},splits={splits},least={least}")
    }

    fn params(&self) -> AttentionSplitParams {
        let h = &self.heads;
        let [table, row, slot, position] = h.position_params();
        AttentionSplitParams {
            tokens: h.tokens as u32,
            heads: h.heads as u32,
            kv_heads: h.kv_heads as u32,
            head_dim: h.head_dim as u32,
            capacity: h.capacity as u32,
            scale: h.scale,
            window: h.window_param(),
            offset: h.offset as u32,
            splits: self.splits as u32,
            range: self.range(h.most_seen()) as u32,
            least: self.least as u32,
            table,
            row,
            slot,
            position,
        }
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("SOFTCAP", self.heads.softcap.into()),
            ("RING", u32::from(self.heads.wraps()).into()),
        ]
    }

    fn prelude(&self) -> &'static str {
        self.heads.kv.prelude()
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: (self.heads.tokens * self.heads.heads * self.splits) as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        let h = &self.heads;
        let (cache, partials) = (h.cache_words(), Self::partial_words(h, self.splits));
        vec![
            h.rows() * h.qkv_row(),
            h.table_words(),
            cache,
            cache,
            partials,
        ]
    }

    fn cost(&self) -> Cost {
        let h = &self.heads;
        let partials = Self::partial_words(h, self.splits);
        Cost {
            bytes: (4 * (h.tokens * h.q_row() + partials) + h.cached_bytes()) as f64,
            ops: h.attention_ops(),
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let h = &self.heads;
        let (qkv, rows): (&[f32], &[u32]) = (b.read(0), b.read(1));
        let caches: [&[u32]; 2] = [b.read(2), b.read(3)];
        let partials: &mut [f32] = b.write(4);
        let d = h.head_dim;
        let words = Self::partial_words(h, self.splits);
        for (i, partial) in partials[..words].chunks_exact_mut(2 + d).enumerate() {
            let ((token, head), range) = self.part(i, rows);
            let cached = h.cached(caches, h.place(rows, token).0, range.clone());
            let q = &qkv[(h.offset + token) * h.qkv_row() + head * d..][..d];
            let kv = head / (h.heads / h.kv_heads) * d;
            let seen: Vec<_> = range.map(|t| cached.at(h, t, kv)).collect();
            let score = |[k, _]: &[&[f32]; 2]| {
                let products = q.iter().zip(*k).map(|(&a, &b)| f64::from(a) * f64::from(b));
                h.score(products.sum())
            };
            let scores: Vec<f64> = seen.iter().map(score).collect();
            let top = scores.iter().copied().reduce(f64::max).unwrap_or(0.0);
            let weights: Vec<f64> = scores.iter().map(|s| (s - top).exp()).collect();
            partial[0] = top as f32;
            partial[1] = weights.iter().sum::<f64>() as f32;
            for j in 0..d {
                let weighted = weights.iter().zip(&seen);
                let weighted = weighted.map(|(w, [_, v])| w * f64::from(v[j]));
                partial[2 + j] = weighted.sum::<f64>() as f32;
            }
        }
    }

    fn host(&self, b: &mut Bindings<'_>) {
        let h = &self.heads;
        let (qkv, rows): (&[f32], &[u32]) = (b.read(0), b.read(1));
        let caches: [&[u32]; 2] = [b.read(2), b.read(3)];
        let partials: &mut [f32] = b.write(4);
        let words = Self::partial_words(h, self.splits);
        let partials = partials[..words].chunks_exact_mut(2 + h.head_dim);
        let nanoseconds = h.nanoseconds(1, self.range(h.most_seen()));
        cpu::each_worth(
            partials.enumerate().collect(),
            nanoseconds,
            |(i, partial)| {
                let ((token, first), range) = self.part(i, rows);
                let (ends, sums) = partial.split_at_mut(2);
                let seen = (h.place(rows, token).0, range);
                let heads = 1;
                let group = Group {
                    token,
                    first,
                    heads,
                };
                h.attend(group, seen, qkv, caches, (sums, ends.as_chunks_mut().0));
            },
        );
    }

    fn cases() -> Vec<Case<Self>> {
        cases::cases()
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        cases::bench_cases()
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::mixed;
    use super::*;

    /// Tokens of a table are cut as each is alone, however many there are.
    #[test]
    fn cuts_do_not_depend_on_other_sequences() {
        let ranges = Ranges {
            groups: 512,
            least: 128,
        };
        let sizes = |tokens| [tokens, 32, 8, 128];
        for end in [1, 255, 256, 1000, 4097] {
            for seen in [1, 200, 256, 1000, 4097] {
                if seen > end {
                    continue;
                }
                let of = |tokens| {
                    let split = AttentionSplit::of(mixed(sizes(tokens), end, Kv::F16), ranges);
                    split.range(seen)
                };
                let alone = super::super::cases::run(sizes(1), seen - 1);
                let alone = AttentionSplit::of(alone, ranges).range(seen);
                assert_eq!([of(1), of(2), of(64)], [alone; 3], "{seen} of {end}");
            }
        }
    }
}
