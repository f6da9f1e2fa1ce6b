//! Codes chosen column by column, so that later columns make up for the errors of earlier ones.

use super::BLOCK;
use super::search::Stages;
use crate::codebook;
use crate::ops::quantize::WeightShard;
use crate::ops::*;

mod cases;

/// Error feedback over one block of complex columns, from its last one to its first.
///
/// With the Hessian `H = L L^T` (L lower) the error E = R - Rq of a row costs `|E L|^2`. Columns are quantized from the
/// last to the first. When a pair of real columns c has its turn, all errors behind it are known, and they contribute
/// `sum_(i > c) E_i L_ic` to `(E L)_c`. The sum of stages is chosen that brings `E_c L_cc + sum_(i > c) E_i L_ic`
/// nearest to zero, over both real rows, U, W and all stages at once. (This is GPTQ without an inverse of H.)
///
/// The least cost among all `16^T` sums is found by trying the `4^T` sums of U: with (u, w) the sums, t the target and D = L_cc L_cc^T,
/// `(t - v) D (t - v)^T` over both rows is, up to its trace, `(1 - |k|^2) |e_u|^2 + |w_0 + k e_u - w|^2` where e_u = u_0 - u and
/// `k = (D_11 - D_22 + 2 i D_12) / tr D`: the best w for a u is the one nearest to a shifted target.
///
/// Bindings: `weight` [rows, 2, columns] f32, R with columns in the order of the factor; `factor` [columns, columns] f32, L;
/// `pending` [rows, 2, [`BLOCK`]] f32, `sum E_i L_ic` over the columns i behind the block; `scales` [scale blocks, groups, 2, stages,
/// 2] f32; `order` [columns / 2] u32, the complex column of the weight that each pair of columns is; `codes` [rows, 2,
/// stages, words] packed symbols, changed at the block's columns; `errors` [rows, 2, columns] f32, E, written there.
#[derive(Debug, Clone)]
pub struct PhaseFeedback {
    /// The weight with all its rows; both sizes are even.
    pub shard: WeightShard,
    /// First pair of the block.
    pub first: usize,
    /// Its pairs, at most `BLOCK / 2`.
    pub count: usize,
}

params! {
    /// Uniform block of [`PhaseFeedback`].
    pub struct PhaseFeedbackParams {
        rows: u32,
        pairs: u32,
        group: u32,
        groups: u32,
        block_rows: u32,
        first: u32,
        count: u32,
    }
}

/// One pair of columns: its target (upper row, then lower row) and its block of the factor's diagonal.
#[derive(Debug, Clone, Copy)]
struct Pair {
    target: [f32; 4],
    factor: [f32; 3],
}

impl Pair {
    /// `L_cc = [[a, 0], [b, d]]`, the target shifted by what is pending.
    fn new(target: [f32; 4], pending: [f32; 4], [a, b, d]: [f32; 3]) -> Self {
        let mut t = target;
        for row in 0..2 {
            let y = pending[2 * row + 1] / d;
            let x = (pending[2 * row] - y * b) / a;
            t[2 * row] += x;
            t[2 * row + 1] += y;
        }
        Self {
            target: t,
            factor: [a, b, d],
        }
    }

    /// The best codes of U and W.
    fn choose(&self, [u, w]: &[Stages; 2]) -> [u32; 2] {
        let [t11, t12, t21, t22] = self.target;
        let [a, b, d] = self.factor;
        let (d11, d12, d22) = (a * a, a * b, b * b + d * d);
        let trace = d11 + d22;
        let k = [(d11 - d22) / trace, 2.0 * d12 / trace];
        let slack = 1.0 - k[0] * k[0] - k[1] * k[1];
        let u0 = [0.5 * (t11 + t22), 0.5 * (t21 - t12)];
        let w0 = [0.5 * (t11 - t22), 0.5 * (t21 + t12)];
        let (mut best, mut codes) = (f32::INFINITY, [0; 2]);
        for (code, sum) in u.sums() {
            let e = [u0[0] - sum[0], u0[1] - sum[1]];
            let own = slack * (e[0] * e[0] + e[1] * e[1]);
            if own >= best {
                continue;
            }
            let z = [
                w0[0] + k[0] * e[0] - k[1] * e[1],
                w0[1] + k[0] * e[1] + k[1] * e[0],
            ];
            let found = w.nearest(z);
            if own + found.distance < best {
                best = own + found.distance;
                codes = [code, found.code];
            }
        }
        codes
    }
}

