//! Attention of few rows over many positions, in two ops: ranges of positions apart, then together.
//!
//! One workgroup per row and head leaves a large GPU idle when there is one row. [`Heads::splits`] says when
//! and how far splitting pays; the results are those of [`crate::ops::attention::Attention`].

use super::Heads;
use crate::ops::*;
use bytemuck::Zeroable;

/// How far the positions of a step may be split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ranges {
    /// Workgroups after which the device has enough to do.
    pub groups: usize,
    /// Positions under which a range is not worth a workgroup.
    pub least: usize,
}

impl Heads {
    /// Ranges the positions of this step should be split into; 1 means that the plain op is as good.
    pub fn splits(&self, ranges: Ranges) -> usize {
        let room = ranges.groups / (self.rows * self.heads).max(1);
        (self.positions() / ranges.least).min(room).max(1)
    }
}

/// The first half: for each range of positions the largest score, the sum of `e = exp(score - largest)`, and
/// the sum of `e v`.
///
/// Bindings: `qkv`, `k_cache`, `v_cache` as in [`crate::ops::attention::Attention`]; `parts`
/// [rows, heads, splits, 2 + head_dim] f32. Ranges that a row does not reach are zero.
#[derive(Debug, Clone)]
pub struct AttentionSplit {
    /// Shape of the step.
    pub heads: Heads,
    /// Ranges: `ceil(positions / splits)` positions each.
    pub splits: usize,
}

/// Uniform block of [`AttentionSplit`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct AttentionSplitParams {
    rows: u32,
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    position: u32,
    scale: f32,
    first: u32,
    splits: u32,
    range: u32,
    offset: u32,
}

impl AttentionSplit {
    /// Words of `parts` for a step of `heads` with `splits` ranges.
    pub fn part_words(heads: &Heads, splits: usize) -> usize {
        heads.rows * heads.heads * splits * (2 + heads.head_dim)
    }

    /// Most words of `parts` that a step needs which [`Heads::splits`] asks to split, or one token of each of `texts`
    /// which [`crate::ops::attention::AttentionStep::splits`] does.
    pub fn most_words(texts: usize, head_dim: usize, ranges: Ranges) -> usize {
        texts.saturating_mul(ranges.groups * (2 + head_dim))
    }

    fn range(&self) -> usize {
        self.heads.positions().div_ceil(self.splits)
    }

    /// (row, head) and positions of chunk `i` of `parts`.
    fn place(&self, i: usize) -> ((usize, usize), std::ops::Range<usize>) {
        let (group, split) = (i / self.splits, i % self.splits);
        let row = group / self.heads.heads;
        let begin = split * self.range();
        let end = (begin + self.range()).min(self.heads.position + row + 1);
        ((row, group % self.heads.heads), begin..end.max(begin))
    }
}

