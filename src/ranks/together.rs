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
    let length = bytes.len() as u64;
    let mut head = [length as u32, (length >> 32) as u32];
    ranks.broadcast(0, &mut head)?;
    let length = (u64::from(head[0]) | u64::from(head[1]) << 32) as usize;
    let mut words: Vec<u32> = vec![0; length.div_ceil(4)];
    if ranks.rank() == 0 {
        bytemuck::cast_slice_mut::<u32, u8>(&mut words)[..length].copy_from_slice(&bytes);
    }
    ranks.broadcast(0, &mut words)?;
    let all: &[u8] = bytemuck::cast_slice(&words);
    Ok(all[..length].to_vec())
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
    let bits = |v: &f64| {
        let bits = v.to_bits();
        [bits as u32, (bits >> 32) as u32]
    };
    let words: Vec<u32> = mine.iter().flat_map(bits).collect();
    let counts: Vec<usize> = counts.iter().map(|n| 2 * n).collect();
    let mut all = vec![0; counts.iter().sum()];
    ranks.all_gather(&words, &mut all, &counts)?;
    let (pairs, _) = all.as_chunks::<2>();
    let number = |&[low, high]: &[u32; 2]| f64::from_bits(u64::from(low) | u64::from(high) << 32);
    Ok(pairs.iter().map(number).collect())
}

/// The sum of a number of every rank.
///
/// # Errors
/// Those of the carrier.
pub fn sum_u64(ranks: &(impl Ranks + ?Sized), mine: u64) -> Result<u64> {
    let counts = vec![2; ranks.size()];
    let mut all = vec![0; 2 * ranks.size()];
    ranks.all_gather(&[mine as u32, (mine >> 32) as u32], &mut all, &counts)?;
    let (pairs, _) = all.as_chunks::<2>();
    let number = |&[low, high]: &[u32; 2]| u64::from(low) | u64::from(high) << 32;
    Ok(pairs.iter().map(number).sum())
}
