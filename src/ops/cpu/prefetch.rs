//! Asking memory for what will be read soon.

/// Asks for the line of the cache that is `ahead` bytes behind the beginning of `data`, which may be anywhere. Where CPUs are
/// not asked here, nothing happens.
#[inline(always)]
pub(in crate::ops) fn prefetch<T>(data: &[T], ahead: usize) {
    #[cfg(target_arch = "x86_64")]
    #[allow(unsafe_code)]
    // SAFETY: the instruction only hints. It reads nothing that the program could see, and faults at no address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(data.as_ptr().cast::<i8>().wrapping_add(ahead));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (data, ahead);
}
