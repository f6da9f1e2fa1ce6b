//! A linear layer, or several that share their input, on a device.

mod apply;
mod gated;
mod made;
mod many;

use super::blueprint::Output;
use super::budget::{product, sum};
use super::config::LinearShape;
use super::options::LoadOptions;
use super::rows::{Rows, Shard, upload_codes, upload_rows};
use super::{Config, Form, Granularity, Method, Packed, PackedView};
use crate::backend::{Backend, Tuning, kernel_for, upload_new};
use crate::codebook::{COLUMNS_PER_WORD, words_for};
use crate::error::{Error, Result};
use crate::ops::MatrixDtype;
use crate::ops::phase::{
    COOP_TOKENS, CodeLayout, MAX_COLUMNS, PhaseGemmCoop, PhaseGemvFused, float_scale_blocks,
    integer_scale_blocks,
};
use crate::ops::quantize::Activations;
pub(crate) use apply::{Input, Run};
pub(crate) use gated::run_gate;

/// A stack of linear layers with the same input, in device memory.
pub(crate) struct Linear<B: Backend> {
    name: String,
    in_features: usize,
    segments: Vec<usize>,
    /// Which matrices it has where it is quantized; dense or not, halves of a token are rounded accordingly.
    form: Form,
    /// Complex rows whose outputs lie together, as [`PhaseShape`](crate::ops::phase::PhaseShape) has it; 0 for none.
    half_run: usize,
    /// Whether its inputs stay floats though those of other layers are rounded.
    unrounded: bool,
    weight: Weight<B>,
    /// What is added to its outputs, those of all layers beside each other.
    bias: Option<B::Buffer>,
}

enum Weight<B: Backend> {
    Dense {
        dtype: MatrixDtype,
        shards: Vec<Shard<B>>,
    },
    Phase(Phase<B>),
}

/// A quantized stack.
struct Phase<B: Backend> {
    stages: usize,
    /// Whether each row has scales of its own.
    per_row: bool,
    /// Words of a row's codes that share scales.
    group_words: usize,
    /// The scales of all layers, as the kernels read them.
    scale_blocks: B::Buffer,
    /// Whether inputs are rotated by blocks of a Hadamard matrix, as the weights were before they were quantized.
    rotated: bool,
    /// How the codes lie.
    layout: CodeLayout,
    /// The codes; `first` and `rows` count complex rows.
    shards: Vec<Shard<B>>,
}

/// Buffers for what a layer needs besides input and output; each suffices for the largest layer and a batch of tokens.
pub(crate) struct LinearScratch<B: Backend> {
    /// Integer activations, and the largest magnitude of each token.
    rounded: B::Buffer,
    absmax: B::Buffer,
    /// Inputs of dense layers on the grid that rounding would put them on; rotated inputs of quantized layers.
    prepared: B::Buffer,
    normalized: B::Buffer,
    /// Inputs in half precision, for whole tiles of tokens.
    inputs_f16: B::Buffer,
    /// Decoded weights of a layer, and how many words they may have.
    expanded: (B::Buffer, usize),
    /// Partial maxima of the magnitudes that gated layers give: the largest of a token is what the next layer rounds by.
    absmax_partials: B::Buffer,
    /// Gate and up beside each other, where they are not made in one step.
    pairs: B::Buffer,
}

/// Tokens that buffers for `tokens` tokens need room for on this device: whole tiles where cooperative matrices may be used.
pub(crate) fn tile_rows<B: Backend>(backend: &B, tokens: usize, exact: bool) -> usize {
    match kernel_for::<PhaseGemmCoop>(backend.facts().features) {
        Some(_) if !exact => tokens
            .checked_next_multiple_of(COOP_TOKENS)
            .unwrap_or(usize::MAX),
        _ => tokens,
    }
}

/// How the codes of layers lie on this device: as its products with integers want, which other products do not.
pub(crate) fn code_layout<B: Backend>(backend: &B, activations: Activations) -> CodeLayout {
    match activations {
        Activations::Float => CodeLayout::Rows,
        Activations::Int16 | Activations::Int8 => backend.facts().codes,
    }
}

