//! The product that rounds its token itself: the decoding path, one dispatch where there were three.

mod cases;

use super::integer::{on_host, reference as integer_reference};
use super::*;
use crate::ops::activation::gated_rows;
use crate::ops::norm::{round_token, roundable};
use crate::ops::quantize::QuantizeAct;

/// Invocations that share a row, where subgroups allow.
const TEAM: usize = 32;
/// Invocations of a workgroup at most.
const MOST_WIDTH: usize = 512 + TEAM;
/// Invocations of a workgroup on every device.
const LEAST_WIDTH: usize = 256;
/// Rows of a workgroup at least, where there are few.
const LEAST_ROWS: usize = 16;

/// Rows of a workgroup times terms: with a token of 16 bits and 6144 values, they fit 32 KiB.
const TERM_SLOTS: usize = 712;

/// What becomes of the products.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// They are the result.
    Plain,
    /// Two stacked layers of equal size, gate and up: the result is `silu(gate) * up`.
    Gated,
}

/// `y = U x + W conj(x)` for few tokens in f32, normalized if asked for and rounded to integers on the way; or
/// `silu(gate) * up` of two stacked layers.
///
/// Bindings: `codes` [piece_rows, words, 2 T] u32 ([`interleaved`]); `x` [rows, in_features] f32; `weight`
/// `[in_features]` f32 (any buffer of that length without a norm); `cells` [cells, 1 + 2 * 2 T] u32
/// ([`integer_cells`]); `y` [rows, outputs] f32, half of that if gated; `tops` [rows, parts] f32: largest magnitudes,
/// written if gated (of what each of [`Self::parts`] workgroups made of a token), read if known.
#[derive(Debug, Clone, PartialEq)]
pub struct PhaseGemvFused {
    /// The stack; not split if gated.
    pub shape: PhaseShape,
    /// [`Activations::Int16`] or [`Activations::Int8`].
    pub mode: Activations,
    /// Normalize first (RMS norm with this eps, weights in the `weight` binding).
    pub norm: Option<f32>,
    /// What to make of the products.
    pub outcome: Outcome,
    /// How many magnitudes `tops` has of each token, of which the largest is that of the whole token; 0: it is not known,
    /// every workgroup looks for it.
    pub known: usize,
    /// Workgroups that keep the device busy: no more are made, as each rounds the token for itself.
    pub processors: usize,
}

impl PhaseGemvFused {
    /// Invocations of a workgroup, where the device allows: few enough to keep the token and the next codes in
    /// registers. With one plane the last team takes no rows.
    fn width(&self) -> usize {
        if self.mode.planes() == 1 {
            MOST_WIDTH
        } else {
            MOST_WIDTH - TEAM
        }
    }

    /// Words of a token that one invocation keeps: a whole row for a team if it can, else what costs least.
    fn held(&self) -> usize {
        let words = self.shape.words();
        let whole = words.div_ceil(TEAM);
        if whole <= 4 {
            return whole;
        }
        // gathering the sums of a chunk costs a team about as much as twelve words
        let cost = |held: &usize| words.div_ceil(held * TEAM) * (held * TEAM + 12);
        (1..=3).rev().min_by_key(cost).unwrap_or(1)
    }

    /// Words of a byte plane in workgroup memory (16 bytes each): whole shares of a team.
    fn padded(&self) -> usize {
        self.shape.words().next_multiple_of(self.held() * TEAM)
    }

    /// Room for a token in workgroup memory, in units of 16 bytes.
    fn token_words(&self) -> usize {
        2 * self.mode.planes() * self.padded()
    }

    /// Whether the kernels take it: token sizes, no groups of scales, memory of a workgroup in bytes.
    pub fn fits(&self, workgroup_bytes: usize) -> bool {
        let chunks = self.padded() / (self.held() * TEAM);
        roundable(self.shape.in_features)
            && self.shape.groups() == 1
            && self.sensible()
            && chunks < LEAST_WIDTH / TEAM
            && self.workgroup_bytes() <= workgroup_bytes
    }

    fn workgroup_bytes(&self) -> usize {
        let terms = self.shape.terms();
        // the token; sums, scales and values of rows; slots of the reductions, at worst for teams of 8
        16 * self.token_words()
            + 4 * self.most_slots() * (4 * terms + 1 + 2 * terms + 2)
            + 24 * MOST_WIDTH / 8
            + 16
    }

    fn most_slots(&self) -> usize {
        TERM_SLOTS / self.shape.terms()
    }

    fn paired(&self) -> bool {
        self.outcome == Outcome::Gated
    }

    /// Rows to deal out: of one of the layers if they are gated.
    fn rows(&self) -> usize {
        self.shape.piece_rows >> u32::from(self.paired())
    }

    fn groups(&self) -> usize {
        let rows = self.rows();
        let usual = rows.div_ceil(LEAST_ROWS).min(self.processors);
        usual.max(rows.div_ceil(self.most_slots() >> u32::from(self.paired())))
    }

    /// Rows of a workgroup, both of a pair counted.
    fn slots(&self) -> usize {
        self.rows().div_ceil(self.groups()) << u32::from(self.paired())
    }

    fn outputs(&self) -> usize {
        self.shape.outputs() >> u32::from(self.paired())
    }

    /// Most of them that gated layers of so many outputs each write on a device of so many processors.
    pub fn most_parts(outputs: usize, processors: usize) -> usize {
        let least_slots = TERM_SLOTS / 8;
        processors.max(outputs.div_ceil(2).div_ceil(least_slots / 2))
    }

    /// Largest magnitudes that are written (gated) or read (known) of each token.
    pub fn parts(&self) -> usize {
        match self.outcome {
            Outcome::Gated => self.groups(),
            Outcome::Plain => self.known,
        }
    }

