//! Products that round their token themselves: the decoding path, one dispatch where there were three.

use super::integer::{on_host, reference as integer_reference};
use super::*;
use crate::ops::activation::ActRound;
use crate::ops::norm_round::{MOST_HELD, round_token, roundable};

/// Invocations of a workgroup, where the device allows.
const WIDTH: usize = 512;
/// Invocations that share a row, where subgroups allow.
const TEAM: usize = 32;
/// Workgroups at most: each rounds the token for itself, so no more than keep a large GPU busy (one for each of
/// the 132 processors of an H200); rows are dealt out among them.
const MOST_GROUPS: usize = 132;

/// A phase product whose input is f32.
#[derive(Debug, Clone, PartialEq)]
pub struct RoundGemv {
    /// The stack.
    pub shape: PhaseShape,
    /// [`Activations::Int16`] or [`Activations::Int8`].
    pub mode: Activations,
    /// Normalize first (RMS norm with this eps, weights in the `weight` binding).
    pub norm: Option<f32>,
}

impl RoundGemv {
    /// Words of a byte plane in workgroup memory (16 bytes each), padded to whole steps of a team.
    fn padded(&self) -> usize {
        self.shape.words().next_multiple_of(2 * TEAM)
    }

    /// Whether the kernels take it: token sizes, no groups of scales, memory of a workgroup in bytes.
    pub fn fits(&self, workgroup_bytes: usize) -> bool {
        let held = (4 * self.padded()).div_ceil(256);
        roundable(self.shape.in_features)
            && self.shape.groups() == 1
            && held <= MOST_HELD
            && self.workgroup_bytes() <= workgroup_bytes
    }

    fn workgroup_bytes(&self) -> usize {
        // tokens, results of rows, slots of the reduction
        16 * (2 * self.mode.planes() * self.padded() + 2 * self.turns() * WIDTH / 4 + 256)
    }

    fn groups(&self, rows: usize) -> usize {
        rows.div_ceil(WIDTH / TEAM).min(MOST_GROUPS)
    }

    fn turns(&self) -> usize {
        let rows = self.shape.piece_rows;
        rows.div_ceil(self.groups(rows) * WIDTH / TEAM)
    }

    fn params(&self) -> PhaseParams {
        let (eps_n, root_n) =
            fixed::norm_constants(self.shape.in_features, self.norm.unwrap_or(0.0));
        PhaseParams {
            plane_words: 4 * self.padded() as u32,
            eps_n,
            root_n,
            ..self.shape.params()
        }
    }

    fn overrides(&self, rows: usize) -> Vec<(&'static str, f64)> {
        vec![
            ("TERMS", self.shape.terms() as f64),
            ("PLANES", self.mode.planes() as f64),
            ("WORDS", self.shape.words() as f64),
            ("PADDED", self.padded() as f64),
            ("NORMED", f64::from(u8::from(self.norm.is_some()))),
            ("TEAM", TEAM as f64),
            ("WIDTH", WIDTH as f64),
            ("ROWS", rows as f64),
            ("GROUPS", self.groups(rows) as f64),
        ]
    }

    fn prelude(&self) -> &'static str {
        codes_prelude(self.shape.stages)
    }

    fn grid(&self, rows: usize) -> Grid {
        Grid {
            groups: self.groups(rows) as u32,
            batch: self.shape.rows as u32,
        }
    }

    fn lengths(&self, outputs: usize) -> Vec<usize> {
        let shape = &self.shape;
        vec![
            shape.piece_rows * shape.terms() * shape.words(),
            shape.rows * shape.in_features,
            shape.in_features,
            shape.cells() * shape.cell_words(),
            shape.rows * outputs,
        ]
    }

    /// Integers and factors of all tokens, as [`crate::ops::norm_round::NormRound`] makes them.
    fn round(&self, x: &[f32], weight: &[f32]) -> (Vec<u32>, Vec<f32>) {
        let (rows, columns) = (self.shape.rows, self.shape.in_features);
        let row_words = ActRound::row_words(columns, self.mode);
        let mut q = vec![0u32; rows * row_words];
        let norm = self.norm.map(|eps| (&weight[..columns], eps));
        let tokens = x.chunks_exact(columns).zip(q.chunks_exact_mut(row_words));
        let factors = tokens
            .take(rows)
            .map(|(x, q)| round_token(x, norm, self.mode, bytemuck::cast_slice_mut(q)))
            .collect();
        (q, factors)
    }

    /// Runs `product` on the rounded tokens; the bindings of this op, but `y`.
    fn product(
        &self,
        b: &Bindings<'_>,
        y: &mut [f32],
        product: impl Fn(&PhaseShape, Activations, &mut Bindings<'_>),
    ) {
        let (q, factors) = self.round(b.read(1), b.read(2));
        let mut inner = Bindings::new();
        inner.push_read(b.read(0));
        inner.push_read(&q);
        inner.push_read(bytemuck::cast_slice(&factors));
        inner.push_read(b.read(3));
        inner.push_write(bytemuck::cast_slice_mut(y));
        product(&self.shape, self.mode, &mut inner);
    }
}