impl<B: Backend> LinearScratch<B> {
    /// Words of its buffers, in this order: decoded weights, rounded activations, absmax, prepared and half-precision
    /// inputs, normalized inputs, partials of absmax, gate and up.
    pub(crate) fn words(
        backend: &B,
        c: &Config,
        options: &LoadOptions,
        tuning: &Tuning,
    ) -> [usize; 8] {
        let tokens = tile_rows(backend, options.batch, options.exact);
        let widest = c.widest_input();
        let integers = match options.activations {
            Activations::Float => 0,
            mode => mode.row_words(widest),
        };
        let features = backend.facts().features;
        let coop = kernel_for::<PhaseGemmCoop>(features).is_some() && !options.exact;
        let expanded = match coop && options.batch > tuning.gemv_tokens {
            true => (widest * c.hidden / 2).min(backend.facts().max_words),
            false => 0,
        };
        [
            expanded,
            product(&[tokens, integers]),
            product(&[tokens, c.blueprint().token_scales()]),
            product(&[tokens, widest]),
            product(&[tokens, widest]) / 2,
            product(&[tokens, c.widest_norm()]),
            tokens.min(tuning.integer_gemv_tokens)
                * PhaseGemvFused::most_absmax_partials(c.widest_gate(), tuning.fused_groups),
            product(&[tokens, c.outputs(Output::Gated).max(2 * c.widest_gate())]),
        ]
    }

    /// For up to as many tokens as `options` say, in runs with this tuning, or one with smaller numbers.
    pub(crate) fn new(
        backend: &B,
        c: &Config,
        options: &LoadOptions,
        tuning: &Tuning,
    ) -> Result<Self> {
        let [
            expanded,
            rounded,
            absmax,
            prepared,
            inputs_f16,
            normalized,
            absmax_partials,
            pairs,
        ] = Self::words(backend, c, options, tuning);
        Ok(Self {
            expanded: (backend.alloc("decoded weights", expanded)?, expanded),
            rounded: backend.alloc("rounded activations", rounded)?,
            absmax: backend.alloc("absmax", absmax)?,
            prepared: backend.alloc("prepared inputs", prepared)?,
            inputs_f16: backend.alloc("inputs in f16", inputs_f16)?,
            normalized: backend.alloc("normalized", normalized)?,
            absmax_partials: backend.alloc("partials of absmax", absmax_partials)?,
            pairs: backend.alloc("gate, up", pairs)?,
        })
    }
}

impl<B: Backend> Linear<B> {
    /// Layers of `segments` outputs each that share an input, of the widely-linear form; what else a layer may have is added.
    fn of_weight(
        name: String,
        in_features: usize,
        segments: Vec<usize>,
        weight: Weight<B>,
    ) -> Self {
        Self {
            name,
            in_features,
            segments,
            form: Form::WidelyLinear,
            half_run: 0,
            unrounded: false,
            weight,
            bias: None,
        }
    }

