//! The complex weight of a layer `y = W conj(x)` to its real matrix.

use super::conjugate_weight::{ConjugateWeight, ConjugateWeightParams};
use crate::ops::bench;
use crate::ops::*;
use half::f16;

/// Elements that R can have.
const DTYPES: [MatrixDtype; 2] = [MatrixDtype::F32, MatrixDtype::F16];

/// A stored weight W to `R = (Re W, Im W; Im W, -Re W)`, rows in the order of the layer's outputs. [`super::ConjugateFold`] is
/// the adjoint.
///
/// Bindings: `w` [2 (re, im), n, m] f32; `r` [2 n, 2 m] f32 or f16 without padding, where n and m are the complex rows and
/// columns. In f32 bits are copied, and a sign is changed.
#[derive(Debug, Clone)]
pub struct ConjugateExpand {
    /// Sizes of W, and the order of the rows of R.
    pub weight: ConjugateWeight,
    /// Elements of `r`: [`MatrixDtype::F32`] or [`MatrixDtype::F16`].
    pub dtype: MatrixDtype,
}

impl ConjugateExpand {
    /// Writes R, whose elements are `element` of those of W, negated where the flag says so.
    fn expand<T: Send>(
        &self,
        (w, r): (&[f32], &mut [T]),
        element: impl Fn(f32, bool) -> T + Sync + Send,
    ) {
        let m = self.weight.columns;
        let (re, im) = w[..2 * self.weight.len()].split_at(self.weight.len());
        let mut rows = Vec::with_capacity(self.weight.rows);
        let run = self.weight.run();
        for run_of_r in r[..4 * self.weight.len()].chunks_mut(4 * run * m) {
            let (real, imaginary) = run_of_r.split_at_mut(2 * run * m);
            rows.extend(real.chunks_mut(2 * m).zip(imaginary.chunks_mut(2 * m)));
        }
        let sources = re.chunks(m).zip(im.chunks(m));
        let items = rows.into_iter().zip(sources).collect();
        cpu::each_worth(items, 4 * m, |((real, imaginary), (re, im))| {
            for c in 0..m {
                real[c] = element(re[c], false);
                real[m + c] = element(im[c], false);
                imaginary[c] = element(im[c], false);
                imaginary[m + c] = element(re[c], true);
            }
        });
    }
}

impl Op for ConjugateExpand {
    const NAME: &'static str = "conjugate_expand";
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, quantize / "conjugate_expand")];
    const BINDINGS: &'static [Binding] = &[read("w", Elem::F32), write("r", Elem::F32)];
    const AGREE: Agree = Agree::Bits;
    type Params = ConjugateWeightParams;

    fn agree(&self) -> Agree {
        match self.dtype {
            MatrixDtype::F32 => Self::AGREE,
            // devices may round to either neighbour, which is off by at most 2^-11 of a value
            _ => Agree::Nmse(1.2e-7),
        }
    }

    fn elem(&self, binding: usize) -> Elem {
        match (binding, self.dtype) {
            (1, MatrixDtype::F16) => Elem::F16x2,
            _ => Elem::F32,
        }
    }

    fn shape(&self) -> String {
        format!("{},dtype={}", self.weight.shape(), self.dtype)
    }

    fn params(&self) -> ConjugateWeightParams {
        debug_assert!(self.dtype != MatrixDtype::Bf16, "{}", self.shape());
        self.weight.params()
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        vec![("ELEM", self.dtype.code())]
    }

    fn grid(&self) -> Grid {
        Grid::element_wise(self.weight.len())
    }

    fn lengths(&self) -> Vec<usize> {
        let complex = self.weight.len();
        vec![2 * complex, self.dtype.words(4 * complex)]
    }

    fn cost(&self) -> Cost {
        let words: usize = self.lengths().iter().sum();
        Cost {
            bytes: 4.0 * words as f64,
            ops: 0.0,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let ConjugateWeight { rows, columns, .. } = self.weight;
        let w: &[f32] = b.read(0);
        let mut r = vec![0.0; 4 * self.weight.len()];
        for row in 0..rows {
            let [real, imaginary] = self.weight.real_rows(row);
            for c in 0..columns {
                let (re, im) = (w[row * columns + c], w[(rows + row) * columns + c]);
                r[real * 2 * columns + c] = re;
                r[real * 2 * columns + columns + c] = im;
                r[imaginary * 2 * columns + c] = im;
                r[imaginary * 2 * columns + columns + c] = -re;
            }
        }
        let words: &mut [u32] = b.write(1);
        let encoded = self.dtype.encode(&r);
        words[..encoded.len()].copy_from_slice(&encoded);
    }

    fn host(&self, b: &mut Bindings<'_>) {
        let w = b.read(0);
        let negated = |v: f32, negate: bool| if negate { -v } else { v };
        match self.dtype {
            MatrixDtype::F16 => {
                let r: &mut [u16] = b.write(1);
                self.expand((w, r), |v, negate| {
                    f16::from_f32(negated(v, negate)).to_bits()
                });
            }
            _ => self.expand((w, b.write(1)), negated),
        }
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        let data = [Made::Floats, Made::Zeros];
        let each = |weight| DTYPES.map(|dtype| bench::case("", Self { weight, dtype }, &data));
        let samples = ConjugateWeight::bench_samples();
        samples.into_iter().flat_map(each).collect()
    }

    fn cases() -> Vec<Case<Self>> {
        let mut all = Vec::new();
        for (seed, weight) in ConjugateWeight::samples().into_iter().enumerate() {
            for dtype in DTYPES {
                let op = Self { weight, dtype };
                let [w, r] = op.lengths()[..] else {
                    unreachable!("two bindings")
                };
                let values = match dtype {
                    MatrixDtype::F32 => ConjugateWeight::values(seed as u32, w),
                    // subnormals of f16 are the device's affair
                    _ => noise(seed as u32, w, 0.1),
                };
                all.push(Case::new("", op, vec![Data::f32(&values), Data::Out(r)]));
            }
        }
        all
    }
}
