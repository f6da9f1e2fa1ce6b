//! Rows of a product cut into bands that threads work on, each with its own slices of `y`.

use super::PhaseShape;
use std::ops::Range;

/// Rows of one segment, and where their results go.
pub(super) struct Band<'y> {
    /// Rows of the shard of codes.
    pub rows: Range<usize>,
    /// The segment they belong to.
    pub segment: usize,
    /// Of each token, the outputs of the real and of the imaginary half (an odd layer's last imaginary output is missing).
    pub y: Vec<[&'y mut [f32]; 2]>,
}

/// A range of a token of `y` that belongs to a band: `(first, length, band, half)`.
type Slice = (usize, usize, usize, usize);

/// Cuts the shard of `shape` into bands of at most `most` rows, none of which crosses a segment.
pub(super) fn bands<'y>(shape: &PhaseShape, most: usize, y: &'y mut [f32]) -> Vec<Band<'y>> {
    let shard = shape.first_row..shape.first_row + shape.shard_rows;
    let mut bands = Vec::new();
    let mut slices: Vec<Slice> = Vec::new();
    let (mut start, mut base) = (0, 0);
    for (segment, &outs) in shape.segments.iter().enumerate() {
        let half = outs.div_ceil(2);
        let (first, end) = (shard.start.max(start), shard.end.min(start + half));
        let ranges = (first..end).step_by(most).map(|r| r..(r + most).min(end));
        for rows in ranges {
            let (local, len) = (rows.start - start, rows.len());
            let odd_end = (half + local + len).min(outs);
            slices.push((base + local, len, bands.len(), 0));
            slices.push((base + half + local, odd_end - half - local, bands.len(), 1));
            bands.push(Band {
                rows: rows.start - shard.start..rows.end - shard.start,
                segment,
                y: Vec::with_capacity(shape.tokens),
            });
        }
        start += half;
        base += outs;
    }
    slices.sort_unstable();
    for row in y.chunks_mut(shape.outputs().max(1)).take(shape.tokens) {
        for band in &mut bands {
            band.y.push([&mut [], &mut []]);
        }
        let (mut rest, mut index) = (row, 0);
        for &(first, len, band, half) in &slices {
            let tail = rest.split_at_mut(first - index).1;
            let (here, tail) = tail.split_at_mut(len);
            if let Some(last) = bands[band].y.last_mut() {
                last[half] = here;
            }
            (rest, index) = (tail, first + len);
        }
    }
    bands
}