/// (U, W) sums merged: v11, v12, v21, v22.
fn merged(u: [f32; 2], w: [f32; 2]) -> [f32; 4] {
    [u[0] + w[0], w[1] - u[1], w[1] + u[1], u[0] - w[0]]
}

/// One complex row of the weight.
struct Row<'a> {
    op: &'a PhaseFeedback,
    target: &'a [f32],
    factor: &'a [f32],
    pending: &'a [f32],
    order: &'a [u32],
    codes: &'a mut [u32],
    errors: &'a mut [f32],
}

impl Row<'_> {
    /// Both real columns of a pair in both real rows.
    fn four(values: &[f32], width: usize, pair: usize) -> [f32; 4] {
        let index = |row: usize| row * width + 2 * pair;
        [index(0), index(0) + 1, index(1), index(1) + 1].map(|i| values[i])
    }

    /// The pair of columns as it has its turn.
    fn pair(&self, c: usize) -> Pair {
        let columns = 2 * self.op.shard.complex_columns();
        let pair = self.op.first + c;
        let l = |i: usize, j: usize| self.factor[i * columns + j];
        let mut pending = Self::four(self.pending, BLOCK, c);
        for later in pair + 1..self.op.first + self.op.count {
            let e = Self::four(self.errors, columns, later);
            for (i, sum) in pending.iter_mut().enumerate() {
                let (row, column) = (i / 2, 2 * pair + i % 2);
                *sum +=
                    e[2 * row] * l(2 * later, column) + e[2 * row + 1] * l(2 * later + 1, column);
            }
        }
        let i = 2 * pair;
        let factor = [l(i, i), l(i + 1, i), l(i + 1, i + 1)];
        Pair::new(Self::four(self.target, columns, pair), pending, factor)
    }

    /// Stores the codes of a pair and the errors they leave.
    fn put(&mut self, c: usize, found: [u32; 2], sums: [[f32; 2]; 2]) {
        let (p, pair) = (&self.op.shard, self.op.first + c);
        let (columns, words) = (
            2 * p.complex_columns(),
            codebook::words_for(p.complex_columns()),
        );
        let target = Self::four(self.target, columns, pair);
        let v = merged(sums[0], sums[1]);
        for i in 0..4 {
            self.errors[i / 2 * columns + 2 * pair + i % 2] = target[i] - v[i];
        }
        let column = self.order[pair] as usize;
        let shift = codebook::shift_of(column % codebook::COLUMNS_PER_WORD);
        for (u_or_w, code) in found.into_iter().enumerate() {
            for t in 0..p.stages {
                let word = (u_or_w * p.stages + t) * words + column / codebook::COLUMNS_PER_WORD;
                let symbol = codebook::symbol((code >> (2 * t) & 3) as u8);
                self.codes[word] = self.codes[word] & !(3 << shift) | symbol << shift;
            }
        }
    }

    /// The whole block.
    fn run(&mut self, scales: &[f32], row: usize, choose: Choose) {
        let p = self.op.shard;
        for c in (0..self.op.count).rev() {
            let first = p.scale_index(row, self.order[self.op.first + c] as usize);
            let of = |u_or_w: usize| {
                Stages::new(&scales[first + u_or_w * 2 * p.stages..][..2 * p.stages])
            };
            let stages = [of(0), of(1)];
            let found = choose(&self.pair(c), &stages);
            let sum = |u_or_w: usize| stages[u_or_w].sum(found[u_or_w], p.stages);
            let sums = [sum(0), sum(1)];
            self.put(c, found, sums);
        }
    }
}

/// How the codes of a pair are found.
type Choose = fn(&Pair, &[Stages; 2]) -> [u32; 2];

/// Costs of all sums of U and W, in f64 and in their order.
fn costs<'a>(
    pair: &'a Pair,
    [u, w]: &'a [Stages; 2],
) -> impl Iterator<Item = ([u32; 2], f64)> + 'a {
    let [a, b, d] = pair.factor.map(f64::from);
    let (d11, d12, d22) = (a * a, a * b, b * b + d * d);
    u.sums().flat_map(move |(u_code, u)| {
        w.sums().map(move |(w_code, w)| {
            let v = merged(u, w);
            let e = |i: usize| f64::from(pair.target[i]) - f64::from(v[i]);
            let of_row = |i: usize| {
                d11 * e(i) * e(i) + 2.0 * d12 * e(i) * e(i + 1) + d22 * e(i + 1) * e(i + 1)
            };
            ([u_code, w_code], of_row(0) + of_row(2))
        })
    })
}

