//! Threads for fast host implementations, where the feature allows them and the work is worth them.

/// Calls `work(i, chunk)` for every `size` elements of `data`, on all threads there are.
pub(crate) fn each_chunk<T: Send>(
    data: &mut [T],
    size: usize,
    work: impl Fn(usize, &mut [T]) + Sync + Send,
) {
    #[cfg(feature = "threads")]
    {
        use rayon::prelude::*;
        data.par_chunks_mut(size)
            .enumerate()
            .for_each(|(i, chunk)| work(i, chunk));
    }
    #[cfg(not(feature = "threads"))]
    for (i, chunk) in data.chunks_mut(size).enumerate() {
        work(i, chunk);
    }
}

/// Calls `work(i, chunk of a, chunk of b)` for chunks of two slices, of the sizes beside them, on all threads.
pub(in crate::ops) fn each_pair<A: Send, B: Send>(
    a: (&mut [A], usize),
    b: (&mut [B], usize),
    work: impl Fn(usize, &mut [A], &mut [B]) + Sync + Send,
) {
    #[cfg(feature = "threads")]
    {
        use rayon::prelude::*;
        let chunks = a.0.par_chunks_mut(a.1).zip(b.0.par_chunks_mut(b.1));
        chunks.enumerate().for_each(|(i, (a, b))| work(i, a, b));
    }
    #[cfg(not(feature = "threads"))]
    for (i, (a, b)) in a.0.chunks_mut(a.1).zip(b.0.chunks_mut(b.1)).enumerate() {
        work(i, a, b);
    }
}

/// Threads that share work.
pub(in crate::ops) fn threads() -> usize {
    #[cfg(feature = "threads")]
    return rayon::current_num_threads();
    #[cfg(not(feature = "threads"))]
    1
}

/// Least work, in nanoseconds of one thread, that is shared: helpers that wait for it begin within about a microsecond.
const WORTH: usize = 8_000;

/// Least work, in nanoseconds, that a thread should take at a time.
const SHARE: usize = 3_000;

/// The number of blocks that work of a duration should be cut into: one if sharing it does not pay, else a few for
/// each thread, so that a late one costs little.
pub(in crate::ops) fn pieces(nanoseconds: usize) -> usize {
    if nanoseconds < WORTH || threads() == 1 {
        return 1;
    }
    (nanoseconds / SHARE).clamp(1, 4 * threads())
}

/// Calls `work` with every item; the calling thread works too, others help where there are several items.
pub(in crate::ops) fn each<T: Send>(items: Vec<T>, work: impl Fn(T) + Sync + Send) {
    #[cfg(feature = "threads")]
    if items.len() > 1 && threads() > 1 {
        use std::sync::{Mutex, PoisonError};
        let helpers = threads().min(items.len()) - 1;
        let queue = Mutex::new(items.into_iter());
        super::team::Team::of(threads()).run(helpers, &|| {
            loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some(item) = next else { break };
                work(item);
            }
        });
        return;
    }
    items.into_iter().for_each(work);
}

/// Calls `work` with every item, on as many threads as pays; an item takes about `nanoseconds`.
pub(in crate::ops) fn each_worth<T: Send>(
    mut items: Vec<T>,
    nanoseconds: usize,
    work: impl Fn(T) + Sync + Send,
) {
    let size = items
        .len()
        .div_ceil(pieces(items.len() * nanoseconds))
        .max(1);
    let mut all = Vec::new();
    while items.len() > size {
        all.push(items.split_off(items.len() - size));
    }
    all.push(items);
    each(all, |block| block.into_iter().for_each(&work));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_done_once() {
        for len in [0, 1, 2, 7, 1000] {
            for nanoseconds in [0, 1, 100, 10_000_000] {
                let mut data = vec![0; len];
                each_worth(data.iter_mut().collect(), nanoseconds, |d| *d += 1);
                assert!(data.iter().all(|&d| d == 1), "{len}, {nanoseconds}");
            }
        }
    }

    #[test]
    fn chunks_are_all_visited() {
        let mut data = vec![0; 103];
        each_chunk(&mut data, 10, |i, chunk| chunk.fill(i + 1));
        assert!(data.iter().enumerate().all(|(i, &v)| v == i / 10 + 1));
    }
}
