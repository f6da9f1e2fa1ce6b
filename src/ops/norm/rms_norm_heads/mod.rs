//! Root-mean-square norms of queries and keys.

use super::Rms;
use crate::ops::*;

mod cases;
pub(in crate::ops) use cases::shapes as norm_heads_shapes;

/// Root-mean-square norms of the queries and keys of every token, in place, before they are rotated. In Qwen3 and Gemma 3 every
/// head is a vector by itself; in OLMo 2 all queries of a token are one vector, and all its keys are another.
///
/// Bindings: `qkv` [offset + tokens, row] f32, whose rows begin with `groups[0]` vectors of `widths[0]` values (queries),
/// then `groups[1]` vectors of `widths[1]` values (keys); `q_weight` `[widths[0]]` and `k_weight` `[widths[1]]` f32, each
/// shared by the vectors of its kind.
#[derive(Debug, Clone, Copy)]
pub struct RmsNormHeads {
    /// Tokens.
    pub tokens: usize,
    /// Row of `qkv` that holds token 0.
    pub offset: usize,
    /// Values of a row of `qkv`.
    pub row: usize,
    /// Vectors of queries and of keys in a row.
    pub groups: [usize; 2],
    /// Values of a vector of queries and of one of keys.
    pub widths: [usize; 2],
    /// What they are divided by.
    pub rms: Rms,
}

params! {
    /// Uniform block of [`RmsNormHeads`] and of its gradient.
    pub struct RmsNormHeadsParams {
        tokens: u32,
        offset: u32,
        row: u32,
        q_groups: u32,
        k_groups: u32,
        q_width: u32,
        k_width: u32,
        q_count: u32,
        k_count: u32,
        eps: f32,
    }
}

/// Invocations of a workgroup.
const WIDTH: usize = 256;

impl RmsNormHeads {
    /// Invocations that own a vector: enough that each has four values, if there are so many.
    fn team(&self) -> usize {
        let widest = self.widths[0].max(self.widths[1]);
        (widest / 4).next_power_of_two().clamp(8, WIDTH)
    }

    /// The vectors of queries, and those of keys, of a row; each with the index of its kind.
    pub(in crate::ops) fn vectors<'a>(
        &self,
        row: &'a mut [f32],
    ) -> impl Iterator<Item = (usize, &'a mut [f32])> {
        let [q, k] = self.widths;
        let (queries, rest) = row.split_at_mut(self.groups[0] * q);
        let (keys, _) = rest.split_at_mut(self.groups[1] * k);
        let queries = queries.chunks_exact_mut(q.max(1)).map(|vector| (0, vector));
        queries.chain(keys.chunks_exact_mut(k.max(1)).map(|vector| (1, vector)))
    }

    /// Words that a buffer of rows must at least have.
    pub(in crate::ops) fn words(&self) -> usize {
        (self.offset + self.tokens) * self.row
    }

    /// Values that are normalized.
    pub(in crate::ops) fn values(&self) -> usize {
        self.tokens * (self.groups[0] * self.widths[0] + self.groups[1] * self.widths[1])
    }

    /// What kernels of teams are specialized by.
    pub(in crate::ops) fn team_overrides(&self) -> Vec<(&'static str, f64)> {
        vec![("TEAM", self.team() as f64)]
    }

    /// Workgroups of kernels of teams.
    pub(in crate::ops) fn team_grid(&self) -> Grid {
        let vectors = self.tokens * (self.groups[0] + self.groups[1]);
        Grid {
            groups: vectors.div_ceil(WIDTH / self.team()) as u32,
            batch: 1,
        }
    }
}

impl Op for RmsNormHeads {
    const NAME: &'static str = "rms_norm_heads";
    const SHADERS: &'static [Shader] =
        &[shader!(Features::NONE, norm / "rms_norm_heads", "vectors")];
    const BINDINGS: &'static [Binding] = &[
        write("qkv", Elem::F32),
        read("q_weight", Elem::F32),
        read("k_weight", Elem::F32),
    ];
    // 8192 values: the square, 32 sums of an invocation, 8 over the team are some 41 roundings of the sum, half of that after
    // the root; division 2.5 / 2, root 2, two products 2: even all one way below 26
    const AGREE: Agree = Agree::Ulp(26);
    type Params = RmsNormHeadsParams;

    fn shape(&self) -> String {
        let ([q, k], [q_width, k_width]) = (self.groups, self.widths);
        format!(
            "tokens={},offset={},row={},q={q},k={k},q_width={q_width},k_width={k_width},{}",
            self.tokens, self.offset, self.row, self.rms
        )
    }

    fn params(&self) -> RmsNormHeadsParams {
        let [q_groups, k_groups] = self.groups.map(|groups| groups as u32);
        let [q_width, k_width] = self.widths.map(|width| width as u32);
        let [q_count, k_count] = self.widths.map(|width| self.rms.count(width) as u32);
        RmsNormHeadsParams {
            tokens: self.tokens as u32,
            offset: self.offset as u32,
            row: self.row as u32,
            q_groups,
            k_groups,
            q_width,
            k_width,
            q_count,
            k_count,
            eps: self.rms.eps,
        }
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        self.team_overrides()
    }

    fn grid(&self) -> Grid {
        self.team_grid()
    }

    fn lengths(&self) -> Vec<usize> {
        vec![self.words(), self.widths[0], self.widths[1]]
    }

    fn cost(&self) -> Cost {
        let n = self.values() as f64;
        Cost {
            bytes: 8.0 * n,
            ops: 4.0 * n,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (qkv, weights): (&mut [f32], [&[f32]; 2]) = (b.write(0), [b.read(1), b.read(2)]);
        let rows = qkv.chunks_exact_mut(self.row);
        for row in rows.skip(self.offset).take(self.tokens) {
            for (kind, vector) in self.vectors(row) {
                let squares: f64 = vector.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
                let mean = squares / self.rms.count(vector.len()) as f64;
                let root = (mean + f64::from(self.rms.eps)).sqrt();
                for (v, &w) in vector.iter_mut().zip(weights[kind]) {
                    *v = (f64::from(*v) / root * f64::from(w)) as f32;
                }
            }
        }
    }

    fn host(&self, b: &mut Bindings<'_>) {
        let (qkv, weights): (&mut [f32], [&[f32]; 2]) = (b.write(0), [b.read(1), b.read(2)]);
        let rows = qkv.chunks_exact_mut(self.row);
        let rows = rows.skip(self.offset).take(self.tokens).collect();
        cpu::each_worth(rows, self.row / 2, |row| {
            for (kind, vector) in self.vectors(row) {
                let (count, before) = (self.rms.count(vector.len()), vector.to_vec());
                cpu::normed(&before, weights[kind], count, self.rms.eps, vector);
            }
        });
    }

    fn cases() -> Vec<Case<Self>> {
        cases::cases()
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        cases::bench_cases()
    }
}