/// The best codes, found by trying all.
fn plainly(pair: &Pair, stages: &[Stages; 2]) -> [u32; 2] {
    let mut best = ([0; 2], f64::INFINITY);
    for (codes, cost) in costs(pair, stages) {
        if cost < best.1 {
            best = (codes, cost);
        }
    }
    best.0
}

impl PhaseFeedback {
    fn rows(&self, b: &mut Bindings<'_>, choose: Choose) {
        let p = self.shard;
        let columns = 2 * p.complex_columns();
        let (target, factor, pending): (&[f32], &[f32], &[f32]) = (b.read(0), b.read(1), b.read(2));
        let (scales, order): (&[f32], &[u32]) = (b.read(3), b.read(4));
        let (codes, errors): (&mut [u32], &mut [f32]) = (b.write(5), b.write(6));
        let row_codes = p.codes() / p.rows;
        let codes = (&mut codes[..p.codes()], row_codes);
        let errors = (&mut errors[..2 * p.rows * columns], 2 * columns);
        cpu::each_pair(codes, errors, |row, codes, errors| {
            let mut state = Row {
                op: self,
                target: &target[row * 2 * columns..][..2 * columns],
                factor,
                pending: &pending[row * 2 * BLOCK..][..2 * BLOCK],
                order,
                codes,
                errors,
            };
            state.run(scales, row, choose);
        });
    }
}

impl Op for PhaseFeedback {
    const NAME: &'static str = "phase_feedback";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        calibrate / "phase_feedback",
        "phase",
        "phase_search"
    )];
    const BINDINGS: &'static [Binding] = &[
        read("weight", Elem::F32),
        read("factor", Elem::F32),
        read("pending", Elem::F32),
        read("scales", Elem::F32),
        read("order", Elem::U32),
        write("codes", Elem::U32),
        write("errors", Elem::F32),
    ];
    // codes are the same, since no choice of the cases is close (`no_choice_is_close`); errors are one subtraction of sums
    const AGREE: Agree = Agree::Nmse(1e-12);
    type Params = PhaseFeedbackParams;

    fn shape(&self) -> String {
        format!(
            "{},first={},count={}",
            self.shard.shape(),
            self.first,
            self.count
        )
    }

    fn params(&self) -> PhaseFeedbackParams {
        let p = &self.shard;
        debug_assert!(self.count <= BLOCK / 2, "more pairs than a block has");
        debug_assert!(self.first + self.count <= p.complex_columns());
        debug_assert!(p.rows == p.lower_rows && p.columns.is_multiple_of(2));
        PhaseFeedbackParams {
            rows: p.rows as u32,
            pairs: p.complex_columns() as u32,
            group: p.group() as u32,
            groups: p.groups() as u32,
            block_rows: p.block_rows() as u32,
            first: self.first as u32,
            count: self.count as u32,
        }
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        vec![("STAGES", self.shard.stages as f64)]
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: self.shard.rows.div_ceil(32) as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        let p = &self.shard;
        let (rows, columns) = (2 * p.rows, 2 * p.complex_columns());
        vec![
            rows * columns,
            columns * columns,
            rows * BLOCK,
            p.scales(),
            p.complex_columns(),
            p.codes(),
            rows * columns,
        ]
    }

    fn cost(&self) -> Cost {
        let p = &self.shard;
        let pairs = (p.rows * self.count) as f64;
        let searches = 4f64.powi(2 * p.stages as i32 - 1);
        Cost {
            bytes: 4.0 * pairs * (12.0 + p.stages as f64),
            ops: pairs * (searches * (12.0 + 3.0 * p.stages as f64) + 8.0 * self.count as f64),
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        self.rows(b, plainly);
    }

    fn host(&self, b: &mut Bindings<'_>) {
        self.rows(b, Pair::choose);
    }

    fn cases() -> Vec<Case<Self>> {
        let shapes = cases::shapes().into_iter();
        shapes
            .map(|op| Case::new("", op.clone(), cases::data(&op)))
            .collect()
    }
}
