//! The product that rounds its token itself: decoding takes one dispatch instead of three.

mod cases;

use super::codes::codes_prelude;
use super::{PhaseParams, PhaseShape, integer};
use crate::fixed;
use crate::ops::activation::{Gate, gated_rows, gelu_constant, squared_gated_rows};
use crate::ops::norm::{Rms, round_token, roundable};
use crate::ops::quantize::{Activations, Form};
use crate::ops::*;

/// Invocations that share a row, where subgroups allow.
const TILE: usize = 32;
/// Invocations of a workgroup at most.
const MOST_WIDTH: usize = 512 + TILE;
/// Invocations of a workgroup on every device.
const LEAST_WIDTH: usize = 256;
/// Rows of a workgroup at least, where there are few; half of them with one plane, since such rows are read and multiplied in
/// half the time.
const LEAST_ROWS: usize = 16;

/// Rows of a workgroup times planes: with a token of 16 bits and 6144 values, they fit 32 KiB.
const PLANE_SLOTS: usize = 712;

/// What happens to the products.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// They are the result.
    Plain,
    /// Two stacked layers of equal size, gate and up: the result is up, gated. Layers of the widely-linear form have the gate
    /// of real values, those of the conjugate form that of complex ones.
    Gated(Gate),
}

/// `y = U x + W conj(x)`, or `y = W conj(x)`, for few tokens in f32, normalized if asked for and rounded to integers on the way;
/// or what a gate makes of two stacked layers.
///
/// Bindings: `codes` [shard rows, words, planes] u32 ([`super::interleaved`]); `x` [tokens, in_features] f32; `weight`
/// `[in_features]` f32 (any buffer of that length without a norm); `scale_blocks` [scale blocks, 1 + 2 * planes] u32
/// ([`super::integer_scale_blocks`]); `y` [tokens, outputs] f32, half of that if gated; `absmax_partials`
/// [tokens, [`Self::absmax_partials`]] f32: largest magnitudes, written if real values are gated (by each workgroup that of its
/// results), read if [`Self::n_absmax_partials`] is not 0.
#[derive(Debug, Clone, PartialEq)]
pub struct PhaseGemvFused {
    /// The stack; not split if gated.
    pub shape: PhaseShape,
    /// [`Activations::Int16`] or [`Activations::Int8`].
    pub mode: Activations,
    /// Normalize first (weights in the `weight` binding).
    pub norm: Option<Rms>,
    /// What to make of the products.
    pub outcome: Outcome,
    /// How many magnitudes `absmax_partials` has for each token; the largest of them is that of the whole token. With 0 every
    /// workgroup searches the token for it, as it always does in the conjugate form.
    pub n_absmax_partials: usize,
    /// Workgroups that keep the device busy. No more are made where rows allow, since each rounds the token for itself.
    pub processors: usize,
}

impl PhaseGemvFused {
    /// Invocations of a workgroup, where the device allows: few enough to keep the token and the next codes in
    /// registers. With one byte plane the last tile takes no rows.
    fn width(&self) -> usize {
        if self.mode.byte_planes() == 1 {
            MOST_WIDTH
        } else {
            MOST_WIDTH - TILE
        }
    }

    /// Words of a token that one invocation keeps in registers: a whole row for a tile if it can, else what costs least.
    fn prefetched_words(&self) -> usize {
        let words = self.shape.words();
        let whole = words.div_ceil(TILE);
        if whole <= 4 {
            return whole;
        }
        // gathering the sums of a chunk costs a tile about as much as twelve words do
        let cost =
            |prefetched: &usize| words.div_ceil(prefetched * TILE) * (prefetched * TILE + 12);
        // codes of one plane leave registers for more words
        let most = if self.shape.planes() == 1 { 4 } else { 3 };
        (1..=most).rev().min_by_key(cost).unwrap_or(1)
    }

    /// Words of a byte plane in workgroup memory (16 bytes each): whole shares of a tile.
    fn padded(&self) -> usize {
        self.shape
            .words()
            .next_multiple_of(self.prefetched_words() * TILE)
    }

    /// Room for a token in workgroup memory, in units of 16 bytes.
    fn token_words(&self) -> usize {
        2 * self.mode.byte_planes() * self.padded()
    }

    /// Whether the kernels take it: token sizes, no groups of scales, memory of a workgroup in bytes.
    pub fn fits(&self, workgroup_bytes: usize) -> bool {
        let chunks = self.padded() / (self.prefetched_words() * TILE);
        roundable(self.shape.in_features)
            && self.shape.groups() == 1
            && self.sensible()
            && chunks < LEAST_WIDTH / TILE
            && self.workgroup_bytes() <= workgroup_bytes
    }

    fn workgroup_bytes(&self) -> usize {
        let planes = self.shape.planes();
        // the token; sums, scales and values of rows; slots of the reductions, at worst for tiles of 8
        let reductions = match self.shape.form {
            Form::WidelyLinear => 24,
            Form::Conjugate => 28, // the largest value of the other half
        };
        16 * self.token_words()
            + 4 * self.most_slots() * (4 * planes + 1 + 2 * planes + 2)
            + reductions * MOST_WIDTH / 8
            + 16
    }

