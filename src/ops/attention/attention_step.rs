//! Attention of one new token per text: rotation, cache and attention in one dispatch (flash-decoding).

use super::{AttentionSplit, Ranges};
use super::{Heads, noise_turns, turn};
use crate::ops::*;
use bytemuck::Zeroable;

/// One token of each of `heads.rows` texts, all at position `heads.position`: q and k are rotated, k and v enter
/// the caches, and the token attends to its text. With several ranges of positions, [`crate::ops::attention::AttentionMerge`]
/// puts them together.
///
/// Bindings: `qkv` [texts, (heads + 2 kv_heads) head_dim] f32; `table` [context, head_dim / 2, 2] f32 of
/// (cos, sin); `k_cache`, `v_cache` [texts, stride, kv_heads head_dim] of [`Kv`]; `out` [texts, heads head_dim] f32,
/// or with several ranges as [`AttentionSplit`] writes it. Rows before `heads.offset` of `qkv`, and of `out` with one range,
/// are others'.
#[derive(Debug, Clone)]
pub struct AttentionStep {
    /// Shape; a row is a text.
    pub heads: Heads,
    /// Ranges of positions: [`AttentionStep::splits`].
    pub splits: usize,
    /// Cache rows from text to text.
    pub stride: usize,
    /// Workgroups that keep the device busy; more of them share a processor and its registers.
    pub processors: usize,
}

/// Uniform block of [`AttentionStep`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct AttentionStepParams {
    heads: u32,
    kv_heads: u32,
    position: u32,
    scale: f32,
    splits: u32,
    range: u32,
    stride: u32,
    offset: u32,
}

impl AttentionStep {
    /// Ranges that suit `heads`, however many texts there are: how sums are rounded must not depend on the others.
    pub fn splits(heads: &Heads, ranges: Ranges) -> usize {
        let room = ranges.groups / heads.heads.max(1);
        (heads.position / ranges.least).min(room).max(1)
    }

    /// Whether the kernel takes heads of this size where subgroups have `subgroup` invocations.
    pub fn fits(head_dim: usize, subgroup: usize) -> bool {
        let lanes = head_dim / 8;
        head_dim.is_multiple_of(8) && lanes.is_power_of_two() && lanes <= subgroup.min(32)
    }

    fn range(&self) -> usize {
        self.heads.position.div_ceil(self.splits).max(1)
    }

    fn cache_words(&self) -> usize {
        let h = &self.heads;
        let rows = (h.rows - 1) * self.stride + h.position + 1;
        h.kv.words(rows * h.cache_row())
    }

    /// Scores and values of one range of one head of one text, unnormalized, in f64; `k` and `v` are the new ones.
    fn part(
        &self,
        split: usize,
        q: &[f32],
        new: [&[f32]; 2],
        kept: [&[f32]; 2],
        at: usize,
    ) -> Vec<f64> {
        let h = &self.heads;
        let d = h.head_dim;
        let begin = split * self.range();
        let end = (begin + self.range()).min(h.position);
        let row = |cache: usize, t: usize| &kept[cache][at + t * h.cache_row()..][..d];
        let mut keys: Vec<_> = (begin..end).map(|t| (row(0, t), row(1, t))).collect();
        if split + 1 == self.splits {
            keys.push((new[0], new[1]));
        }
        let scores: Vec<f64> = keys
            .iter()
            .map(|(k, _)| {
                let products = q.iter().zip(*k).map(|(&a, &b)| f64::from(a) * f64::from(b));
                products.sum::<f64>() / (d as f64).sqrt()
            })
            .collect();
        let top = scores.iter().copied().reduce(f64::max).unwrap_or(0.0);
        let mut part = vec![0.0; 2 + d];
        part[0] = top;
        for (score, (_, v)) in scores.iter().zip(&keys) {
            let e = (score - top).exp();
            part[1] += e;
            for (sum, &v) in part[2..].iter_mut().zip(*v) {
                *sum += e * f64::from(v);
            }
        }
        part
    }
}

