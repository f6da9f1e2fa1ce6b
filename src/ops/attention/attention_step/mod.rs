//! Attention of one new token of each sequence: rotation, caches and attention in one dispatch (flash-decoding).

use super::caches::Cached;
use super::{AttentionSplit, Heads, Pairs, Positions, Ranges, Rotation};
use crate::ops::*;

mod cases;

/// The next token of one sequence or of several, each of another slot: q and k are normalized head by head, if the model does
/// so ([`RmsNormHeads`](crate::ops::norm::RmsNormHeads)), and rotated; k and v enter the caches, and the token attends to its
/// slot. With several ranges of positions, [`super::AttentionMerge`] puts them together.
///
/// The positions that a token sees before its own are cut into as many ranges as suit the token alone: how a sequence's sums
/// are rounded does not depend on the sequences beside it.
///
/// Bindings: `qkv` [tokens, (heads + 2 kv_heads) head_dim] f32; `angles` [context, rotation.width / 2, 2] f32 of (cos, sin),
/// not read where nothing is rotated; `rows`, the row table; `k_cache`, `v_cache` [slots, capacity, kv_heads head_dim] of
/// [`Kv`]; `out` [tokens, heads head_dim] f32, or with several ranges as [`AttentionSplit`] writes `partials`. Tokens before
/// `heads.offset` of `qkv`, and of `out` with one range, are those of other dispatches. `q_weight` and `k_weight`
/// `[head_dim]` f32 of the norms come last; they are not read where there are none.
#[derive(Debug, Clone)]
pub struct AttentionStep {
    /// Shape of the dispatch; a run has one token.
    pub heads: Heads,
    /// Ranges of the token that sees most positions.
    pub splits: usize,
    /// Positions that a range has at least, where tokens of a table are cut.
    pub least: usize,
    /// Workgroups that keep the device busy; more of them share a processor and its registers.
    pub processors: usize,
    /// What is added to the mean squares of heads, if they are normalized.
    pub norm: Option<f32>,
}

