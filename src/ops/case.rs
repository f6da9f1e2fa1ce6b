//! Inputs for the cross-check and the bench.

use super::Op;

/// Contents of one binding before a run.
#[derive(Debug, Clone)]
pub enum Data {
    /// These words.
    Words(Vec<u32>),
    /// So many words that the op must overwrite: poisoned before the run.
    Out(usize),
}

impl Data {
    /// f32 values.
    pub fn f32(values: &[f32]) -> Self {
        Self::Words(bytemuck::cast_slice(values).to_vec())
    }

    /// Integers.
    pub fn u32(values: &[u32]) -> Self {
        Self::Words(values.to_vec())
    }
}

/// One op with inputs.
#[derive(Debug, Clone)]
pub struct Case<O: Op> {
    /// What is special about it.
    pub name: String,
    /// The op with its shapes.
    pub op: O,
    /// One entry per binding.
    pub data: Vec<Data>,
}

impl<O: Op> Case<O> {
    /// A case; `data` in the order of the op's bindings.
    pub fn new(name: impl Into<String>, op: O, data: Vec<Data>) -> Self {
        Self {
            name: name.into(),
            op,
            data,
        }
    }
}

/// The hash that the golden fixtures are filled with, so that every test can make the same numbers.
pub fn hash32(index: u32, seed: u32) -> u32 {
    let mut x = index
        .wrapping_mul(0x9E37_79B1)
        .wrapping_add(seed.wrapping_mul(0x85EB_CA6B));
    x ^= x >> 16;
    x = x.wrapping_mul(0x7FEB_352D);
    x ^= x >> 15;
    x = x.wrapping_mul(0x846C_A68B);
    x ^ x >> 16
}

/// `len` values uniform in `[-amplitude, amplitude)`.
pub fn noise(seed: u32, len: usize, amplitude: f32) -> Vec<f32> {
    (0..len as u32)
        .map(|i| ((hash32(i, seed) >> 8) as f32 / 16_777_216.0 - 0.5) * (2.0 * amplitude))
        .collect()
}

/// `len` uniform 32-bit words.
pub fn noise_u32(seed: u32, len: usize) -> Vec<u32> {
    (0..len as u32).map(|i| hash32(i, seed)).collect()
}