    /// A stack of dense layers; `rows` are their weights as they lie in buffers ([`MatrixDtype::row_words`]).
    pub(crate) fn dense(
        backend: &B,
        name: String,
        in_features: usize,
        dtype: MatrixDtype,
        rows: &[Rows<'_>],
    ) -> Result<Self> {
        let shards = upload_rows(backend, &name, rows, dtype.row_words(in_features))?;
        let segments = rows.iter().map(|r| r.count).collect();
        Ok(Self::dense_on_device(
            name,
            in_features,
            segments,
            (dtype, shards),
        ))
    }

    /// A stack of layers quantized with the same phase recipe.
    pub(crate) fn phase(
        backend: &B,
        name: String,
        layers: &[PackedView<'_>],
        activations: Activations,
    ) -> Result<Self> {
        let first = &layers[0];
        let (form, stages) = (first.form, first.stages());
        if layers.iter().any(|layer| layer.stages() != stages) {
            return Err(Error::usage(
                format!("{name}: layers of one product have different numbers of stages"),
                "give them the same number",
            ));
        }
        let columns = first.in_features.div_ceil(2);
        if columns > MAX_COLUMNS && activations != Activations::Float {
            return Err(Error::usage(
                format!("{name}: {columns} complex columns could overflow 32-bit sums"),
                "use float activations",
            ));
        }
        let words = words_for(columns);
        let group_words = match first.granularity {
            Granularity::Group(g) => g / COLUMNS_PER_WORD,
            _ => words,
        };
        let scale_blocks: Vec<u32> = layers
            .iter()
            .flat_map(|layer| match activations {
                Activations::Float => float_scale_blocks(&layer.scales, layer.scale_blocks()),
                mode => integer_scale_blocks(&layer.scales, layer.scale_blocks(), mode),
            })
            .collect();
        let layout = code_layout(backend, activations);
        let weight = Weight::Phase(Phase {
            stages,
            per_row: first.granularity != Granularity::Tensor,
            group_words,
            scale_blocks: upload_new(backend, "scales", &scale_blocks)?,
            rotated: false,
            layout,
            shards: upload_codes(backend, &name, layers, layout)?,
        });
        let segments = layers.iter().map(|l| l.out_features).collect();
        Ok(Self::of_weight(name, first.in_features, segments, weight).of_form(form))
    }

    /// With inputs that are rotated as the weights of a quantized stack were ([`Hadamard`]), or that are not.
    ///
    /// [`Hadamard`]: crate::ops::quantize::Hadamard
    #[must_use]
    pub(crate) fn rotated(mut self, rotated: bool) -> Self {
        if let Weight::Phase(phase) = &mut self.weight {
            phase.rotated = rotated;
        }
        self
    }

    /// Words of one layer of a stack that [`Linear::phase`] brings to the device: codes, and blocks of scales.
    pub(crate) fn phase_words(
        layer: &LinearShape,
        stages: usize,
        granularity: Granularity,
        layout: CodeLayout,
    ) -> usize {
        let (rows, columns) = (
            layer.out_features.div_ceil(2),
            layer.in_features.div_ceil(2),
        );
        let scale_blocks = match granularity {
            Granularity::Tensor => 1,
            _ => rows,
        };
        let method = Method::Phase { stages };
        let (out, inputs) = (layer.out_features, layer.in_features);
        let (_, scales) = Packed::shapes(method, layer.form, granularity.of_rows(), out, inputs);
        let (planes, words) = (layer.form.matrices() * stages, words_for(columns));
        let panels = rows.div_ceil(layout.panel_rows(planes));
        let codes = product(&[panels, layout.panel_words(planes, words)]);
        // A scale block begins with its exponent.
        sum([codes, scale_blocks, product(&scales)])
    }

    /// With outputs that lie together in runs of `half_run` complex rows.
    #[must_use]
    pub(crate) fn in_runs(mut self, half_run: usize) -> Self {
        self.half_run = half_run;
        self
    }

    /// With a bias of as many values as there are outputs.
    #[must_use]
    pub(crate) fn with_bias(mut self, bias: Option<B::Buffer>) -> Self {
        self.bias = bias;
        self
    }

    /// Of this form; dense layers stand for layers of it.
    #[must_use]
    pub(crate) fn of_form(mut self, form: Form) -> Self {
        self.form = form;
        self
    }

    /// With inputs that are not rounded, where it is dense.
    #[must_use]
    pub(crate) fn unrounded(mut self, unrounded: bool) -> Self {
        self.unrounded = unrounded;
        self
    }

    /// Which matrices it has where it is quantized.
    pub(crate) fn form(&self) -> Form {
        self.form
    }

    /// Real inputs.
    pub(crate) fn in_features(&self) -> usize {
        self.in_features
    }

    /// Real outputs of each layer of the stack.
    pub(crate) fn segments(&self) -> &[usize] {
        &self.segments
    }

    /// Real outputs of the whole stack.
    pub(crate) fn outputs(&self) -> usize {
        self.segments.iter().sum()
    }

    /// Bytes of the weights and scales in device memory.
    pub(crate) fn bytes(&self) -> usize {
        let rows = |shards: &[Shard<B>]| shards.iter().map(|s| s.rows).sum::<usize>();
        4 * match &self.weight {
            Weight::Dense { dtype, shards } => rows(shards) * dtype.row_words(self.in_features),
            Weight::Phase(phase) => {
                let planes = self.form.matrices() * phase.stages;
                rows(&phase.shards) * planes * words_for(self.in_features.div_ceil(2))
            }
        }
    }
}
