//! What buffers hold before a run of the cross-check or the bench.

/// Contents of one binding before a run.
#[derive(Debug, Clone)]
pub enum Data {
    /// These words.
    Words(Vec<u32>),
    /// A number of words, all of which the op must overwrite: they are poisoned before the run. An output of which some
    /// words stay has contents before ([`Data::Words`]).
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

/// What a binding holds before it is timed; as long as [`crate::ops::Op::lengths`] says.
#[derive(Debug, Clone)]
pub enum Made {
    /// Outputs, and inputs whose values cost nothing.
    Zeros,
    /// Uniform bits: codes, packed bytes.
    Bits,
    /// f32 of magnitudes in [1/32, 1/16) and random signs.
    Floats,
    /// Pairs of f16 of magnitudes in [1/64, 1/32) and random signs.
    Halves,
    /// These words.
    Words(Vec<u32>),
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
