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
    /// Where outputs come in runs, the first slice has whole runs with both halves, and the second is empty.
    pub y: Vec<[&'y mut [f32]; 2]>,
    /// Rows of a run, or 0.
    run: usize,
    /// Rows of the first run before the band.
    before: usize,
}

/// A range of a token of `y` that belongs to a band: `(first, length, band, half)`.
type Slice = (usize, usize, usize, usize);

impl Band<'_> {
    /// Calls `put` with the outputs of rows from `first_row` on, counted from the band's first one, and their `values`; a few
    /// at a time where outputs come in runs. The outputs may be more than the values, and one less at an odd layer's end.
    #[inline(always)]
    pub(super) fn each_slice(
        &mut self,
        token: usize,
        half: usize,
        first_row: usize,
        values: &[f32],
        mut put: impl FnMut(&mut [f32], &[f32]),
    ) {
        if self.run == 0 {
            return put(&mut self.y[token][half][first_row..], values);
        }
        let (run, mut rest) = (self.run, values);
        let mut row = self.before + first_row;
        while !rest.is_empty() {
            let (values, others) = rest.split_at(rest.len().min(run - row % run));
            // a run of real parts and one of imaginary parts for every run of rows
            let first = row + (row / run + half) * run;
            put(&mut self.y[token][0][first..], values);
            row += values.len();
            rest = others;
        }
    }
}

/// Cuts the shard of `shape` into bands of at most `most` rows, none of which crosses a segment. Where outputs come in runs,
/// `most` is a multiple of them.
pub(super) fn bands<'y>(shape: &PhaseShape, most: usize, y: &'y mut [f32]) -> Vec<Band<'y>> {
    let (mut bands, mut slices) = (Vec::new(), Vec::new());
    let (mut start, mut base) = (0, 0);
    for (segment, &outs) in shape.segments.iter().enumerate() {
        for rows in ranges(shape, most, start..start + outs.div_ceil(2)) {
            let run = shape.half_run;
            let before = (rows.start - start).checked_rem(run).unwrap_or(0);
            let local = rows.start - start..rows.end - start;
            slices.extend(
                slices_of(outs, run, local)
                    .map(|(first, len, half)| (base + first, len, bands.len(), half)),
            );
            bands.push(Band {
                rows: rows.start - shape.first_row..rows.end - shape.first_row,
                segment,
                y: Vec::with_capacity(shape.tokens),
                run,
                before,
            });
        }
        start += outs.div_ceil(2);
        base += outs;
    }
    slices.sort_unstable();
    for row in y.chunks_mut(shape.outputs().max(1)).take(shape.tokens) {
        give(row, &slices, &mut bands);
    }
    bands
}

/// Cuts the rows of the shard that a segment with these rows has. Bands end where runs do, so that no two of them share one.
fn ranges(
    shape: &PhaseShape,
    most: usize,
    segment: Range<usize>,
) -> impl Iterator<Item = Range<usize>> {
    let first = segment.start.max(shape.first_row);
    let end = segment.end.min(shape.first_row + shape.shard_rows);
    let before = (first - segment.start).checked_rem(shape.half_run);
    (first - before.unwrap_or(0)..end)
        .step_by(most)
        .map(move |from| from.max(first)..(from + most).min(end))
}

/// `(first, length, half)` of the outputs of rows of a segment with `outs` outputs.
fn slices_of(
    outs: usize,
    run: usize,
    rows: Range<usize>,
) -> impl Iterator<Item = (usize, usize, usize)> {
    let half = outs.div_ceil(2);
    let imaginary_end = (half + rows.end).min(outs);
    let slices = match rows.start.checked_div(run) {
        None => {
            let imaginary = half + rows.start;
            [
                Some((rows.start, rows.len(), 0)),
                Some((imaginary, imaginary_end - imaginary, 1)),
            ]
        }
        Some(first) => {
            let runs = rows.end.div_ceil(run) - first;
            [Some((2 * run * first, 2 * run * runs, 0)), None]
        }
    };
    slices.into_iter().flatten()
}

/// Gives every band its slices of a token.
fn give<'y>(token: &'y mut [f32], slices: &[Slice], bands: &mut [Band<'y>]) {
    for band in &mut *bands {
        band.y.push([&mut [], &mut []]);
    }
    let (mut rest, mut index) = (token, 0);
    for &(first, len, band, half) in slices {
        let tail = rest.split_at_mut(first - index).1;
        let (here, tail) = tail.split_at_mut(len);
        if let Some(last) = bands[band].y.last_mut() {
            last[half] = here;
        }
        (rest, index) = (tail, first + len);
    }
}
