//! Reproducible noise made on the device: synthetic weights for benchmarks.

use super::cases;
use crate::ops::*;

/// Fills a buffer: `y[i] = (hash32(i, seed) & keep) | put`.
///
/// Bindings: `y` `[words]` u32.
#[derive(Debug, Clone)]
pub struct Noise {
    /// Words to fill.
    pub words: usize,
    /// Seed of the noise.
    pub seed: u32,
    /// Mask of the bits that are noise.
    pub keep: u32,
    /// Bits that are set in every word.
    pub put: u32,
}

impl Noise {
    /// The op that fills a buffer of `words` as the bench wants it; `None` for contents that are not noise.
    pub fn made(made: &Made, words: usize, seed: u32) -> Option<Self> {
        match made {
            Made::Zeros | Made::Words(_) => None,
            Made::Bits => Some(Self::bits(words, seed)),
            Made::Halves => Some(Self::halves(words, seed)),
            Made::Floats => Some(Self {
                words,
                seed,
                keep: 0x807f_ffff,
                put: 0x3d00_0000,
            }),
        }
    }

    /// Uniform bits.
    pub fn bits(words: usize, seed: u32) -> Self {
        Self {
            words,
            seed,
            keep: u32::MAX,
            put: 0,
        }
    }

    /// Pairs of f16 with magnitudes in [1/64, 1/32) and random signs.
    pub fn halves(words: usize, seed: u32) -> Self {
        Self {
            words,
            seed,
            keep: 0x83ff_83ff,
            put: 0x2400_2400,
        }
    }
}

params! {
    /// Uniform block of [`Noise`].
    pub struct NoiseParams {
        words: u32,
        seed: u32,
        keep: u32,
        put: u32,
    }
}

/// Words one workgroup fills.
const EACH: usize = 256 * 16;

impl Op for Noise {
    const NAME: &'static str = "noise";
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, memory / "noise", "hash")];
    const BINDINGS: &'static [Binding] = &[write("y", Elem::U32)];
    const AGREE: Agree = Agree::Bits;
    type Params = NoiseParams;

    fn shape(&self) -> String {
        format!(
            "words={},seed={},keep={:#x},put={:#x}",
            self.words, self.seed, self.keep, self.put
        )
    }

    fn params(&self) -> NoiseParams {
        NoiseParams {
            words: self.words as u32,
            seed: self.seed,
            keep: self.keep,
            put: self.put,
        }
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: self.words.div_ceil(EACH) as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        vec![self.words]
    }

    fn cost(&self) -> Cost {
        Cost {
            bytes: 4.0 * self.words as f64,
            ops: 10.0 * self.words as f64,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let y: &mut [u32] = b.write(0);
        for (i, y) in y[..self.words].iter_mut().enumerate() {
            *y = hash32(i as u32, self.seed) & self.keep | self.put;
        }
    }

    fn cases() -> Vec<Case<Self>> {
        cases::noise()
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        cases::bench_noise()
    }
}
