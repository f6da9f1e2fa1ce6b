//! What ranks tell each other in one call.

use super::Ranks;
use crate::error::Result;

/// The bytes of rank 0.
///
/// # Errors
/// Those of the carrier.
pub fn broadcast_bytes(ranks: &(impl Ranks + ?Sized), bytes: Vec<u8>) -> Result<Vec<u8>> {
    if ranks.size() == 1 {
        return Ok(bytes);
    }
    let mut head = apart(bytes.len() as u64);
    ranks.broadcast(0, &mut head)?;
    let length = joined(&head) as usize;
    let mut words = match ranks.rank() {
        0 => padded(&bytes),
        _ => vec![0; length.div_ceil(4)],
    };
    ranks.broadcast(0, &mut words)?;
    Ok(bytemuck::cast_slice(&words)[..length].to_vec())
}

/// Bytes as words, the last one filled up.
fn padded(bytes: &[u8]) -> Vec<u32> {
    let mut words = vec![0; bytes.len().div_ceil(4)];
    bytemuck::cast_slice_mut::<u32, u8>(&mut words)[..bytes.len()].copy_from_slice(bytes);
    words
}

/// Sends bytes to another rank, which [receives](receive_bytes) them without knowing how many there are.
///
/// # Errors
/// Those of the carrier.
pub fn send_bytes(ranks: &(impl Ranks + ?Sized), to: usize, bytes: &[u8]) -> Result<()> {
    ranks.send(to, &apart(bytes.len() as u64))?;
    ranks.send(to, &padded(bytes))
}

/// The bytes that another rank [sends](send_bytes).
///
/// # Errors
/// Those of the carrier.
pub fn receive_bytes(ranks: &(impl Ranks + ?Sized), of: usize) -> Result<Vec<u8>> {
    let mut head = [0; 2];
    ranks.receive(of, &mut head)?;
    let length = joined(&head) as usize;
    let mut words = vec![0_u32; length.div_ceil(4)];
    ranks.receive(of, &mut words)?;
    Ok(bytemuck::cast_slice(&words)[..length].to_vec())
}

/// The numbers of all ranks, in their order; rank r has `counts[r]` of them.
///
/// # Errors
/// Those of the carrier.
pub fn gather_f64(
    ranks: &(impl Ranks + ?Sized),
    mine: &[f64],
    counts: &[usize],
) -> Result<Vec<f64>> {
    let bits: Vec<u64> = mine.iter().map(|v| v.to_bits()).collect();
    let all = gather_u64(ranks, &bits, counts)?;
    Ok(all.into_iter().map(f64::from_bits).collect())
}

/// The sum of a number of every rank.
///
/// # Errors
/// Those of the carrier.
pub fn sum_u64(ranks: &(impl Ranks + ?Sized), mine: u64) -> Result<u64> {
    let all = gather_u64(ranks, &[mine], &vec![1; ranks.size()])?;
    Ok(all.iter().sum())
}

/// [`gather_f64`] of whole numbers.
fn gather_u64(ranks: &(impl Ranks + ?Sized), mine: &[u64], counts: &[usize]) -> Result<Vec<u64>> {
    let words: Vec<u32> = mine.iter().copied().flat_map(apart).collect();
    let counts: Vec<usize> = counts.iter().map(|n| 2 * n).collect();
    let mut all = vec![0; counts.iter().sum()];
    ranks.all_gather(&words, &mut all, &counts)?;
    Ok(all.as_chunks().0.iter().map(joined).collect())
}

/// The words of a number, the low one first.
fn apart(number: u64) -> [u32; 2] {
    [number as u32, (number >> 32) as u32]
}

/// The number of these words.
fn joined(&[low, high]: &[u32; 2]) -> u64 {
    u64::from(low) | u64::from(high) << 32
}
