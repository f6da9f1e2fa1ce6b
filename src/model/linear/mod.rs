//! A linear layer, or several that share their input, on a device.

mod apply;
mod many;

use super::config::LinearShape;
use super::forward::LoadOptions;
use super::memory::{product, sum};
use super::rows::{Rows, Shard, code_rows, upload_rows};
use super::{Config, Granularity, Method, Packed, PackedView};
use crate::backend::{Backend, kernel_for, upload_new};
use crate::codebook::{COLUMNS_PER_WORD, words_for};
use crate::error::{Error, Result};
use crate::ops::MatrixDtype;
use crate::ops::memory::Noise;
use crate::ops::phase::{
    COOP_TOKENS, MAX_COLUMNS, PhaseGemmCoop, PhaseGemvFused, float_cells, integer_cells,
};
use crate::ops::quantize::{Activations, QuantizeAct};
pub use apply::{Input, Run};

/// Up to so many tokens exact sums where cooperative matrices make them, so that a token of a batch that is decoded has
/// the bits it has alone.
pub const BITS_ROWS: usize = 16;

/// A stack of linear layers with the same input, in device memory.
pub struct Linear<B: Backend> {
    place: String,
    in_features: usize,
    segments: Vec<usize>,
    weight: Weight<B>,
}

enum Weight<B: Backend> {
    Dense {
        stored: MatrixDtype,
        shards: Vec<Shard<B>>,
    },
    Phase(Phase<B>),
}

/// A quantized stack.
struct Phase<B: Backend> {
    stages: usize,
    per_row: bool,
    group_words: usize,
    cells: B::Buffer,
    /// Inputs are turned.
    rotated: bool,
    /// `first` and `rows` count complex rows.
    pieces: Vec<Shard<B>>,
}

/// Buffers for what a layer needs besides input and output; sized for the largest layer.
pub struct LinearScratch<B: Backend> {
    rounded: B::Buffer,
    absmax: B::Buffer,
    /// Inputs of dense layers on the grid of rounded ones; turned inputs of quantized ones.
    snapped: B::Buffer,
    normalized: B::Buffer,
    /// In half precision, for whole tiles of tokens.
    halves: B::Buffer,
    /// Decoded weights of a layer, and for how many words there is room.
    expanded: (B::Buffer, usize),
    /// Largest magnitudes of what few tokens became in gated layers.
    tops: B::Buffer,
    /// Gate and up beside each other, where they are not made in one step.
    pairs: B::Buffer,
}

/// Rows that buffers for `rows` tokens need on this device: whole tiles where cooperative matrices may be used.
pub fn tile_rows<B: Backend>(backend: &B, rows: usize, exact: bool) -> usize {
    match kernel_for::<PhaseGemmCoop>(backend.facts().features) {
        Some(_) if !exact => rows
            .checked_next_multiple_of(COOP_TOKENS)
            .unwrap_or(usize::MAX),
        _ => rows,
    }
}

impl<B: Backend> LinearScratch<B> {
    /// Words of its buffers, in this order: decoded weights, rounded activations, absmax, snapped and half-precision
    /// activations, normalized, largest magnitudes, gate and up.
    pub fn words(backend: &B, c: &Config, options: &LoadOptions) -> [usize; 8] {
        let tuning = &backend.facts().tuning;
        let rows = tile_rows(backend, options.batch, options.exact);
        let widest = c.hidden.max(c.intermediate).max(c.heads * c.head_dim);
        let integers = match options.activations {
            Activations::Float => 0,
            mode => QuantizeAct::row_words(widest, mode),
        };
        let features = backend.facts().features;
        let coop = kernel_for::<PhaseGemmCoop>(features).is_some() && !options.exact;
        let expanded = match coop && rows >= tuning.expand_tokens {
            true => (widest * c.hidden / 2).min(backend.facts().max_words),
            false => 0,
        };
        [
            expanded,
            product(&[rows, integers]),
            rows,
            product(&[rows, widest]),
            product(&[rows, widest]) / 2,
            product(&[rows, c.hidden]),
            rows.min(tuning.gemv_tokens)
                * PhaseGemvFused::most_parts(c.intermediate, tuning.processors),
            product(&[rows, 2, c.intermediate]),
        ]
    }

    /// For up to as many tokens as `options` say.
    pub fn new(backend: &B, c: &Config, options: &LoadOptions) -> Result<Self> {
        let [
            expanded,
            rounded,
            absmax,
            snapped,
            halves,
            normalized,
            tops,
            pairs,
        ] = Self::words(backend, c, options);
        Ok(Self {
            expanded: (backend.alloc("decoded weights", expanded)?, expanded),
            rounded: backend.alloc("rounded activations", rounded)?,
            absmax: backend.alloc("absmax", absmax)?,
            snapped: backend.alloc("snapped activations", snapped)?,
            halves: backend.alloc("half-precision activations", halves)?,
            normalized: backend.alloc("normalized", normalized)?,
            tops: backend.alloc("largest magnitudes", tops)?,
            pairs: backend.alloc("gate, up", pairs)?,
        })
    }
}