    fn most_slots(&self) -> usize {
        // What a row takes besides its planes weighs most with one plane. With one or two it is an even number: see `AT_ONCE` in
        // the kernel.
        PLANE_SLOTS / self.shape.planes().max(2)
    }

    fn gated(&self) -> bool {
        self.outcome != Outcome::Plain
    }

    /// Rows that workgroups share: those of one layer if they are gated.
    fn rows(&self) -> usize {
        self.shape.shard_rows >> u32::from(self.gated())
    }

    fn groups(&self) -> usize {
        let rows = self.rows();
        let least = LEAST_ROWS / if self.shape.planes() == 1 { 2 } else { 1 };
        let usual = rows.div_ceil(least).min(self.processors);
        usual.max(rows.div_ceil(self.most_slots() >> u32::from(self.gated())))
    }

    /// Rows of a workgroup, both of a pair counted.
    fn slots(&self) -> usize {
        self.rows().div_ceil(self.groups()) << u32::from(self.gated())
    }

    fn outputs(&self) -> usize {
        self.shape.outputs() >> u32::from(self.gated())
    }

    /// The largest [`Self::absmax_partials`] of gated layers with `outputs` each on a device of `processors`.
    pub fn most_absmax_partials(outputs: usize, processors: usize) -> usize {
        let least_slots = PLANE_SLOTS / 8;
        processors.max(outputs.div_ceil(2).div_ceil(least_slots / 2))
    }

    /// Largest magnitudes of each token that are written (gated) or read.
    pub fn absmax_partials(&self) -> usize {
        match self.outcome {
            Outcome::Gated(Gate::Silu | Gate::GeluTanh) => self.groups(),
            // Whoever reads complex values normalizes them first.
            Outcome::Gated(Gate::SquaredRelu) => 0,
            Outcome::Plain => self.n_absmax_partials,
        }
    }

    /// Writes the largest magnitude of the results of each workgroup.
    fn write_absmax_partials(&self, y: &[f32], partials: &mut [f32]) {
        let (n, groups) = (self.outputs(), self.absmax_partials());
        partials.fill(0.0);
        for (y, partials) in y.chunks_exact(n).zip(partials.chunks_exact_mut(groups)) {
            for (i, value) in y.iter().enumerate() {
                let absmax = &mut partials[i % n.div_ceil(2) % groups];
                *absmax = f32::from_bits(absmax.to_bits().max(value.abs().to_bits()));
            }
        }
    }

    /// Integers and factors of all tokens, as [`crate::ops::norm::RmsNormQuantize`] makes them.
    fn round(&self, x: &[f32], weight: &[f32]) -> (Vec<u32>, Vec<f32>) {
        let (tokens, columns) = (self.shape.tokens, self.shape.in_features);
        let (row_words, scales) = (self.mode.row_words(columns), self.shape.form.token_scales());
        let mut q = vec![0u32; tokens * row_words];
        let mut factors = vec![0.0; tokens * scales];
        let norm = self.norm.map(|rms| (&weight[..columns], rms));
        let how = (self.shape.form, self.mode);
        let each = q.chunks_exact_mut(row_words);
        let each = each.zip(factors.chunks_exact_mut(scales));
        for (x, (q, factors)) in x.chunks_exact(columns).zip(each) {
            round_token(x, norm, how, bytemuck::cast_slice_mut(q), factors);
        }
        (q, factors)
    }