const BINDINGS: &[Binding] = &[
    read("codes", Elem::U32),
    read("x", Elem::F32),
    read("weight", Elem::F32),
    read("cells", Elem::U32),
    write("y", Elem::F32),
];

/// The same libraries, by way of subgroups and 64-bit integers or without.
macro_rules! kernels {
    ($stem:literal, $subgroup:literal) => {
        &[
            shader!(unchecked Needs::SUBGROUP_INT64,
                $stem as $subgroup,
                "wide64",
                "bits64",
                "accumulate",
                "round",
                "round_vector",
                "stack",
                "planes",
                "terms",
                "gemv_rows",
                "team_subgroup"
            ),
            shader!(
                Needs::NONE,
                $stem,
                "wide",
                "bits",
                "accumulate",
                "round",
                "round_vector",
                "stack",
                "planes",
                "terms",
                "gemv_rows",
                "team_shared"
            ),
        ]
    };
}

/// `y = U x + W conj(x)` for few tokens in f32, normalized if asked for and rounded to integers on the way.
///
/// Bindings: `codes` [piece_rows, words, 2 T] u32 ([`interleaved`]); `x` [rows, in_features] f32; `weight`
/// `[in_features]` f32 (any buffer of that length without a norm); `cells` [cells, 1 + 2 * 2 T] u32
/// ([`integer_cells`]); `y` [rows, outputs] f32.
#[derive(Debug, Clone)]
pub struct PhaseGemvRound(pub RoundGemv);

impl Op for PhaseGemvRound {
    const NAME: &'static str = "phase_gemv_round";
    const SHADERS: &'static [Shader] = kernels!("phase_gemv_round", "phase_gemv_round_subgroup");
    const BINDINGS: &'static [Binding] = BINDINGS;
    const AGREE: Agree = Agree::Bits;
    type Params = PhaseParams;

    fn params(&self) -> PhaseParams {
        self.0.params()
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        self.0.overrides(self.0.shape.piece_rows)
    }

    fn prelude(&self) -> &'static str {
        self.0.prelude()
    }

    fn grid(&self) -> Grid {
        self.0.grid(self.0.shape.piece_rows)
    }

    fn lengths(&self) -> Vec<usize> {
        self.0.lengths(self.0.shape.outputs())
    }

    fn cost(&self) -> Cost {
        let shape = &self.0.shape;
        shape.cost(4.0 * (shape.rows * shape.in_features) as f64)
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let y = b.write(4);
        self.0.product(b, y, integer_reference);
    }

    fn host(&self, b: &mut Bindings<'_>) {
        let y = b.write(4);
        self.0.product(b, y, on_host);
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        large::phase_gemv_round()
    }

    fn cases() -> Vec<Case<Self>> {
        cases(|g| g.shape.groups() == 1, Self)
    }
}

/// `y = silu(gate) * up` of two stacked layers, each as in [`PhaseGemvRound`] and bound the same way, but
/// `y` [rows, n] f32 for two segments of n outputs; the codes are not split.
#[derive(Debug, Clone)]
pub struct PhaseGemvSwiglu(pub RoundGemv);