impl Op for AttentionStep {
    const NAME: &'static str = "attention_step";
    const SHADERS: &'static [Shader] = &[
        shader!(unchecked Features::SUBGROUP, attention / "attention_step",
            "rotate",
            "step"
        ),
    ];
    const BINDINGS: &'static [Binding] = &[
        read("qkv", Elem::F32),
        read("table", Elem::F32),
        write("k_cache", Elem::F32),
        write("v_cache", Elem::F32),
        write("out", Elem::F32),
    ];
    // as in attention
    const AGREE: Agree = Agree::Nmse(1e-10);
    type Params = AttentionStepParams;

    fn agree(&self) -> Agree {
        match self.heads.kv {
            Kv::F32 => Self::AGREE,
            // a value on the edge between two halves may fall on either
            Kv::F16 => Agree::Nmse(1e-8),
        }
    }

    fn elem(&self, binding: usize) -> Elem {
        match binding {
            2 | 3 => self.heads.kv.elem(),
            _ => Elem::F32,
        }
    }

    fn params(&self) -> AttentionStepParams {
        let h = &self.heads;
        AttentionStepParams {
            heads: h.heads as u32,
            kv_heads: h.kv_heads as u32,
            position: h.position as u32,
            scale: (h.head_dim as f64).powf(-0.5) as f32,
            splits: self.splits as u32,
            range: self.range() as u32,
            stride: self.stride as u32,
            offset: self.heads.offset as u32,
        }
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        // loads that travel together take registers, which many workgroups on a processor lack
        let h = &self.heads;
        let early = h.rows * h.heads * self.splits <= self.processors;
        vec![
            ("LANES", (h.head_dim / 8) as f64),
            ("EARLY", u32::from(early).into()),
        ]
    }

    fn prelude(&self) -> &'static str {
        self.heads.kv.prelude()
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: (self.heads.heads * self.splits) as u32,
            batch: self.heads.rows as u32,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        let h = &self.heads;
        let out = match self.splits {
            1 => (h.offset + h.rows) * h.heads * h.head_dim,
            splits => AttentionSplit::part_words(h, splits),
        };
        let (cache, table) = (self.cache_words(), (h.position + 1) * h.head_dim);
        let qkv = (h.offset + h.rows) * h.qkv_row();
        vec![qkv, table, cache, cache, out]
    }

    fn cost(&self) -> Cost {
        let h = &self.heads;
        let (qkv, out) = (h.rows * h.qkv_row(), h.rows * h.heads * h.head_dim);
        let kept = h.rows * (h.position + 1) * h.cache_row();
        Cost {
            bytes: (4 * (qkv + out) + 2 * h.kv.bytes() * kept) as f64,
            ops: 4.0 * (h.rows * (h.position + 1) * h.heads * h.head_dim) as f64,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let h = &self.heads;
        let d = h.head_dim;
        let (qkv, table): (&[f32], &[f32]) = (b.read(0), b.read(1));
        let (k_cache, v_cache): (&mut [u32], &mut [u32]) = (b.write(2), b.write(3));
        let out: &mut [f32] = b.write(4);
        let turns = &table[h.position * d..][..d];
        for text in 0..h.rows {
            let mut qkv = qkv[(h.offset + text) * h.qkv_row()..][..h.qkv_row()].to_vec();
            let (turned, v) = qkv.split_at_mut((h.heads + h.kv_heads) * d);
            turned
                .chunks_exact_mut(d)
                .for_each(|head| turn(head, turns));
            let (q, k) = turned.split_at(h.heads * d);
            let kept = [
                h.kv.values(k_cache).into_owned(),
                h.kv.values(v_cache).into_owned(),
            ];
            for i in 0..h.heads * self.splits {
                let (head, split) = (i / self.splits, i % self.splits);
                let kv = head / (h.heads / h.kv_heads) * d;
                let at = text * self.stride * h.cache_row() + kv;
                let new = [&k[kv..kv + d], &v[kv..kv + d]];
                let kept = [kept[0].as_slice(), kept[1].as_slice()];
                let part = self.part(split, &q[head * d..][..d], new, kept, at);
                let group = text * h.heads * self.splits + i;
                if self.splits == 1 {
                    let group = group + h.offset * h.heads;
                    let values = part[2..].iter().map(|v| (v / part[1]) as f32);
                    out[group * d..][..d]
                        .iter_mut()
                        .zip(values)
                        .for_each(|(o, v)| *o = v);
                } else {
                    let values = part.iter().map(|v| *v as f32);
                    out[group * (2 + d)..][..2 + d]
                        .iter_mut()
                        .zip(values)
                        .for_each(|(o, v)| *o = v);
                }
            }
            let at = (text * self.stride + h.position) * h.cache_row();
            h.kv.store(k_cache, at, k);
            h.kv.store(v_cache, at, v);
        }
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        bench::attention_step()
    }

    fn cases() -> Vec<Case<Self>> {
        let case =
            |name: &str, [rows, heads, kv_heads, head_dim, position]: [usize; 5], splits, kv| {
                let heads = Heads {
                    rows,
                    heads,
                    kv_heads,
                    head_dim,
                    position,
                    kv,
                    first: 0,
                    offset: 0,
                };
                let op = Self {
                    heads,
                    splits,
                    stride: position + 3,
                    processors: 132,
                };
                let cache = rows * op.stride * heads.cache_row();
                let kept = |seed| Data::u32(&kv.encode(&noise(seed, cache, 1.0)));
                let data = vec![
                    Data::f32(&noise(55, rows * heads.qkv_row(), 2.0)),
                    Data::f32(&noise_turns(position + 1, head_dim)),
                    kept(56),
                    kept(57),
                    Data::Out(op.lengths()[4]),
                ];
                Case::new(name, op, data)
            };
        let mut cases = vec![
            case("first token", [1, 8, 4, 8, 0], 1, Kv::F32),
            case("first token, halves", [1, 2, 2, 64, 0], 1, Kv::F16),
            case("few positions", [1, 6, 2, 64, 21], 1, Kv::F32),
            case("halves", [1, 4, 4, 64, 150], 1, Kv::F16),
            case("ranges", [1, 4, 2, 64, 517], 3, Kv::F32),
            case("ranges of halves", [1, 6, 1, 32, 1000], 7, Kv::F16),
            case("texts", [3, 4, 2, 16, 77], 1, Kv::F16),
            case("texts in ranges", [2, 2, 1, 64, 300], 2, Kv::F32),
            case("more ranges than positions", [1, 2, 2, 16, 2], 3, Kv::F32),
            case("more heads than processors", [3, 48, 8, 16, 40], 1, Kv::F16),
            case(
                "more ranges than processors",
                [1, 8, 2, 32, 700],
                17,
                Kv::F32,
            ),
        ];
        // the same behind rows of others
        for i in [2, 4] {
            let mut behind = cases[i].clone();
            behind.note.push_str(", behind other rows");
            behind.op.heads.offset = 3;
            let lengths = behind.op.lengths();
            behind.data[0] = Data::f32(&noise(58, lengths[0], 2.0));
            behind.data[4] = match behind.op.splits {
                1 => Data::f32(&noise(59, lengths[4], 1.0)),
                _ => Data::Out(lengths[4]),
            };
            cases.push(behind);
        }
        // the same on a device of few processors
        for i in [3, 6] {
            let mut few = cases[i].clone();
            few.op.processors = 2;
            few.note.push_str(", two processors");
            cases.push(few);
        }
        cases
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_do_not_depend_on_other_texts() {
        let splits = |rows, position| {
            let heads = Heads {
                rows,
                heads: 32,
                kv_heads: 8,
                head_dim: 128,
                position,
                kv: Kv::F16,
                first: 0,
                offset: 0,
            };
            let ranges = Ranges {
                groups: 512,
                least: 128,
            };
            AttentionStep::splits(&heads, ranges)
        };
        assert_eq!([0, 255, 300, 4096].map(|p| splits(1, p)), [1, 1, 2, 16]);
        for rows in [2, 8, 64] {
            for position in [0, 300, 4096] {
                assert_eq!(splits(rows, position), splits(1, position));
            }
        }
    }
}
