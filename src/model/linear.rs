//! A linear layer, or several that share their input, on a device.

use super::{Granularity, Packed};
use crate::backend::{Backend, upload_new};
use crate::error::{Error, Result};
use crate::ops::Stored;
use crate::ops::activation::{ActRound, ActSnap, Activations};
use crate::ops::dense::{Dense, MatmulGemm, MatmulGemv};
use crate::ops::noise::Noise;
use crate::ops::phase::{
    MAX_COLUMNS, PhaseGemm, PhaseGemmFloat, PhaseGemv, PhaseGemvFloat, PhaseShape, float_cells,
    integer_cells, interleaved,
};
use crate::quarter::{COLUMNS_PER_WORD, words_for};

/// Up to so many tokens the GEMV kernels, beyond them the GEMM kernels.
pub const GEMV_ROWS: usize = 8;

/// A stack of linear layers with the same input, in device memory.
pub struct Linear<B: Backend> {
    place: String,
    in_features: usize,
    segments: Vec<usize>,
    weight: Weight<B>,
}

enum Weight<B: Backend> {
    Dense {
        stored: Stored,
        shards: Vec<Shard<B>>,
    },
    Phase {
        stages: usize,
        per_row: bool,
        group_words: usize,
        cells: B::Buffer,
        /// `first` and `rows` count complex rows.
        pieces: Vec<Shard<B>>,
    },
}

/// Some rows of a matrix, as many as one binding holds.
pub struct Shard<B: Backend> {
    /// First row.
    pub first: usize,
    /// Number of rows.
    pub rows: usize,
    /// The rows.
    pub buffer: B::Buffer,
}

/// Buffers for what a layer needs besides input and output; sized for the largest layer.
pub struct LinearScratch<B: Backend> {
    rounded: B::Buffer,
    absmax: B::Buffer,
    snapped: B::Buffer,
}

impl<B: Backend> LinearScratch<B> {
    /// For up to `rows` tokens of up to `widest` inputs.
    pub fn new(backend: &B, rows: usize, widest: usize, mode: Activations) -> Result<Self> {
        let integers = match mode {
            Activations::Float => 0,
            _ => rows * ActRound::row_words(widest, mode),
        };
        Ok(Self {
            rounded: backend.alloc("rounded activations", integers)?,
            absmax: backend.alloc("absmax", rows)?,
            snapped: backend.alloc("snapped activations", rows * widest)?,
        })
    }
}

/// Uploads the rows of stacked layers behind each other, split over as many buffers as bindings allow.
pub fn upload_rows<B: Backend>(
    backend: &B,
    label: &str,
    layers: &[&[u32]],
    row_words: usize,
) -> Result<Vec<Shard<B>>> {
    let total: usize = layers.iter().map(|l| l.len() / row_words).sum();
    let per_shard = (backend.max_words() / row_words).max(1);
    let mut shards = Vec::new();
    for first in (0..total).step_by(per_shard) {
        let rows = per_shard.min(total - first);
        shards.push(Shard {
            first,
            rows,
            buffer: backend.alloc(label, rows * row_words)?,
        });
    }
    let mut row = 0;
    for layer in layers {
        let end = row + layer.len() / row_words;
        for shard in &shards {
            let (from, to) = (row.max(shard.first), end.min(shard.first + shard.rows));
            if from < to {
                let words = &layer[(from - row) * row_words..(to - row) * row_words];
                backend.upload(&shard.buffer, (from - shard.first) * row_words, words)?;
            }
        }
        row = end;
    }
    Ok(shards)
}

