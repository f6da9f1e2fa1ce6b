//! Rows shared out to threads, with results that do not depend on how many threads there are.

use std::ops::Range;

/// Elements of one chunk of rows: enough work for a thread to be worth waking.
const CHUNK: usize = 1 << 16;

/// Results of `work` for chunks of `rows` rows of `columns` elements each, in their order. Where the chunks are cut
/// depends on the shape alone, so that sums over them have the same bits on every machine.
pub(super) fn map_rows<T: Send>(
    rows: usize,
    columns: usize,
    work: impl Fn(Range<usize>) -> T + Sync + Send,
) -> Vec<T> {
    let size = (CHUNK / columns.max(1)).max(1);
    let chunk = |i: usize| work(i * size..rows.min((i + 1) * size));
    let chunks = 0..rows.div_ceil(size);
    #[cfg(feature = "threads")]
    {
        use rayon::prelude::*;
        chunks.into_par_iter().map(chunk).collect()
    }
    #[cfg(not(feature = "threads"))]
    chunks.map(chunk).collect()
}

/// Calls `work` with chunks of whole rows of `data`, in place; results in their order.
pub(super) fn map_rows_mut<D: Send, T: Send>(
    data: &mut [D],
    columns: usize,
    work: impl Fn(usize, &mut [D]) -> T + Sync + Send,
) -> Vec<T> {
    let size = (CHUNK / columns.max(1)).max(1);
    let chunk = |(i, chunk): (usize, &mut [D])| work(i * size, chunk);
    #[cfg(feature = "threads")]
    {
        use rayon::prelude::*;
        let chunks = data.par_chunks_mut(size * columns.max(1));
        chunks.enumerate().map(chunk).collect()
    }
    #[cfg(not(feature = "threads"))]
    data.chunks_mut(size * columns.max(1))
        .enumerate()
        .map(chunk)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_visited_once_and_in_order() {
        for (rows, columns) in [(0, 5), (1, 1), (7, 100_000), (1000, 130)] {
            let seen: Vec<usize> = map_rows(rows, columns, |r| r.collect::<Vec<_>>()).concat();
            assert_eq!(seen, (0..rows).collect::<Vec<_>>(), "{rows} x {columns}");
            let mut data = vec![0usize; rows * columns];
            let firsts = map_rows_mut(&mut data, columns, |first, chunk| {
                for (i, row) in chunk.chunks_mut(columns).enumerate() {
                    row.fill(first + i + 1);
                }
                first
            });
            assert!(firsts.is_sorted());
            let right = data.iter().enumerate().all(|(i, &v)| v == i / columns + 1);
            assert!(right, "{rows} x {columns}");
        }
    }
}
