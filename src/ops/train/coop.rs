//! Matrix products of training by cooperative matrices.

use super::matmul::{Causal, MatmulTrain, MatmulTrainParams, Place};
use super::*;

/// [`MatmulTrain`] with factors in f16 (those in f32 are rounded on their way) and sums in f32.
///
/// Bindings: as [`MatmulTrain`], but `a` and `b` may be in f16, two to a word; their [`Place`]s count values.
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
    /// Whether the kernel takes a product: as it is, results in tiles of 64 by 64, steps of 64 along k, and factors in aligned
    /// pieces of 8.
    pub fn fits(product: &MatmulTrain) -> bool {
        let p = product;
        let pieces = |place: &Place| {
            let sizes = [place.first, place.stride, place.head, place.text];
            sizes.iter().all(|s| s.is_multiple_of(8))
        };
        p.factor == 1.0
            && p.m.is_multiple_of(STEP)
            && p.n.is_multiple_of(STEP)
            && p.k.is_multiple_of(STEP)
            && p.k > 0
            && [&p.a, &p.b, &p.c].into_iter().all(pieces)
    }
}

/// Rows and columns of a tile.
const TILE: usize = 128;
/// Factors of a step, and half a tile.
const STEP: usize = 64;

impl Op for MatmulTrainCoop {
    const NAME: &'static str = "matmul_train_coop";
    const SHADERS: &'static [Shader] = &[shader!(
        unchecked Features::MATRIX,
        train / "matmul_train_coop",
        "coop_tile",
        "quad",
        "coop_piece",
        "heads"
    )];
    const BINDINGS: &'static [Binding] = &[
        read("a", Elem::U32),
        read("b", Elem::U32),
        write("c", Elem::F32),
    ];
    // as `matmul_gemm_coop`; factors that are given in f32 may be rounded to either neighbour in f16
    const AGREE: Agree = Agree::Nmse(1e-10);
    type Params = MatmulTrainParams;

    fn agree(&self) -> Agree {
        if self.a_half && self.b_half {
            Self::AGREE
        } else {
            Agree::Nmse(2.4e-7)
        }
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
            batch: (p.texts * p.heads) as u32,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        let mut lengths = self.product.lengths();
        for (length, half) in lengths.iter_mut().zip([self.a_half, self.b_half]) {
            // whole pieces
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
                    for (to, &from) in values.iter_mut().zip(words) {
                        *to = half::f16::from_f32(f32::from_bits(from)).to_f32();
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

    fn bench_cases() -> Vec<BenchCase<Self>> {
        bench::matmul_train_coop()
    }

    fn cases() -> Vec<Case<Self>> {
        let mut cases = Vec::new();
        for [a_half, b_half] in [[true, true], [true, false], [false, true], [false, false]] {
            for (name, product) in shapes() {
                let op = Self {
                    product,
                    a_half,
                    b_half,
                };
                let of = |half| if half { "f16" } else { "f32" };
                cases.push(case(
                    &format!("{name}, {} x {}", of(a_half), of(b_half)),
                    op,
                ));
            }
        }
        cases
    }
}

fn case(name: &str, op: MatmulTrainCoop) -> Case<MatmulTrainCoop> {
    let lengths = op.lengths();
    let factor = |seed, words: usize, half| match half {
        true => Data::Words(MatrixDtype::F16.encode(&noise(seed, 2 * words, 1.0))),
        false => Data::f32(&noise(seed, words, 1.0)),
    };
    let data = vec![
        factor(75, lengths[0], op.a_half),
        factor(76, lengths[1], op.b_half),
        Data::f32(&noise(77, lengths[2], 5.0)),
    ];
    Case::new(name, op, data)
}

/// Every form in wide and narrow tiles, heads, and causal products.
fn shapes() -> Vec<(String, MatmulTrain)> {
    let mut all = Vec::new();
    for (i, [m, n, k]) in [
        [128, 128, 64],
        [256, 192, 192],
        [64, 128, 128],
        [192, 64, 64],
    ]
    .into_iter()
    .enumerate()
    {
        for (a, b, name) in [
            (Place::rows(k), Place::rows(k), "x W^T"),
            (Place::rows(k), Place::rows(n).turned(), "dy W"),
            (Place::rows(m).turned(), Place::rows(n).turned(), "dy^T x"),
        ] {
            let product = MatmulTrain::new([m, n, k], a, b, Place::rows(n));
            let product = if i % 2 == 1 {
                product.adding()
            } else {
                product
            };
            all.push((format!("{name} {m} x {n} x {k}"), product));
        }
    }
    let heads = |first, stride, head, text| Place {
        first,
        stride,
        head,
        text,
        turned: false,
    };
    // texts of 256 tokens, rows of 256: two query heads of 64, one key and one value
    let [q, k] = [heads(0, 256, 64, 256 * 256), heads(128, 256, 64, 256 * 256)];
    let weights = heads(0, 256, 256 * 256, 2 * 256 * 256);
    let attention = |causal, share, size, [a, b, c]: [Place; 3]| MatmulTrain {
        texts: 2,
        heads: 2,
        share,
        causal,
        ..MatmulTrain::new(size, a, b, c)
    };
    let scores = attention(Causal::Result, 2, [256, 256, 64], [q, k, weights]);
    let values = attention(Causal::Lower, 2, [256, 64, 256], [weights, k.turned(), q]);
    let keys = [weights.turned(), q.turned(), q];
    let keys = attention(Causal::Upper, 1, [256, 64, 256], keys);
    all.push(("causal scores".into(), scores));
    all.push(("causal values".into(), values));
    all.push(("causal gradient of keys".into(), keys));
    all
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
