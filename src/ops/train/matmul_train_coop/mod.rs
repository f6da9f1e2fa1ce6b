//! Matrix products of training by cooperative matrices.

use super::{MatmulTrain, MatmulTrainParams, MatrixView};
use crate::ops::*;

mod cases;

/// [`MatmulTrain`] with factors in f16 (those in f32 are rounded on their way) and sums in f32.
///
/// Bindings: as [`MatmulTrain`], but `a` and `b` may be in f16, two to a word; their [`MatrixView`]s count values.
#[derive(Debug, Clone, Copy)]
pub struct MatmulTrainCoop {
    /// The product.
    pub product: MatmulTrain,
    /// `a` is in f16.
    pub a_half: bool,
    /// `b` is in f16.
    pub b_half: bool,
}

impl MatmulTrainCoop {
    /// Whether the kernel takes a product: one with factor 1, with results in tiles of 64 by 64, steps of 64 along k, and
    /// factors in aligned pieces of 8.
    pub fn fits(product: &MatmulTrain) -> bool {
        let p = product;
        let aligned =
            |view: &MatrixView| view.offset.is_multiple_of(8) && view.stride.is_multiple_of(8);
        p.factor == 1.0
            && p.m.is_multiple_of(STEP)
            && p.n.is_multiple_of(STEP)
            && p.k.is_multiple_of(STEP)
            && p.k > 0
            && [&p.a, &p.b, &p.c].into_iter().all(aligned)
    }
}

/// Rows and columns of a tile.
const TILE: usize = 128;
/// Values of k that a step multiplies, and half a tile.
const STEP: usize = 64;

impl Op for MatmulTrainCoop {
    const NAME: &'static str = "matmul_train_coop";
    const SHADERS: &'static [Shader] = &[shader!(unchecked Features::MATRIX,
        train / "matmul_train_coop", "coop_tile", "quad", "coop_eight", "products")];
    const BINDINGS: &'static [Binding] = &[
        read("a", Elem::U32),
        read("b", Elem::U32),
        write("c", Elem::F32),
    ];
    // the bound of `matmul_gemm_coop`; factors that are given in f32 may be rounded to either neighbour in f16
    const AGREE: Agree = Agree::Nmse(1e-10);
    type Params = MatmulTrainParams;

    fn agree(&self) -> Agree {
        if self.a_half && self.b_half {
            Self::AGREE
        } else {
            Agree::Nmse(2.4e-7)
        }
    }

    fn shape(&self) -> String {
        let dtype = |half| if half { "f16" } else { "f32" };
        let (a, b) = (dtype(self.a_half), dtype(self.b_half));
        format!("{},a_dtype={a},b_dtype={b}", self.product.shape())
    }

    fn params(&self) -> MatmulTrainParams {
        self.product.params()
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        let mut all = self.product.overrides();
        let flag = |on: bool| f64::from(u8::from(on));
        all.push(("A_WIDE", flag(!self.a_half)));
        all.push(("B_WIDE", flag(!self.b_half)));
        all.push(("NARROW", flag(self.product.n == STEP)));
        all
    }

    fn grid(&self) -> Grid {
        let p = &self.product;
        Grid {
            groups: (p.m.div_ceil(TILE) * p.n.div_ceil(TILE)) as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        let mut lengths = self.product.lengths();
        for (length, half) in lengths.iter_mut().zip([self.a_half, self.b_half]) {
            // the kernel reads eight values at a time
            *length = length.next_multiple_of(8) / if half { 2 } else { 1 };
        }
        lengths
    }

    fn cost(&self) -> Cost {
        self.product.cost()
    }

    fn reference(&self, bindings: &mut Bindings<'_>) {
        let decode = |words: &[u32], half: bool| -> Vec<u32> {
            let mut values = vec![0.0f32; if half { 2 * words.len() } else { words.len() }];
            match half {
                true => MatrixDtype::F16.decode(words, &mut values),
                false => {
                    for (value, &word) in values.iter_mut().zip(words) {
                        *value = half::f16::from_f32(f32::from_bits(word)).to_f32();
                    }
                }
            }
            bytemuck::cast_vec(values)
        };
        let (a, b) = (bindings.read(0), bindings.read(1));
        let (a, b) = (decode(a, self.a_half), decode(b, self.b_half));
        let mut inner = Bindings::new();
        inner.push_read(&a);
        inner.push_read(&b);
        inner.push_write(bindings.write(2));
        self.product.reference(&mut inner);
    }

    fn cases() -> Vec<Case<Self>> {
        cases::cases()
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        cases::bench_cases()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_fits() {
        for case in MatmulTrainCoop::cases() {
            assert!(MatmulTrainCoop::fits(&case.op.product), "{}", case.name());
        }
        let product = MatmulTrainCoop::cases()[0].op.product;
        assert!(!MatmulTrainCoop::fits(&MatmulTrain { m: 96, ..product }));
        assert!(!MatmulTrainCoop::fits(&MatmulTrain { k: 60, ..product }));
    }
}
