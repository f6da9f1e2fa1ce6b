//! Norm and largest magnitude of a gradient.

use crate::ops::*;

mod cases;

/// Most chunks that [`GradNorm`] cuts a tensor into.
const MOST_CHUNKS: usize = 528;
/// Fewest values of a chunk, unless the tensor has fewer.
const LEAST_CHUNK: usize = 4096;
/// The size of all chunks but the last is a multiple of this.
const CHUNK_STEP: usize = 1024;

/// Sum of squares and largest magnitude of every chunk of a tensor: partial results, which the host adds up in their
/// order and in f64. A magnitude whose bits are beyond `0x7f7f_ffff` tells that the chunk holds an infinity or a NaN.
///
/// Bindings: `x` `[n]` f32; `squares` f32 and `largest` u32 (bits of a magnitude), [offset + partials] each.
#[derive(Debug, Clone)]
pub struct GradNorm {
    /// Values.
    pub n: usize,
    /// Index of the first chunk's results.
    pub offset: usize,
}

params! {
    /// Uniform block of [`GradNorm`].
    pub struct GradNormParams {
        n: u32,
        chunk: u32,
        partials: u32,
        offset: u32,
    }
}

impl GradNorm {
    fn chunk(&self) -> usize {
        let even = self.n.div_ceil(MOST_CHUNKS).max(LEAST_CHUNK);
        even.next_multiple_of(CHUNK_STEP)
    }

    /// Results, one for each chunk of the tensor.
    pub fn partials(&self) -> usize {
        self.n.div_ceil(self.chunk())
    }
}

impl Op for GradNorm {
    const NAME: &'static str = "grad_norm";
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, train / "grad_norm", "reduce")];
    const BINDINGS: &'static [Binding] = &[
        read("x", Elem::F32),
        write("squares", Elem::F32),
        write("largest", Elem::U32),
    ];
    // positive terms: chains of chunk / 1024 roundings, then 10
    const AGREE: Agree = Agree::Nmse(1e-11);
    type Params = GradNormParams;

    fn shape(&self) -> String {
        format!("n={},offset={}", self.n, self.offset)
    }

    fn params(&self) -> GradNormParams {
        GradNormParams {
            n: self.n as u32,
            chunk: self.chunk() as u32,
            partials: self.partials() as u32,
            offset: self.offset as u32,
        }
    }

    fn prelude(&self) -> &'static str {
        if self.n.is_multiple_of(4) {
            include_str!("../../../../shaders/lib/words_four.wgsl")
        } else {
            include_str!("../../../../shaders/lib/words_any.wgsl")
        }
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: self.partials() as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        let results = self.offset + self.partials();
        vec![self.n, results, results]
    }

    fn cost(&self) -> Cost {
        Cost {
            bytes: 4.0 * self.n as f64,
            ops: 3.0 * self.n as f64,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (x, squares): (&[f32], &mut [f32]) = (b.read(0), b.write(1));
        let largest: &mut [u32] = b.write(2);
        for (i, chunk) in x[..self.n].chunks(self.chunk()).enumerate() {
            let sum: f64 = chunk.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
            squares[self.offset + i] = sum as f32;
            let bits = chunk.iter().map(|v| v.to_bits() & 0x7fff_ffff);
            largest[self.offset + i] = bits.max().unwrap_or(0);
        }
    }

    fn cases() -> Vec<Case<Self>> {
        cases::cases()
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        cases::bench_cases()
    }
}