impl<B: Backend> Linear<B> {
    /// A stack of dense layers; `rows` are their weights as they lie in buffers ([`Stored::row_words`]).
    pub fn dense(
        backend: &B,
        place: String,
        in_features: usize,
        stored: Stored,
        rows: &[&[u32]],
    ) -> Result<Self> {
        let row_words = stored.row_words(in_features);
        Ok(Self {
            in_features,
            segments: rows.iter().map(|r| r.len() / row_words).collect(),
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
        layers: &[Packed],
        activations: Activations,
    ) -> Result<Self> {
        let first = &layers[0];
        let stages = first.stages();
        let columns = first.in_features.div_ceil(2);
        if columns > MAX_COLUMNS && activations != Activations::Float {
            return Err(Error::usage(
                format!("{place}: {columns} complex columns could overflow 32-bit sums"),
                "use --activations float",
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
        let codes: Vec<Vec<u32>> = layers
            .iter()
            .map(|l| interleaved(&l.codes, 2 * stages, words))
            .collect();
        let codes: Vec<&[u32]> = codes.iter().map(Vec::as_slice).collect();
        Ok(Self {
            in_features: first.in_features,
            segments: layers.iter().map(|l| l.out_features).collect(),
            weight: Weight::Phase {
                stages,
                per_row: first.granularity != Granularity::Tensor,
                group_words,
                cells: upload_new(backend, "scales", &cells)?,
                pieces: upload_rows(backend, &place, &codes, 2 * stages * words)?,
            },
            place,
        })
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
        let per_piece = (backend.max_words() / row_words).max(1);
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
            weight: Weight::Phase {
                stages,
                per_row: false,
                group_words: words,
                cells: upload_new(backend, "scales", &cells)?,
                pieces,
            },
            place,
        })
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
            Weight::Phase { stages, pieces, .. } => {
                rows(pieces) * 2 * stages * words_for(self.in_features.div_ceil(2))
            }
        }
    }

    /// `y = weight x`, or `y += weight x`, for `rows` tokens: `x` [rows, in], `y` [rows, outputs], both f32.
    pub async fn apply(
        &self,
        backend: &B,
        scratch: &LinearScratch<B>,
        x: &B::Buffer,
        y: &B::Buffer,
        run: Run,
    ) -> Result<()> {
        backend.at(&|| self.place.clone());
        match &self.weight {
            Weight::Dense { stored, shards } => {
                self.apply_dense(backend, scratch, x, y, run, *stored, shards)
                    .await
            }
            Weight::Phase { .. } if run.activations == Activations::Float => {
                self.apply_phase_float(backend, x, y, run).await
            }
            Weight::Phase { .. } => self.apply_phase(backend, scratch, x, y, run).await,
        }
    }

    #[allow(clippy::too_many_arguments)] // the parts of one match arm
    async fn apply_dense(
        &self,
        backend: &B,
        scratch: &LinearScratch<B>,
        x: &B::Buffer,
        y: &B::Buffer,
        run: Run,
        stored: Stored,
        shards: &[Shard<B>],
    ) -> Result<()> {
        let (rows, columns, mode) = (run.rows, self.in_features, run.activations);
        let mut x = x;
        if mode != Activations::Float {
            let snap = ActSnap {
                rows,
                columns,
                mode,
            };
            backend.run(&snap, &[x, &scratch.snapped]).await?;
            x = &scratch.snapped;
        }
        for shard in shards {
            let matmul = Dense {
                rows,
                k: columns,
                outs: shard.rows,
                out_offset: shard.first,
                y_stride: self.outputs(),
                stored,
                accumulate: run.accumulate,
            };
            if rows <= GEMV_ROWS {
                backend
                    .run(&MatmulGemv(matmul), &[x, &shard.buffer, y])
                    .await?;
            } else {
                backend
                    .run(&MatmulGemm(matmul), &[x, &shard.buffer, y])
                    .await?;
            }
        }
        Ok(())
    }

    fn shape(&self, run: Run, piece: &Shard<B>) -> PhaseShape {
        let Weight::Phase {
            stages,
            per_row,
            group_words,
            ..
        } = &self.weight
        else {
            unreachable!("only called for phase layers")
        };
        PhaseShape {
            segments: self.segments.clone(),
            in_features: self.in_features,
            stages: *stages,
            per_row: *per_row,
            group_words: *group_words,
            first_row: piece.first,
            piece_rows: piece.rows,
            accumulate: run.accumulate,
            rows: run.rows,
        }
    }

    async fn apply_phase(
        &self,
        backend: &B,
        scratch: &LinearScratch<B>,
        x: &B::Buffer,
        y: &B::Buffer,
        run: Run,
    ) -> Result<()> {
        let Weight::Phase { cells, pieces, .. } = &self.weight else {
            unreachable!("only called for phase layers")
        };
        let mode = run.activations;
        let round = ActRound {
            rows: run.rows,
            columns: self.in_features,
            mode,
        };
        let (q, absmax) = (&scratch.rounded, &scratch.absmax);
        backend.run(&round, &[x, q, absmax]).await?;
        for piece in pieces {
            let shape = self.shape(run, piece);
            let buffers = [&piece.buffer, q, absmax, cells, y];
            if run.rows <= GEMV_ROWS {
                backend.run(&PhaseGemv { shape, mode }, &buffers).await?;
            } else {
                backend.run(&PhaseGemm { shape, mode }, &buffers).await?;
            }
        }
        Ok(())
    }

    async fn apply_phase_float(
        &self,
        backend: &B,
        x: &B::Buffer,
        y: &B::Buffer,
        run: Run,
    ) -> Result<()> {
        let Weight::Phase { cells, pieces, .. } = &self.weight else {
            unreachable!("only called for phase layers")
        };
        for piece in pieces {
            let shape = self.shape(run, piece);
            let buffers = [&piece.buffer, x, cells, y];
            if run.rows <= GEMV_ROWS {
                backend.run(&PhaseGemvFloat { shape }, &buffers).await?;
            } else {
                backend.run(&PhaseGemmFloat { shape }, &buffers).await?;
            }
        }
        Ok(())
    }
}

/// How one application of a layer goes.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// Tokens.
    pub rows: usize,
    /// Add to the output.
    pub accumulate: bool,
    /// How activations enter.
    pub activations: Activations,
}