    /// Runs `product` on the rounded tokens, and gates what it makes.
    fn product(
        &self,
        b: &mut Bindings<'_>,
        product: impl Fn(&PhaseShape, Activations, &mut Bindings<'_>),
    ) {
        let (q, factors) = self.round(b.read(1), b.read(2));
        let y: &mut [f32] = &mut b.write(4)[..self.shape.tokens * self.outputs()];
        let mut both = vec![0.0f32; if self.gated() { 2 * y.len() } else { 0 }];
        let mut inner = Bindings::new();
        inner.push_read(b.read(0));
        inner.push_read(&q);
        inner.push_read(bytemuck::cast_slice(&factors));
        inner.push_read(b.read(3));
        let sums = if self.gated() { &mut both } else { &mut *y };
        inner.push_write(bytemuck::cast_slice_mut(sums));
        product(&self.shape, self.mode, &mut inner);
        match self.outcome {
            Outcome::Plain => {}
            Outcome::Gated(Gate::Silu | Gate::GeluTanh) => {
                gated_rows(&both, y, self.outputs(), self.gelu());
                let partials = &mut b.write(5)[..self.shape.tokens * self.absmax_partials()];
                self.write_absmax_partials(y, partials);
            }
            Outcome::Gated(Gate::SquaredRelu) => squared_gated_rows(&both, y, self.outputs()),
        }
    }

    /// Whether its gate is GELU.
    fn gelu(&self) -> bool {
        self.outcome == Outcome::Gated(Gate::GeluTanh)
    }

    /// Whether the outcome makes sense for the stack.
    pub fn sensible(&self) -> bool {
        let s = &self.shape;
        let gated = matches!(s.segments[..], [gate, up] if gate == up);
        let whole = gated && !s.accumulate && s.half_run == 0 && s.shard_rows == s.complex_rows();
        let free = !self.gated() && self.norm.is_none() && s.form == Form::WidelyLinear;
        let suits = match self.outcome {
            Outcome::Plain => true,
            Outcome::Gated(Gate::Silu | Gate::GeluTanh) => whole && s.form == Form::WidelyLinear,
            Outcome::Gated(Gate::SquaredRelu) => whole && s.form == Form::Conjugate,
        };
        suits && (self.n_absmax_partials == 0 || free)
    }
}

impl Op for PhaseGemvFused {
    const NAME: &'static str = "phase_gemv_fused";
    const SHADERS: &'static [Shader] = &[shader!(unchecked Features::SUBGROUP_INT64,
        phase / "phase_gemv_fused", "form", "wide64", "sigmoid", "gelu", "bits", "accumulate", "round", "round_bits", "round_norm", "stack", "planes", "gemv_dots", "gemv_bytes", "gemv_token", "round_token", "round_grid", "tile_subgroup", "round_vector", "gemv_gather", "gemv_slots", "gemv_prefetch", "gemv_rows", "gemv_gate")];
    const BINDINGS: &'static [Binding] = &[
        read("codes", Elem::U32),
        read("x", Elem::F32),
        read("weight", Elem::F32),
        read("scale_blocks", Elem::U32),
        write("y", Elem::F32),
        write("absmax_partials", Elem::F32),
    ];
    const AGREE: Agree = Agree::Bits;
    type Params = PhaseParams;

    fn agree(&self) -> Agree {
        match self.outcome {
            Outcome::Plain => Agree::Bits,
            // the products are exact; the gate is that of `swiglu`, or sums of products of f32
            Outcome::Gated(_) => Agree::Nmse(1e-13),
        }
    }

    fn shape(&self) -> String {
        let mut shape = format!("{},act={}", self.shape.shape(), self.mode);
        if let Some(Rms { eps, complex }) = self.norm {
            shape += &format!(",norm={eps:e}");
            shape += if complex { ",rms=complex" } else { "" };
        }
        if self.gated() {
            shape += if self.gelu() {
                ",gated=gelu"
            } else {
                ",gated=1"
            };
        }
        if self.n_absmax_partials > 0 {
            shape += &format!(",n_absmax_partials={}", self.n_absmax_partials);
        }
        shape + &format!(",processors={}", self.processors)
    }

    fn params(&self) -> PhaseParams {
        debug_assert!(self.sensible(), "{}", self.shape());
        debug_assert!(roundable(self.shape.in_features), "{}", self.shape());
        debug_assert_eq!(self.shape.groups(), 1, "{}", self.shape());
        debug_assert!(self.slots() <= self.most_slots(), "{}", self.shape());
        debug_assert!(
            !self.gated() || self.slots().is_multiple_of(2),
            "gate and up are neighbours"
        );
        let rms = self.norm.unwrap_or(Rms::real(0.0));
        let (eps_n, root_n) = fixed::norm_constants(rms.count(self.shape.in_features), rms.eps);
        PhaseParams {
            eps_n,
            root_n,
            normed: self.norm.is_some().into(),
            gated: self.gated().into(),
            slots: self.slots() as u32,
            n_absmax_partials: self.absmax_partials() as u32,
            ..integer::params(&self.shape, self.mode)
        }
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        let layout = [
            ("HELD", self.prefetched_words() as f64),
            ("TOKEN_WORDS", self.token_words() as f64),
            ("MOST_SLOTS", self.most_slots() as f64),
            (
                "WHOLE",
                f64::from(u8::from(self.padded() == self.shape.words())),
            ),
            ("KNOWN", f64::from(u8::from(self.n_absmax_partials > 0))),
            ("TILE", TILE as f64),
            ("WIDTH", self.width() as f64),
        ];
        integer::constants(&self.shape, self.mode)
            .chain(layout)
            .chain(gelu_constant(self.gelu()))
            .collect()
    }

    fn prelude(&self) -> &'static str {
        codes_prelude(self.shape.planes())
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: self.groups() as u32,
            batch: self.shape.tokens as u32,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        let shape = &self.shape;
        vec![
            shape.shard_rows * shape.planes() * shape.words(),
            shape.tokens * shape.in_features,
            shape.in_features,
            shape.scale_blocks() * shape.scale_block_words(),
            shape.tokens * self.outputs(),
            shape.tokens * self.absmax_partials(),
        ]
    }

    fn cost(&self) -> Cost {
        let shape = &self.shape;
        shape.cost(4.0 * (shape.tokens * shape.in_features) as f64)
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        self.product(b, integer::reference);
    }

    fn host(&self, b: &mut Bindings<'_>) {
        self.product(b, integer::on_host);
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        cases::bench()
    }

    fn cases() -> Vec<Case<Self>> {
        cases::all()
    }
}