impl PhaseGemvSwiglu {
    fn run(
        &self,
        b: &mut Bindings<'_>,
        product: impl Fn(&PhaseShape, Activations, &mut Bindings<'_>),
    ) {
        let y: &mut [f32] = b.write(4);
        let n = self.0.shape.segments[0];
        let mut both = vec![0.0; self.0.shape.rows * 2 * n];
        self.0.product(b, &mut both, product);
        for (y, both) in y.chunks_exact_mut(n).zip(both.chunks_exact(2 * n)) {
            let (gate, up) = both.split_at(n);
            for ((y, &g), &u) in y.iter_mut().zip(gate).zip(up) {
                let (g, u) = (f64::from(g), f64::from(u));
                *y = (g / (1.0 + (-g).exp()) * u) as f32;
            }
        }
    }

    fn rows(&self) -> usize {
        self.0.shape.piece_rows / 2
    }
}

impl Op for PhaseGemvSwiglu {
    const NAME: &'static str = "phase_gemv_swiglu";
    const SHADERS: &'static [Shader] = kernels!("phase_gemv_swiglu", "phase_gemv_swiglu_subgroup");
    const BINDINGS: &'static [Binding] = BINDINGS;
    // the products are exact; the gate is that of `swiglu`
    const AGREE: Agree = Agree::Nmse(1e-13);
    type Params = PhaseParams;

    fn params(&self) -> PhaseParams {
        self.0.params()
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        self.0.overrides(self.rows())
    }

    fn prelude(&self) -> &'static str {
        self.0.prelude()
    }

    fn grid(&self) -> Grid {
        self.0.grid(self.rows())
    }

    fn lengths(&self) -> Vec<usize> {
        self.0.lengths(self.0.shape.segments[0])
    }

    fn cost(&self) -> Cost {
        let shape = &self.0.shape;
        shape.cost(4.0 * (shape.rows * shape.in_features) as f64)
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        self.run(b, integer_reference);
    }

    fn host(&self, b: &mut Bindings<'_>) {
        self.run(b, on_host);
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        large::phase_gemv_swiglu()
    }

    fn cases() -> Vec<Case<Self>> {
        let pairs = |g: &RoundGemv| {
            let s = &g.shape;
            s.groups() == 1
                && s.segments.len() == 2
                && s.segments[0] == s.segments[1]
                && !s.accumulate
        };
        cases(pairs, Self)
    }
}

fn cases<O: Op>(
    wanted: impl Fn(&RoundGemv) -> bool,
    make: impl Fn(RoundGemv) -> O,
) -> Vec<Case<O>> {
    let mut shapes = case_shapes();
    for (_, shape) in &mut shapes {
        shape.in_features = shape.in_features.next_multiple_of(8);
    }
    let pair = |n: usize, in_features, stages, rows| PhaseShape {
        segments: vec![n; 2],
        in_features,
        stages,
        rows,
        piece_rows: 2 * n.div_ceil(2),
        ..shapes[0].1.clone()
    };
    let more = [
        ("gate and up", pair(64, 128, 2, 1)),
        ("odd gate, three stages", pair(33, 72, 3, 2)),
        ("one stage pair", pair(96, 384, 1, 1)),
        ("rows in turns", pair(4400, 16, 2, 1)),
    ];
    shapes.extend(more);
    let mut cases = Vec::new();
    for mode in [Activations::Int16, Activations::Int8] {
        for norm in [None, Some(1e-5)] {
            for (name, shape) in &shapes {
                let (rows, columns) = (shape.rows, shape.in_features);
                let gemv = RoundGemv {
                    shape: shape.clone(),
                    mode,
                    norm,
                };
                if !wanted(&gemv) || !gemv.fits(16384) {
                    continue;
                }
                let weight: Vec<f32> = noise(13, columns, 0.5).iter().map(|w| w + 1.0).collect();
                let activations = [
                    Data::f32(&noise(12, rows * columns, 3.0)),
                    Data::f32(&weight),
                ];
                let mut data = case_data(shape, activations, |s, c| integer_cells(s, c, mode));
                let op = make(gemv);
                if let (Data::Out(y), Some(words)) = (&mut data[4], op.lengths().last()) {
                    *y = *words;
                }
                let normed = if norm.is_some() { ", normed" } else { "" };
                cases.push(Case::new(format!("{name}, {mode:?}{normed}"), op, data));
            }
        }
    }
    cases
}
