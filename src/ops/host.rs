//! What fast host implementations share: threads where the feature allows, loops the compiler vectorizes.

/// Lanes of a dot product: enough independent sums for any vector unit.
const LANES: usize = 16;

/// `sum a[i] b[i]` in f32, always in the same order.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; LANES];
    let (a, b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest = a.remainder().iter().zip(b.remainder());
    let rest: f32 = rest.map(|(a, b)| a * b).sum();
    for (a, b) in a.zip(b) {
        for i in 0..LANES {
            sums[i] += a[i] * b[i];
        }
    }
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            sums[i] += sums[i + half];
        }
    }
    sums[0] + rest
}

/// Calls `work(i, chunk)` for every `size` elements of `data`, on all threads there are.
pub(super) fn each_chunk<T: Send>(
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
pub(super) fn each_pair<A: Send, B: Send>(
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

/// Pieces into which so much work should be cut: one if waking a thread for `worth` of it does not pay, and a few
/// per thread so that a late one costs little.
pub(super) fn pieces(work: usize, worth: usize) -> usize {
    #[cfg(feature = "threads")]
    let most = 4 * rayon::current_num_threads();
    #[cfg(not(feature = "threads"))]
    let most = 1;
    (work / worth.max(1)).clamp(1, most.max(1))
}

/// Calls `work` with every item; the calling thread works too, others help where there are several items.
pub(super) fn each<T: Send>(items: Vec<T>, work: impl Fn(T) + Sync + Send) {
    #[cfg(feature = "threads")]
    if items.len() > 1 {
        use std::sync::{Mutex, PoisonError};
        let helpers = rayon::current_num_threads().min(items.len()) - 1;
        let queue = Mutex::new(items.into_iter());
        let run = || loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(item) = next else { break };
            work(item);
        };
        rayon::in_place_scope(|scope| {
            for _ in 0..helpers {
                scope.spawn(|_| run());
            }
            run();
        });
        return;
    }
    items.into_iter().for_each(work);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dot_of_any_length_is_a_dot() {
        for len in 0..70 {
            let a: Vec<f32> = (0..len).map(|i| (i % 7) as f32 - 3.0).collect();
            let expected: f32 = a.iter().map(|v| v * (v + 1.0)).sum();
            let b: Vec<f32> = a.iter().map(|v| v + 1.0).collect();
            assert_eq!(dot(&a, &b), expected, "{len}");
        }
    }

    #[test]
    fn chunks_are_all_visited() {
        let mut data = vec![0; 103];
        each_chunk(&mut data, 10, |i, chunk| chunk.fill(i + 1));
        assert!(data.iter().enumerate().all(|(i, &v)| v == i / 10 + 1));
    }
}
