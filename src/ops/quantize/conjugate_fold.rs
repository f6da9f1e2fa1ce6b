//! The gradient of a real matrix to that of the complex weight it was made of.

use super::conjugate_weight::{ConjugateWeight, ConjugateWeightParams};
use super::flush;
use crate::ops::bench;
use crate::ops::*;

/// A gradient by `R = (R11, R12; R21, R22)` to the gradient by the stored weight W that R is made of:
/// `dRe = dR11 - dR22`, `dIm = dR12 + dR21`. It is the adjoint of [`super::ConjugateExpand`].
///
/// Every element is one addition, rounded once, and another one where gradients are gathered. Subnormal values count as 0.
///
/// Bindings: `dr` [2 n, 2 m] f32, rows in the order of the layer's outputs; `dw` [2 (re, im), n, m] f32, where n and m are
/// the complex rows and columns.
#[derive(Debug, Clone)]
pub struct ConjugateFold {
    /// Sizes of W, and the order of the rows of R.
    pub weight: ConjugateWeight,
    /// Add to `dw` instead of overwriting it.
    pub accumulate: bool,
}

impl ConjugateFold {
    /// What complex weight (row, c) gets, real and imaginary part.
    fn fold(&self, dr: &[f32], row: usize, c: usize) -> [f32; 2] {
        let m = self.weight.columns;
        let [real, imaginary] = self.weight.real_rows(row).map(|row| row * 2 * m);
        let at = |index: usize| flush(dr[index]);
        [
            flush(at(real + c) - at(imaginary + m + c)),
            flush(at(real + m + c) + at(imaginary + c)),
        ]
    }

    /// `dw` after `value` has come.
    fn gather(&self, dw: &mut f32, value: f32) {
        *dw = match self.accumulate {
            true => flush(flush(*dw) + value),
            false => value,
        };
    }
}

impl Op for ConjugateFold {
    const NAME: &'static str = "conjugate_fold";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        quantize / "conjugate_fold",
        "widely_linear"
    )];
    const BINDINGS: &'static [Binding] = &[read("dr", Elem::F32), write("dw", Elem::F32)];
    const AGREE: Agree = Agree::Bits;
    type Params = ConjugateWeightParams;

    fn shape(&self) -> String {
        let mut shape = self.weight.shape();
        if self.accumulate {
            shape += ",accumulate=1";
        }
        shape
    }

    fn params(&self) -> ConjugateWeightParams {
        self.weight.params()
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        vec![("ACCUMULATE", self.accumulate.into())]
    }

    fn grid(&self) -> Grid {
        Grid::element_wise(self.weight.len())
    }

    fn lengths(&self) -> Vec<usize> {
        let complex = self.weight.len();
        vec![4 * complex, 2 * complex]
    }

    fn cost(&self) -> Cost {
        let complex = self.weight.len() as f64;
        let again = if self.accumulate { 2.0 } else { 0.0 };
        Cost {
            bytes: (24.0 + 4.0 * again) * complex,
            ops: (2.0 + again) * complex,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let ConjugateWeight { rows, columns, .. } = self.weight;
        let (dr, dw): (&[f32], &mut [f32]) = (b.read(0), b.write(1));
        for row in 0..rows {
            for c in 0..columns {
                let [re, im] = self.fold(dr, row, c);
                self.gather(&mut dw[row * columns + c], re);
                self.gather(&mut dw[(rows + row) * columns + c], im);
            }
        }
    }

    fn host(&self, b: &mut Bindings<'_>) {
        let m = self.weight.columns;
        let (dr, dw): (&[f32], &mut [f32]) = (b.read(0), b.write(1));
        let (re, im) = dw[..2 * self.weight.len()].split_at_mut(self.weight.len());
        let rows = re.chunks_mut(m).zip(im.chunks_mut(m)).enumerate().collect();
        cpu::each_worth(rows, 4 * m, |(row, (re, im))| {
            for (c, (re, im)) in re.iter_mut().zip(im).enumerate() {
                let values = self.fold(dr, row, c);
                self.gather(re, values[0]);
                self.gather(im, values[1]);
            }
        });
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        let data = [Made::Floats, Made::Zeros];
        let each = |weight| {
            [false, true].map(|accumulate| bench::case("", Self { weight, accumulate }, &data))
        };
        let samples = ConjugateWeight::bench_samples();
        samples.into_iter().flat_map(each).collect()
    }

    fn cases() -> Vec<Case<Self>> {
        let mut all = Vec::new();
        for (seed, weight) in ConjugateWeight::samples().into_iter().enumerate() {
            for accumulate in [false, true] {
                let op = Self { weight, accumulate };
                let [dr, dw] = op.lengths()[..] else {
                    unreachable!("two bindings")
                };
                let before = match accumulate {
                    true => Data::f32(&ConjugateWeight::values(seed as u32 + 100, dw)),
                    false => Data::Out(dw),
                };
                let dr = Data::f32(&ConjugateWeight::values(seed as u32, dr));
                all.push(Case::new("", op, vec![dr, before]));
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::super::ConjugateExpand;
    use super::*;

    fn run(op: &impl Op, input: &[f32], output: &mut [f32]) {
        let mut b = Bindings::new();
        b.push_read(bytemuck::cast_slice(input));
        b.push_write(bytemuck::cast_slice_mut(output));
        op.host(&mut b);
    }

    #[test]
    fn it_is_the_adjoint_of_the_expansion() {
        for weight in ConjugateWeight::samples() {
            let complex = weight.len();
            // small integers, whose sums of products are exact
            let integers = |seed, len| {
                let values: Vec<f32> = noise(seed, len, 8.0).iter().map(|v| v.round()).collect();
                values
            };
            let (w, dr) = (integers(1, 2 * complex), integers(2, 4 * complex));
            let (mut r, mut dw) = (vec![0.0; 4 * complex], vec![0.0; 2 * complex]);
            let dtype = MatrixDtype::F32;
            run(&ConjugateExpand { weight, dtype }, &w, &mut r);
            let accumulate = false;
            run(&ConjugateFold { weight, accumulate }, &dr, &mut dw);
            let dot = |a: &[f32], b: &[f32]| {
                let products = a.iter().zip(b).map(|(a, b)| f64::from(a * b));
                products.sum::<f64>()
            };
            assert_eq!(dot(&r, &dr), dot(&w, &dw), "{}", weight.shape());
        }
    }
}