params! {
    /// Uniform block of [`AttentionStep`].
    pub struct AttentionStepParams {
        heads: u32,
        kv_heads: u32,
        capacity: u32,
        scale: f32,
        eps: f32,
        window: u32,
        out_pitch: u32,
        out_gap: u32,
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

impl AttentionStep {
    /// The step that suits `heads`, whose token is alone or that of a table.
    pub fn of(heads: Heads, ranges: Ranges, processors: usize) -> Self {
        let room = ranges.groups / heads.heads.max(1);
        let least = ranges.least.max(1);
        Self {
            splits: ((heads.most_seen() - 1) / least).min(room).max(1),
            heads,
            least,
            processors,
            norm: None,
        }
    }

    /// The same step with norms of every head of q and k before they are rotated.
    #[must_use]
    pub fn normed(self, eps: f32) -> Self {
        Self {
            norm: Some(eps),
            ..self
        }
    }

    /// Whether the kernel takes heads of this size and this rotation where subgroups have `subgroup` invocations.
    pub fn fits(head_dim: usize, rotation: Rotation, subgroup: usize) -> bool {
        let lanes = head_dim / 8;
        head_dim.is_multiple_of(8)
            && rotation.width.is_multiple_of(8)
            && lanes.next_power_of_two() <= subgroup.min(32)
    }

    /// Ranges of a token that sees `before` positions before its own, and the positions of each.
    fn ranges(&self, before: usize) -> (usize, usize) {
        let splits = match self.heads.positions {
            Positions::Run { .. } => self.splits,
            Positions::Table { .. } => (before / self.least).clamp(1, self.splits),
        };
        (splits, before.div_ceil(splits).max(1))
    }

    /// The norm of a head, if there is one.
    fn normalize(&self, head: &mut [f32], weight: &[f32]) {
        let Some(eps) = self.norm else {
            return;
        };
        let squares: f64 = head.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
        let root = (squares / head.len() as f64 + f64::from(eps)).sqrt();
        for (v, &w) in head.iter_mut().zip(weight) {
            *v = (f64::from(*v) / root * f64::from(w)) as f32;
        }
    }

    /// One range of one head of one token, not yet divided by the sum of weights, in f64: largest score, sum, values.
    /// `before` are the keys and values of the positions it sees before its own, whose are `new`.
    fn part(
        &self,
        (head, split): (usize, usize),
        position: usize,
        q: &[f32],
        before: &Cached<'_>,
        new: [&[f32]; 2],
    ) -> Vec<f64> {
        let h = &self.heads;
        let d = h.head_dim;
        let kv = head / (h.heads / h.kv_heads) * d;
        let first = h.seen(position).start;
        let (splits, range) = self.ranges(position - first);
        let begin = first + split * range;
        let positions = begin..(begin + range).min(position);
        let mut keys: Vec<_> = positions.map(|t| before.at(h, t, kv)).collect();
        if split + 1 == splits {
            keys.push(new.map(|new| &new[kv..][..d]));
        }
        let score = |k: &[f32]| {
            let products = q.iter().zip(k).map(|(&a, &b)| f64::from(a) * f64::from(b));
            h.score(products.sum())
        };
        let scores: Vec<f64> = keys.iter().map(|[k, _]| score(k)).collect();
        let top = scores.iter().copied().reduce(f64::max).unwrap_or(0.0);
        let mut part = vec![0.0; 2 + d];
        part[0] = top;
        for (score, [_, v]) in scores.iter().zip(&keys) {
            let e = (score - top).exp();
            part[1] += e;
            for (sum, &v) in part[2..].iter_mut().zip(*v) {
                *sum += e * f64::from(v);
            }
        }
        part
    }

    /// All ranges of all heads of token `token`, into `out`.
    fn attend(
        &self,
        (token, position): (usize, usize),
        q: &[f32],
        before: &Cached<'_>,
        new: [&[f32]; 2],
        out: &mut [f32],
    ) {
        let (h, d) = (&self.heads, self.heads.head_dim);
        for i in 0..h.heads * self.splits {
            let (head, split) = (i / self.splits, i % self.splits);
            let q = &q[head * d..][..d];
            let part = self.part((head, split), position, q, before, new);
            let group = token * h.heads * self.splits + i;
            if self.splits == 1 {
                for (j, value) in part[2..].iter().enumerate() {
                    out[h.out_index((h.offset + token, head), j)] = (value / part[1]) as f32;
                }
            } else {
                let out = &mut out[group * (2 + d)..][..2 + d];
                for (out, value) in out.iter_mut().zip(&part) {
                    *out = *value as f32;
                }
            }
        }
    }
}

impl Op for AttentionStep {
    const NAME: &'static str = "attention_step";
    const SHADERS: &'static [Shader] = &[
        shader!(unchecked Features::SUBGROUP, attention / "attention_step",
            "rotate",
            "softcap",
            "ring",
            "attend_four",
            "rotate_norm",
            "row_table"
        ),
    ];
    const BINDINGS: &'static [Binding] = &[
        read("qkv", Elem::F32),
        read("angles", Elem::F32),
        read("rows", Elem::U32),
        write("k_cache", Elem::F32),
        write("v_cache", Elem::F32),
        write("out", Elem::F32),
        read("q_weight", Elem::F32),
        read("k_weight", Elem::F32),
    ];
    // as in attention
    const AGREE: Agree = Agree::Nmse(1e-10);
    type Params = AttentionStepParams;

    fn shape(&self) -> String {
        let Self {
            splits,
            least,
            processors,
            ..
        } = self;
        let heads = self.heads.shape();
        let norm = self.norm.map(|eps| format!(",eps={eps}"));
        let norm = norm.unwrap_or_default();
        format!("{heads},splits={splits},least={least},processors={processors}{norm}")
    }

    fn agree(&self) -> Agree {
        match self.heads.kv {
            Kv::F32 => Self::AGREE,
            // A value on the edge between two f16 values may become either.
            Kv::F16 => Agree::Nmse(1e-8),
        }
    }

    fn elem(&self, binding: usize) -> Elem {
        match binding {
            3 | 4 => self.heads.kv.elem(),
            _ => Self::BINDINGS[binding].elem,
        }
    }

    fn params(&self) -> AttentionStepParams {
        let h = &self.heads;
        let [table, row, slot, position] = h.position_params();
        let [out_pitch, out_gap] = h.out_params(1);
        AttentionStepParams {
            heads: h.heads as u32,
            kv_heads: h.kv_heads as u32,
            capacity: h.capacity as u32,
            scale: h.scale,
            eps: self.norm.unwrap_or(0.0),
            window: h.window_param(),
            out_pitch,
            out_gap,
            offset: h.offset as u32,
            splits: self.splits as u32,
            range: self.ranges(h.most_seen() - 1).1 as u32,
            least: self.least as u32,
            table,
            row,
            slot,
            position,
        }
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        // Loads that travel together take registers, which many workgroups on a processor lack.
        let h = &self.heads;
        let early = h.tokens * h.heads * self.splits <= self.processors;
        vec![
            ("LANES", (h.head_dim / 8) as f64),
            ("TEAM", (h.head_dim / 8).next_power_of_two() as f64),
            ("ROTATED", (h.rotation.width / 8) as f64),
            (
                "NEIGHBOURS",
                u32::from(h.rotation.pairs == Pairs::Neighbours).into(),
            ),
            ("NORMED", u32::from(self.norm.is_some()).into()),
            ("SOFTCAP", h.softcap.into()),
            ("RING", u32::from(h.wraps()).into()),
            ("EARLY", u32::from(early).into()),
        ]
    }

    fn prelude(&self) -> &'static str {
        self.heads.kv.prelude()
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: (self.heads.heads * self.splits) as u32,
            batch: self.heads.tokens as u32,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        let h = &self.heads;
        let out = match self.splits {
            1 => h.rows() * h.q_row(),
            splits => AttentionSplit::partial_words(h, splits),
        };
        let (cache, angles) = (h.cache_words(), h.angle_words());
        let qkv = h.rows() * h.qkv_row();
        let weight = self.norm.map_or(0, |_| h.head_dim);
        let table = h.table_words();
        vec![qkv, angles, table, cache, cache, out, weight, weight]
    }

    fn cost(&self) -> Cost {
        let h = &self.heads;
        Cost {
            bytes: (4 * h.tokens * (h.qkv_row() + h.q_row()) + h.cached_bytes()) as f64,
            ops: h.attention_ops(),
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let h = &self.heads;
        let d = h.head_dim;
        let (qkv, angles): (&[f32], &[f32]) = (b.read(0), b.read(1));
        let rows: &[u32] = b.read(2);
        let (k_cache, v_cache): (&mut [u32], &mut [u32]) = (b.write(3), b.write(4));
        let out: &mut [f32] = b.write(5);
        let weights: [&[f32]; 2] = [b.read(6), b.read(7)];
        for token in 0..h.tokens {
            let place = h.place(rows, token);
            let angles = h.angles(angles, place.1);
            let mut qkv = qkv[(h.offset + token) * h.qkv_row()..][..h.qkv_row()].to_vec();
            let (rotated, v) = qkv.split_at_mut((h.heads + h.kv_heads) * d);
            for (i, head) in rotated.chunks_exact_mut(d).enumerate() {
                self.normalize(head, weights[usize::from(i >= h.heads)]);
                h.rotation.rotate(head, angles, 1.0);
            }
            let (q, k) = rotated.split_at(h.q_row());
            {
                let positions = h.seen(place.1).start..place.1;
                let before = h.cached([&*k_cache, &*v_cache], place.0, positions);
                self.attend((token, place.1), q, &before, [k, v], out);
            }
            h.kv.store(k_cache, h.cache_index(place), k);
            h.kv.store(v_cache, h.cache_index(place), v);
        }
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
    use super::super::cases::{mixed, run};
    use super::*;

    /// Tokens of a table are cut as each is alone, however many there are and wherever the others stand.
    #[test]
    fn cuts_do_not_depend_on_other_sequences() {
        let ranges = Ranges {
            groups: 512,
            least: 128,
        };
        let sizes = |tokens| [tokens, 32, 8, 128];
        let alone = |before| {
            let step = AttentionStep::of(run(sizes(1), before), ranges, 132);
            step.ranges(before)
        };
        let splits = [0, 255, 300, 4096].map(|before| alone(before).0);
        assert_eq!(splits, [1, 1, 2, 16]);
        for tokens in [2, 8, 64] {
            for before in [0, 255, 300, 4096] {
                for end in [before + 1, 5000] {
                    let heads = mixed(sizes(tokens), end, Kv::F16);
                    let step = AttentionStep::of(heads, ranges, 132);
                    assert_eq!(step.ranges(before), alone(before), "{tokens} to {end}");
                }
            }
        }
    }
}