impl Op for AttentionSplit {
    const NAME: &'static str = "attention_split";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        attention / "attention_split",
        "attend"
    )];
    const BINDINGS: &'static [Binding] = &[
        read("qkv", Elem::F32),
        read("k_cache", Elem::U32),
        read("v_cache", Elem::U32),
        write("parts", Elem::F32),
    ];
    // as in attention
    const AGREE: Agree = Agree::Nmse(1e-10);
    type Params = AttentionSplitParams;

    fn params(&self) -> AttentionSplitParams {
        let h = &self.heads;
        AttentionSplitParams {
            rows: h.rows as u32,
            heads: h.heads as u32,
            kv_heads: h.kv_heads as u32,
            head_dim: h.head_dim as u32,
            position: h.position as u32,
            scale: (h.head_dim as f64).powf(-0.5) as f32,
            first: h.first as u32,
            splits: self.splits as u32,
            range: self.range() as u32,
            offset: h.offset as u32,
        }
    }

    fn prelude(&self) -> &'static str {
        self.heads.kv.prelude()
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: (self.heads.rows * self.heads.heads * self.splits) as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        let h = &self.heads;
        let (cache, parts) = (h.cache_words(), Self::part_words(h, self.splits));
        vec![(h.offset + h.rows) * h.qkv_row(), cache, cache, parts]
    }

    fn cost(&self) -> Cost {
        let h = &self.heads;
        let q = h.rows * h.heads * h.head_dim;
        let parts = Self::part_words(h, self.splits);
        let seen = h.rows as f64 * (h.position as f64 + (h.rows as f64 + 1.0) / 2.0);
        Cost {
            bytes: (4 * (q + parts) + 2 * h.kv.bytes() * h.positions() * h.cache_row()) as f64,
            ops: 4.0 * seen * (h.heads * h.head_dim) as f64,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (qkv, parts): (&[f32], &mut [f32]) = (b.read(0), b.write(3));
        let h = &self.heads;
        let qkv = &qkv[h.offset * h.qkv_row()..];
        let (k, v) = (h.cache(b.read(1)), h.cache(b.read(2)));
        let d = h.head_dim;
        let words = Self::part_words(h, self.splits);
        for (i, part) in parts[..words].chunks_exact_mut(2 + d).enumerate() {
            let ((row, head), range) = self.place(i);
            let q = &qkv[row * h.qkv_row() + head * d..][..d];
            let kv = head / (h.heads / h.kv_heads) * d;
            let score = |t: usize| {
                let k = &k[t * h.cache_row() + kv..][..d];
                let products = q.iter().zip(k).map(|(&a, &b)| f64::from(a) * f64::from(b));
                products.sum::<f64>() / (d as f64).sqrt()
            };
            let scores: Vec<f64> = range.clone().map(score).collect();
            let top = scores.iter().copied().reduce(f64::max).unwrap_or(0.0);
            let weights: Vec<f64> = scores.iter().map(|s| (s - top).exp()).collect();
            part[0] = top as f32;
            part[1] = weights.iter().sum::<f64>() as f32;
            for j in 0..d {
                let value = |t: usize| f64::from(v[t * h.cache_row() + kv + j]);
                let sum: f64 = weights
                    .iter()
                    .zip(range.clone())
                    .map(|(w, t)| w * value(t))
                    .sum();
                part[2 + j] = sum as f32;
            }
        }
    }

    fn host(&self, b: &mut Bindings<'_>) {
        let (qkv, parts): (&[f32], &mut [f32]) = (b.read(0), b.write(3));
        let (k, v) = (self.heads.cache(b.read(1)), self.heads.cache(b.read(2)));
        let qkv = &qkv[self.heads.offset * self.heads.qkv_row()..];
        let words = Self::part_words(&self.heads, self.splits);
        let parts = parts[..words].chunks_exact_mut(2 + self.heads.head_dim);
        let nanoseconds = self.heads.nanoseconds(self.range());
        crate::ops::cpu::each_worth(parts.enumerate().collect(), nanoseconds, |(i, part)| {
            let (place, range) = self.place(i);
            let (ends, values) = part.split_at_mut(2);
            (ends[0], ends[1]) = self.heads.attend(place, range, [qkv, &k, &v], values);
        });
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        bench::attention_split()
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |(name, heads): (&str, Heads), splits| {
            let cache = (heads.first + heads.positions() + 2) * heads.cache_row();
            let kept = |seed| Data::u32(&heads.kv.encode(&noise(seed, cache, 1.0)));
            let data = vec![
                Data::f32(&noise(
                    51,
                    (heads.offset + heads.rows) * heads.qkv_row(),
                    2.0,
                )),
                kept(52),
                kept(53),
                Data::Out(Self::part_words(&heads, splits)),
            ];
            Case::new(name, Self { heads, splits }, data)
        };
        let shapes = crate::ops::attention::shapes().into_iter();
        let later = Heads {
            offset: 3,
            ..crate::ops::attention::shapes()[2].1
        };
        shapes
            .zip([3, 2, 1, 5, 2, 4, 6, 2, 3, 2, 3, 2])
            .chain([(("behind other rows", later), 2)])
            .map(|(shape, splits)| case(shape, splits))
            .collect()
    }
}

/// The second half: combines the ranges of [`AttentionSplit`].
///
/// Bindings: `parts` [rows, heads, splits, 2 + head_dim] f32; `out` [rows, heads head_dim] f32, behind `heads.offset` rows
/// of others. The first range of every row and head must not be empty.
#[derive(Debug, Clone)]
pub struct AttentionMerge {
    /// Shape of the step.
    pub heads: Heads,
    /// Ranges.
    pub splits: usize,
}

/// Uniform block of [`AttentionMerge`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct AttentionMergeParams {
    groups: u32,
    pairs: u32,
    splits: u32,
    before: u32,
}

impl AttentionMerge {
    /// Values of `out` that belong to rows of others.
    fn before(&self) -> usize {
        self.heads.offset * self.heads.heads * self.heads.head_dim
    }
}

