//! Binary and ternary weights, piece by piece.

use super::pieces::{self, Pieces};
use super::{Method, Packed, Quantized, Shape, add_errors};
use crate::backend::{Backend, upload_new};
use crate::error::Result;
use crate::ops::quantize::{BaselineMean, BaselinePack, BaselineSum, BaselineUnpack, Rows};
use std::ops::Range;

/// Quantizes a weight to two or three values.
pub(super) async fn pack<B: Backend>(
    backend: &B,
    r: &[f32],
    shape: Shape,
    ternary: bool,
) -> Result<Quantized> {
    let (out, columns) = (shape.out_features, shape.in_features);
    let mut pieces = Pieces::new(backend, r, out, columns, false)?;
    let whole = Rows::whole(ternary, out, columns, shape.exponent);
    let piece_of = |rows: Range<usize>| Rows {
        first_row: rows.start,
        rows: rows.len(),
        ..whole
    };
    let largest = piece_of(pieces.rows(0));
    let sums = backend.alloc("sums", 4 * out)?;
    let stats = backend.alloc("stats", 2)?;
    let packed = backend.alloc("codes", largest.rows * largest.words())?;
    let error = backend.alloc("errors", 4 * largest.rows)?;
    for i in 0..pieces.len() {
        let op = BaselineSum(piece_of(pieces.rows(i)));
        backend.run(&op, &[pieces.get(i)?, &sums]).await?;
    }
    backend.run(&BaselineMean(whole), &[&sums, &stats]).await?;
    let (mut codes, mut errors) = (Vec::new(), [0.0; 2]);
    for i in 0..pieces.len() {
        let piece = piece_of(pieces.rows(i));
        let buffers = [pieces.get(i)?, &stats, &packed, &error];
        backend.run(&BaselinePack(piece), &buffers).await?;
        let words = piece.rows * piece.words();
        codes.extend(backend.download(&packed, 0, words).await?);
        add_errors(
            &mut errors,
            &backend.download(&error, 0, 4 * piece.rows).await?,
        );
    }
    let scale = f32::from_bits(backend.download(&stats, 0, 1).await?[0]);
    Ok((codes, vec![scale], errors))
}

/// The dense weight of codes, into `r`.
pub(super) async fn unpack<B: Backend>(backend: &B, packed: &Packed, r: &mut [f32]) -> Result<()> {
    let (out, columns) = (packed.out_features, packed.in_features);
    let whole = Rows::whole(packed.method == Method::Ternary, out, columns, 0);
    let scale = upload_new(backend, "scales", bytemuck::cast_slice(&packed.scales))?;
    let per_piece = pieces::rows_per_piece(backend, columns, false)?;
    for rows in pieces::ranges(out, per_piece) {
        let piece = Rows {
            rows: rows.len(),
            ..whole
        };
        let codes = &packed.codes[rows.start * whole.words()..rows.end * whole.words()];
        let codes = upload_new(backend, "codes", codes)?;
        let dense = backend.alloc("weight", piece.reals())?;
        let op = BaselineUnpack(piece);
        backend.run(&op, &[&codes, &scale, &dense]).await?;
        let words = backend.download(&dense, 0, piece.reals()).await?;
        let place = &mut r[rows.start * columns..rows.end * columns];
        place.copy_from_slice(bytemuck::cast_slice(&words));
    }
    Ok(())
}
