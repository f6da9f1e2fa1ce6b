//! Fairy2i weights, piece by piece.

use super::pieces::{self, Pieces};
use super::{Granularity, Packed, Quantized, Shape, add_errors};
use crate::backend::{Backend, upload_new};
use crate::error::Result;
use crate::ops::quantize::{LEAST_SCALE, PhaseMean, PhasePack, PhaseScale, PhaseUnpack, Piece};
use std::ops::Range;

/// Quantizes a weight in `stages` residual stages.
pub(super) async fn pack<B: Backend>(
    backend: &B,
    r: &[f32],
    shape: Shape,
    stages: usize,
    granularity: Granularity,
) -> Result<Quantized> {
    let whole = Piece::whole(
        shape.out_features,
        shape.in_features,
        granularity,
        stages,
        shape.exponent,
    );
    let mut pieces = Pieces::new(backend, r, shape.out_features, shape.in_features, true)?;
    // pieces that share no scales are weights of their own
    let together = if whole.by_row() { 1 } else { pieces.len() };
    let mut result = (Vec::new(), Vec::new(), [0.0; 2]);
    for run in pieces::ranges(pieces.len(), together) {
        let first = pieces.rows(run.start).start;
        let total_rows = pieces.rows(run.end - 1).end - first;
        let parts: Vec<Piece> = run
            .clone()
            .map(|i| pieces.rows(i))
            .map(|rows| Piece {
                total_rows,
                first_row: rows.start - first,
                rows: rows.len(),
                lower_rows: lower_rows(shape.out_features, &rows),
                ..whole
            })
            .collect();
        pack_run(&mut pieces, run.start, &parts, &mut result).await?;
    }
    Ok(result)
}

/// Scales and codes of a weight that lies on the device as one piece, as the papers quantize it. `buffers` are the weight,
/// scales, sums, codes and errors, of which the last are left as they are.
pub(crate) async fn encode<B: Backend>(
    backend: &B,
    piece: Piece,
    [r, scales, sums, codes, errors]: [&B::Buffer; 5],
) -> Result<()> {
    for stage in 0..piece.stages {
        let sum = PhaseScale { piece, stage };
        backend.run(&sum, &[r, scales, sums]).await?;
        let mean = PhaseMean {
            piece,
            stage,
            least: LEAST_SCALE,
        };
        backend.run(&mean, &[sums, scales]).await?;
    }
    let pack = PhasePack {
        piece,
        measure: false,
    };
    backend.run(&pack, &[r, scales, codes, errors]).await
}

/// Lower real rows that belong to complex rows `rows`.
fn lower_rows(out_features: usize, rows: &Range<usize>) -> usize {
    rows.end.min(out_features / 2) - rows.start
}

/// Pieces from number `first` on, which share one buffer of scales.
async fn pack_run<B: Backend>(
    pieces: &mut Pieces<'_, B>,
    first: usize,
    parts: &[Piece],
    (codes, scales, errors): &mut Quantized,
) -> Result<()> {
    let backend = pieces.backend();
    let largest = parts[0];
    let sums = backend.alloc("sums", largest.sums())?;
    let scale = backend.alloc("scales", largest.scales())?;
    let packed = backend.alloc("codes", largest.codes())?;
    let error = backend.alloc("errors", 4 * largest.rows)?;
    for stage in 0..largest.stages {
        for (i, &piece) in parts.iter().enumerate() {
            let buffers = [pieces.get(first + i)?, &scale, &sums];
            backend.run(&PhaseScale { piece, stage }, &buffers).await?;
        }
        let mean = PhaseMean {
            piece: largest,
            stage,
            least: LEAST_SCALE,
        };
        backend.run(&mean, &[&sums, &scale]).await?;
    }
    for (i, &piece) in parts.iter().enumerate() {
        let buffers = [pieces.get(first + i)?, &scale, &packed, &error];
        let pack = PhasePack {
            piece,
            measure: true,
        };
        backend.run(&pack, &buffers).await?;
        codes.extend(backend.download(&packed, 0, piece.codes()).await?);
        add_errors(errors, &backend.download(&error, 0, 4 * piece.rows).await?);
    }
    let words = backend.download(&scale, 0, largest.scales()).await?;
    scales.extend(words.into_iter().map(f32::from_bits));
    Ok(())
}

/// The dense weight of codes, into `r`.
pub(super) async fn unpack<B: Backend>(
    backend: &B,
    packed: &Packed,
    stages: usize,
    r: &mut [f32],
) -> Result<()> {
    let (out, columns) = (packed.out_features, packed.in_features);
    let whole = Piece::whole(out, columns, packed.granularity, stages, 0);
    let row_codes = whole.codes() / whole.rows;
    let per_piece = pieces::rows_per_piece(backend, columns, true)?;
    for rows in pieces::ranges(whole.rows, per_piece) {
        let piece = Piece {
            total_rows: rows.len(),
            rows: rows.len(),
            lower_rows: lower_rows(out, &rows),
            ..whole
        };
        let scales = match packed.granularity {
            Granularity::Tensor => &packed.scales[..],
            _ => &packed.scales[rows.start * piece.scales() / rows.len()..][..piece.scales()],
        };
        let codes = &packed.codes[rows.start * row_codes..rows.end * row_codes];
        let codes = upload_new(backend, "codes", codes)?;
        let scales = upload_new(backend, "scales", bytemuck::cast_slice(scales))?;
        let dense = backend.alloc("weight", piece.reals())?;
        let op = PhaseUnpack { piece };
        backend.run(&op, &[&codes, &scales, &dense]).await?;
        let words = backend.download(&dense, 0, piece.reals()).await?;
        let (upper, lower) = words.split_at(piece.rows * columns);
        for (words, row) in [(upper, rows.start), (lower, whole.rows + rows.start)] {
            let place = &mut r[row * columns..][..words.len()];
            place.copy_from_slice(bytemuck::cast_slice(words));
        }
    }
    Ok(())
}
