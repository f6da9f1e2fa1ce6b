//! Sizes of device memory: sums that do not overflow, and whether a device has room for them.

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::units::memory as size;

/// The product of sizes; `usize::MAX`, which no device has, where it is larger.
pub(crate) fn product(factors: &[usize]) -> usize {
    factors.iter().fold(1, |all, &n| all.saturating_mul(n))
}

/// The sum of sizes; `usize::MAX`, which no device has, where it is larger.
pub(crate) fn sum(terms: impl IntoIterator<Item = usize>) -> usize {
    terms.into_iter().fold(0, usize::saturating_add)
}

/// What to do where memory does not suffice.
pub(crate) const HINT: &str = "take a shorter context, smaller batches or another device";

/// Refuses what `backend` has no room for: `items` are names and bytes.
pub(crate) fn check<B: Backend>(
    backend: &B,
    what: &str,
    items: &[(&str, usize)],
    hint: &str,
) -> Result<()> {
    let needed = sum(items.iter().map(|p| p.1)) as u64;
    match backend.available() {
        Some(left) if needed > left => Err(Error::device(
            format!(
                "{what} needs {} ({needed} bytes: {}), {} has {} ({left} bytes) left",
                size(needed),
                list(items),
                backend.name(),
                size(left),
            ),
            hint,
        )),
        _ => Ok(()),
    }
}

/// `weights 12.0 MiB, KV cache 3 GiB`: the items that are not 0, for a message.
fn list(items: &[(&str, usize)]) -> String {
    let taken = items.iter().filter(|p| p.1 > 0);
    let words: Vec<_> = taken
        .map(|(name, bytes)| format!("{name} {}", size(*bytes as u64)))
        .collect();
    words.join(", ")
}