impl Op for AttentionMerge {
    const NAME: &'static str = "attention_merge";
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, attention / "attention_merge")];
    const BINDINGS: &'static [Binding] = &[read("parts", Elem::F32), write("out", Elem::F32)];
    // differences of scores are exact to half a ULP of the larger: 2e-6 at 64, as exp passes on; and few sums
    const AGREE: Agree = Agree::Nmse(1e-11);
    type Params = AttentionMergeParams;

    fn params(&self) -> AttentionMergeParams {
        AttentionMergeParams {
            groups: (self.heads.rows * self.heads.heads) as u32,
            pairs: (self.heads.head_dim / 2) as u32,
            splits: self.splits as u32,
            before: (self.before() / 2) as u32,
        }
    }

    fn grid(&self) -> Grid {
        let pairs = self.heads.rows * self.heads.heads * self.heads.head_dim / 2;
        Grid {
            groups: pairs.div_ceil(64) as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        let h = &self.heads;
        let out = (h.offset + h.rows) * h.heads * h.head_dim;
        vec![AttentionSplit::part_words(h, self.splits), out]
    }

    fn cost(&self) -> Cost {
        let [parts, out] = self.lengths()[..] else {
            unreachable!()
        };
        Cost {
            bytes: 4.0 * (parts + out) as f64,
            ops: 2.0 * parts as f64,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (parts, out): (&[f32], &mut [f32]) = (b.read(0), b.write(1));
        let d = self.heads.head_dim;
        let groups = parts.chunks_exact(self.splits * (2 + d));
        let outs = out[self.before()..].chunks_exact_mut(d);
        for (parts, out) in groups.zip(outs).take(self.heads.rows * self.heads.heads) {
            let known = || parts.chunks_exact(2 + d).filter(|part| part[1] > 0.0);
            let top = known()
                .map(|part| part[0])
                .fold(f32::NEG_INFINITY, f32::max);
            let weight = |part: &[f32]| (f64::from(part[0]) - f64::from(top)).exp();
            let total: f64 = known().map(|part| weight(part) * f64::from(part[1])).sum();
            for (j, out) in out.iter_mut().enumerate() {
                let sum: f64 = known()
                    .map(|part| weight(part) * f64::from(part[2 + j]))
                    .sum();
                *out = (sum / total) as f32;
            }
        }
    }

    fn host(&self, b: &mut Bindings<'_>) {
        let (parts, out): (&[f32], &mut [f32]) = (b.read(0), b.write(1));
        let d = self.heads.head_dim;
        let groups = parts.chunks_exact(self.splits * (2 + d));
        let outs = out[self.before()..].chunks_exact_mut(d);
        for (parts, out) in groups.zip(outs).take(self.heads.rows * self.heads.heads) {
            let known = || parts.chunks_exact(2 + d).filter(|part| part[1] > 0.0);
            let top = known().fold(f32::NEG_INFINITY, |top, part| top.max(part[0]));
            out.fill(0.0);
            let mut total = 0.0;
            for part in known() {
                let weight = (part[0] - top).exp();
                total += weight * part[1];
                for (out, value) in out.iter_mut().zip(&part[2..]) {
                    *out += weight * value;
                }
            }
            for out in out {
                *out /= total;
            }
        }
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        bench::attention_merge()
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |name: &str, (heads, head_dim, splits), spread| {
            let heads = Heads {
                rows: 2,
                heads,
                kv_heads: heads,
                head_dim,
                position: 1000,
                kv: Kv::F32,
                first: 0,
                offset: 0,
            };
            let words = AttentionSplit::part_words(&heads, splits);
            let mut parts = noise(55, words, 3.0);
            for (i, part) in parts.chunks_exact_mut(2 + head_dim).enumerate() {
                part[0] *= spread;
                part[1] = 1.0 + part[1].abs();
                if i % splits > 0 && i % 3 == 2 {
                    part.fill(0.0); // a range that was not reached
                }
            }
            let data = vec![Data::f32(&parts), Data::Out(2 * heads.heads * head_dim)];
            Case::new(name, Self { heads, splits }, data)
        };
        let mut behind = case("behind other rows", (3, 16, 4), 1.0);
        behind.op.heads.offset = 5;
        behind.data[1] = Data::f32(&noise(60, behind.op.lengths()[1], 1.0));
        vec![
            behind,
            case("several ranges", (3, 64, 8), 1.0),
            case("one range", (2, 10, 1), 1.0),
            case("far apart", (4, 128, 5), 20.0),
            case("all negative or not reached", (1, 2, 7), -9.0),
        ]
    }
}
