//! Rows of a product cut into bands that threads work on, each with its own places in `y`.

use super::PhaseShape;
use std::ops::Range;

/// Rows of one segment, and where their results go.
pub(super) struct Band<'y> {
    /// Rows within the piece of codes.
    pub rows: Range<usize>,
    /// The segment they belong to.
    pub segment: usize,
    /// Per token the places of the real and the imaginary parts (an odd layer's last imaginary part is missing).
    pub y: Vec<[&'y mut [f32]; 2]>,
}

/// A part of a row of `y` that belongs to a band: `(first, length, band, part)`.
type Place = (usize, usize, usize, usize);

/// Cuts the piece of `shape` into bands of at most `most` rows, none of which crosses a segment.
pub(super) fn bands<'y>(shape: &PhaseShape, most: usize, y: &'y mut [f32]) -> Vec<Band<'y>> {
    let piece = shape.first_row..shape.first_row + shape.piece_rows;
    let mut bands = Vec::new();
    let mut places: Vec<Place> = Vec::new();
    let (mut start, mut base) = (0, 0);
    for (segment, &outs) in shape.segments.iter().enumerate() {
        let half = outs.div_ceil(2);
        let (from, to) = (piece.start.max(start), piece.end.min(start + half));
        let ranges = (from..to).step_by(most).map(|r| r..(r + most).min(to));
        for rows in ranges {
            let (local, len) = (rows.start - start, rows.len());
            let odd_end = (half + local + len).min(outs);
            places.push((base + local, len, bands.len(), 0));
            places.push((base + half + local, odd_end - half - local, bands.len(), 1));
            bands.push(Band {
                rows: rows.start - piece.start..rows.end - piece.start,
                segment,
                y: Vec::with_capacity(shape.rows),
            });
        }
        start += half;
        base += outs;
    }
    places.sort_unstable();
    for row in y.chunks_mut(shape.outputs().max(1)).take(shape.rows) {
        for band in &mut bands {
            band.y.push([&mut [], &mut []]);
        }
        let (mut rest, mut at) = (row, 0);
        for &(first, len, band, part) in &places {
            let tail = rest.split_at_mut(first - at).1;
            let (here, tail) = tail.split_at_mut(len);
            if let Some(last) = bands[band].y.last_mut() {
                last[part] = here;
            }
            (rest, at) = (tail, first + len);
        }
    }
    bands
}