    /// The largest magnitudes of the results of each workgroup.
    fn tops(&self, y: &[f32], tops: &mut [f32]) {
        let (n, parts) = (self.outputs(), self.parts());
        tops.fill(0.0);
        for (y, tops) in y.chunks_exact(n).zip(tops.chunks_exact_mut(parts)) {
            for (i, value) in y.iter().enumerate() {
                let top = &mut tops[i % n.div_ceil(2) % parts];
                *top = f32::from_bits(top.to_bits().max(value.abs().to_bits()));
            }
        }
    }

    /// Integers and factors of all tokens, as [`crate::ops::norm::RmsNormQuantize`] makes them.
    fn round(&self, x: &[f32], weight: &[f32]) -> (Vec<u32>, Vec<f32>) {
        let (rows, columns) = (self.shape.rows, self.shape.in_features);
        let row_words = QuantizeAct::row_words(columns, self.mode);
        let mut q = vec![0u32; rows * row_words];
        let norm = self.norm.map(|eps| (&weight[..columns], eps));
        let tokens = x.chunks_exact(columns).zip(q.chunks_exact_mut(row_words));
        let factors = tokens
            .take(rows)
            .map(|(x, q)| round_token(x, norm, self.mode, bytemuck::cast_slice_mut(q)))
            .collect();
        (q, factors)
    }

    /// Runs `product` on the rounded tokens, and gates what it makes.
    fn product(
        &self,
        b: &mut Bindings<'_>,
        product: impl Fn(&PhaseShape, Activations, &mut Bindings<'_>),
    ) {
        let (q, factors) = self.round(b.read(1), b.read(2));
        let y: &mut [f32] = &mut b.write(4)[..self.shape.rows * self.outputs()];
        let mut both = vec![0.0f32; if self.paired() { 2 * y.len() } else { 0 }];
        let mut inner = Bindings::new();
        inner.push_read(b.read(0));
        inner.push_read(&q);
        inner.push_read(bytemuck::cast_slice(&factors));
        inner.push_read(b.read(3));
        let sums = if self.paired() { &mut both } else { &mut *y };
        inner.push_write(bytemuck::cast_slice_mut(sums));
        product(&self.shape, self.mode, &mut inner);
        if self.paired() {
            gated_rows(&both, y, self.outputs());
            let tops = &mut b.write(5)[..self.shape.rows * self.parts()];
            self.tops(y, tops);
        }
    }

    /// Whether the outcome makes sense for the stack.
    fn sensible(&self) -> bool {
        let s = &self.shape;
        let gated = matches!(s.segments[..], [gate, up] if gate == up);
        let whole = gated && !s.accumulate && s.piece_rows == s.complex_rows();
        let free = !self.paired() && self.norm.is_none();
        (!self.paired() || whole) && (self.known == 0 || free)
    }
}

impl Op for PhaseGemvFused {
    const NAME: &'static str = "phase_gemv_fused";
    const SHADERS: &'static [Shader] = &[shader!(unchecked Features::SUBGROUP_INT64,
        phase / "phase_gemv_fused",
        "wide64",
        "sigmoid",
        "bits",
        "accumulate",
        "round",
        "round_vector",
        "stack",
        "planes",
        "gemv_sums",
        "gemv_rows",
        "team_subgroup"
    )];
    const BINDINGS: &'static [Binding] = &[
        read("codes", Elem::U32),
        read("x", Elem::F32),
        read("weight", Elem::F32),
        read("cells", Elem::U32),
        write("y", Elem::F32),
        write("tops", Elem::F32),
    ];
    const AGREE: Agree = Agree::Bits;
    type Params = PhaseParams;

    fn agree(&self) -> Agree {
        match self.outcome {
            Outcome::Plain => Agree::Bits,
            // the products are exact; the gate is that of `swiglu`
            Outcome::Gated => Agree::Nmse(1e-13),
        }
    }

    fn params(&self) -> PhaseParams {
        let (eps_n, root_n) =
            fixed::norm_constants(self.shape.in_features, self.norm.unwrap_or(0.0));
        PhaseParams {
            eps_n,
            root_n,
            normed: self.norm.is_some().into(),
            paired: self.paired().into(),
            slots: self.slots() as u32,
            parts: self.parts() as u32,
            ..self.shape.params()
        }
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("TERMS", self.shape.terms() as f64),
            ("PLANES", self.mode.planes() as f64),
            ("HELD", self.held() as f64),
            ("TOKEN_WORDS", self.token_words() as f64),
            ("MOST_SLOTS", self.most_slots() as f64),
            (
                "WHOLE",
                f64::from(u8::from(self.padded() == self.shape.words())),
            ),
            ("KNOWN", f64::from(u8::from(self.known > 0))),
            ("TEAM", TEAM as f64),
            ("WIDTH", self.width() as f64),
        ]
    }

    fn prelude(&self) -> &'static str {
        codes_prelude(self.shape.stages)
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: self.groups() as u32,
            batch: self.shape.rows as u32,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        let shape = &self.shape;
        vec![
            shape.piece_rows * shape.terms() * shape.words(),
            shape.rows * shape.in_features,
            shape.in_features,
            shape.cells() * shape.cell_words(),
            shape.rows * self.outputs(),
            shape.rows * self.parts(),
        ]
    }

    fn cost(&self) -> Cost {
        let shape = &self.shape;
        shape.cost(4.0 * (shape.rows * shape.in_features) as f64)
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        self.product(b, integer_reference);
    }

    fn host(&self, b: &mut Bindings<'_>) {
        self.product(b, on_host);
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        bench::phase_gemv_fused()
    }

    fn cases() -> Vec<Case<Self>> {
        cases::all()
    }
}