impl<B: Backend> Linear<B> {
    /// A stack of dense layers; `rows` are their weights as they lie in buffers ([`MatrixDtype::row_words`]).
    pub fn dense(
        backend: &B,
        place: String,
        in_features: usize,
        stored: MatrixDtype,
        rows: &[Rows<'_>],
    ) -> Result<Self> {
        let row_words = stored.row_words(in_features);
        Ok(Self {
            in_features,
            segments: rows.iter().map(|r| r.count).collect(),
            weight: Weight::Dense {
                stored,
                shards: upload_rows(backend, &place, rows, row_words)?,
            },
            place,
        })
    }

    /// A stack of layers quantized with the same phase recipe.
    pub fn phase(
        backend: &B,
        place: String,
        layers: &[PackedView<'_>],
        activations: Activations,
    ) -> Result<Self> {
        let first = &layers[0];
        let stages = first.stages();
        if layers.iter().any(|layer| layer.stages() != stages) {
            return Err(Error::usage(
                format!("{place}: layers of one product have different numbers of stages"),
                "give them the same number",
            ));
        }
        let columns = first.in_features.div_ceil(2);
        if columns > MAX_COLUMNS && activations != Activations::Float {
            return Err(Error::usage(
                format!("{place}: {columns} complex columns could overflow 32-bit sums"),
                "use float activations",
            ));
        }
        let words = words_for(columns);
        let group_words = match first.granularity {
            Granularity::Group(g) => g / COLUMNS_PER_WORD,
            _ => words,
        };
        let cells: Vec<u32> = layers
            .iter()
            .flat_map(|layer| match activations {
                Activations::Float => float_cells(&layer.scales, layer.cells()),
                mode => integer_cells(&layer.scales, layer.cells(), mode),
            })
            .collect();
        let row_words = 2 * stages * words;
        let code_rows = |layer| code_rows(layer, row_words);
        let codes: Vec<_> = layers.iter().map(code_rows).collect();
        Ok(Self {
            in_features: first.in_features,
            segments: layers.iter().map(|l| l.out_features).collect(),
            weight: Weight::Phase(Phase {
                stages,
                per_row: first.granularity != Granularity::Tensor,
                group_words,
                cells: upload_new(backend, "scales", &cells)?,
                rotated: false,
                pieces: upload_rows(backend, &place, &codes, row_words)?,
            }),
            place,
        })
    }

    /// Whether the inputs of a quantized stack are turned as its weights were ([`Hadamard`]).
    ///
    /// [`Hadamard`]: crate::ops::quantize::Hadamard
    #[must_use]
    pub fn rotated(mut self, rotated: bool) -> Self {
        if let Weight::Phase(phase) = &mut self.weight {
            phase.rotated = rotated;
        }
        self
    }

    /// A stack made on the device from noise, for benchmarks: codes uniform, scales all alike.
    pub async fn synthetic(
        backend: &B,
        place: String,
        segments: Vec<usize>,
        in_features: usize,
        stages: usize,
        activations: Activations,
    ) -> Result<Self> {
        let words = words_for(in_features.div_ceil(2));
        let row_words = 2 * stages * words;
        let complex_rows: usize = segments.iter().map(|s| s.div_ceil(2)).sum();
        // the magnitude that keeps a layer's output at its input's
        let scale = (1.0 / (2.0 * stages as f32 * in_features as f32)).sqrt();
        let scales = vec![scale; segments.len() * 4 * stages];
        let cells = match activations {
            Activations::Float => float_cells(&scales, segments.len()),
            mode => integer_cells(&scales, segments.len(), mode),
        };
        let per_piece = (backend.facts().max_words / row_words).max(1);
        let mut pieces = Vec::new();
        for first in (0..complex_rows).step_by(per_piece) {
            let rows = per_piece.min(complex_rows - first);
            let buffer = backend.alloc(&place, rows * row_words)?;
            let noise = Noise::bits(rows * row_words, first as u32 + 1);
            backend.run(&noise, &[&buffer]).await?;
            pieces.push(Shard {
                first,
                rows,
                buffer,
            });
        }
        Ok(Self {
            in_features,
            segments,
            weight: Weight::Phase(Phase {
                stages,
                per_row: false,
                group_words: words,
                cells: upload_new(backend, "scales", &cells)?,
                rotated: false,
                pieces,
            }),
            place,
        })
    }

    /// Words of one layer of a stack that [`Linear::phase`] brings to the device: codes, and cells of scales.
    pub fn phase_words(layer: &LinearShape, stages: usize, granularity: Granularity) -> usize {
        let (rows, columns) = (
            layer.out_features.div_ceil(2),
            layer.in_features.div_ceil(2),
        );
        let cells = match granularity {
            Granularity::Tensor => 1,
            _ => rows,
        };
        let method = Method::Phase { stages };
        let (out, inputs) = (layer.out_features, layer.in_features);
        let (_, scales) = Packed::shapes(method, granularity.of_rows(), out, inputs);
        let codes = product(&[rows, 2, stages, words_for(columns)]);
        // a cell begins with its exponent
        sum([codes, cells, product(&scales)])
    }

    /// Real inputs.
    pub fn in_features(&self) -> usize {
        self.in_features
    }

    /// Real outputs of each layer of the stack.
    pub fn segments(&self) -> &[usize] {
        &self.segments
    }

    /// Real outputs of the whole stack.
    pub fn outputs(&self) -> usize {
        self.segments.iter().sum()
    }

    /// Bytes of the weights and scales in device memory.
    pub fn bytes(&self) -> usize {
        let rows = |shards: &[Shard<B>]| shards.iter().map(|s| s.rows).sum::<usize>();
        4 * match &self.weight {
            Weight::Dense { stored, shards } => rows(shards) * stored.row_words(self.in_features),
            Weight::Phase(phase) => {
                rows(&phase.pieces) * 2 * phase.stages * words_for(self.in_features.div_ceil(2))
            }
        }
    }
}
