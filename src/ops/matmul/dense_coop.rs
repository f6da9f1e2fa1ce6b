//! Matrix products with dense weights of 16 bits and many rows, by cooperative matrices.

use super::Dense;
use crate::ops::phase::COOP_TOKENS;
use crate::ops::*;
use bytemuck::Zeroable;

/// Outputs of a tile.
const OUTS: usize = 128;

/// [`Dense`] with inputs in f16: tiles of 128 rows and 128 outputs, sums in f32, times a scale.
///
/// Bindings: `x` [tokens, k] f16, as [`crate::ops::norm::RmsNormF16`] makes it; `w` [outs, k] f16 or bf16; `y`
/// [tokens, y_stride] f32; `tokens` is `rows` rounded up to [`COOP_TOKENS`], and all of them are computed.
///
/// Weights in bf16 are made f16, which holds them exactly if they are zero or of a magnitude in [2^-17, 65504]:
/// smaller ones are rounded to multiples of 2^-24, larger ones become 65504.
#[derive(Debug, Clone)]
pub struct MatmulGemmCoop {
    /// The product.
    pub dense: Dense,
    /// What sums are multiplied with.
    pub scale: f32,
}

impl MatmulGemmCoop {
    /// The product alone.
    pub fn plain(dense: Dense) -> Self {
        Self { dense, scale: 1.0 }
    }

    /// Whether the kernel takes the product: weights of 16 bits, whole tiles of outputs, whole steps along k, and
    /// blocks of sums that begin at multiples of 16 bytes, as cooperative matrices ask.
    pub fn fits(dense: &Dense) -> bool {
        matches!(dense.stored, MatrixDtype::F16 | MatrixDtype::Bf16)
            && dense.k > 0
            && dense.k.is_multiple_of(64)
            && dense.outs.is_multiple_of(OUTS)
            && dense.out_offset.is_multiple_of(4)
            && dense.y_stride.is_multiple_of(4)
    }

    fn padded(&self) -> Dense {
        Dense {
            rows: self.dense.rows.next_multiple_of(COOP_TOKENS),
            ..self.dense
        }
    }
}

/// [`MatmulGemmCoop`] for many rows: fewer subgroups own larger tiles, so that factors are read less often, and two
/// workgroups share a processor. The same sums in the same order.
#[derive(Debug, Clone)]
pub struct MatmulGemmCoopTall(pub MatmulGemmCoop);

/// Uniform block of [`MatmulGemmCoop`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct MatmulGemmCoopParams {
    rows: u32,
    k: u32,
    outs: u32,
    y_stride: u32,
    out_offset: u32,
    scale: f32,
}

const BINDINGS: &[Binding] = &[
    prefetched("x", Elem::F16x2),
    prefetched("w", Elem::U32),
    write("y", Elem::F32),
];

// products are exact in f32, and matrix units may cut their sums off instead of rounding them: k / 16 steps that
// lose up to 2^-23 each, all in the same direction, are (64 2^-23)^2 = 6e-11 for k of 1024. To this, weights in
// bf16 below 2^-17 or beyond 65504 add what they lose as f16: 1e-16 or so where weights are around 1
const AGREE: Agree = Agree::Nmse(1e-10);

impl Op for MatmulGemmCoop {
    const NAME: &'static str = "matmul_gemm_coop";
    const SHADERS: &'static [Shader] = &[shader!(
        unchecked Features::MATRIX,
        matmul / "matmul_gemm_coop",
        "coop_tile",
        "coop_dense",
        "coop_order",
        "quad",
        "elem"
    )];
    const BINDINGS: &'static [Binding] = BINDINGS;
    const AGREE: Agree = AGREE;
    type Params = MatmulGemmCoopParams;

    fn params(&self) -> MatmulGemmCoopParams {
        let dense = &self.dense;
        MatmulGemmCoopParams {
            rows: dense.rows as u32,
            k: dense.k as u32,
            outs: dense.outs as u32,
            y_stride: dense.y_stride as u32,
            out_offset: dense.out_offset as u32,
            scale: self.scale,
        }
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        self.dense.overrides()
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: (self.dense.rows.div_ceil(COOP_TOKENS) * (self.dense.outs / OUTS)) as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        let mut lengths = self.padded().lengths();
        lengths[0] /= 2;
        lengths
    }

    fn cost(&self) -> Cost {
        let cost = self.dense.cost();
        Cost {
            bytes: cost.bytes - 2.0 * (self.dense.rows * self.dense.k) as f64,
            ..cost
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let dense = self.padded();
        let mut x = vec![0.0; dense.rows * dense.k];
        MatrixDtype::F16.decode(b.read(0), &mut x);
        x.iter_mut().for_each(|x| *x *= self.scale);
        let mut inner = Bindings::new();
        inner.push_read(bytemuck::cast_slice(&x));
        inner.push_read(b.read(1));
        inner.push_write(b.write(2));
        dense.reference(&mut inner);
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        bench::matmul_gemm_coop()
    }

    fn cases() -> Vec<Case<Self>> {
        let plain = |stored, rows, k, outs| Dense {
            rows,
            k,
            outs,
            out_offset: 0,
            y_stride: outs,
            stored,
            accumulate: false,
        };
        let mut cases = Vec::new();
        for stored in [MatrixDtype::F16, MatrixDtype::Bf16] {
            let one = plain(stored, 128, 64, 128);
            let adding = Dense {
                accumulate: true,
                ..plain(stored, 200, 192, 256)
            };
            let shard = Dense {
                out_offset: 16,
                y_stride: 176,
                ..plain(stored, 128, 128, 128)
            };
            let adding_shard = Dense {
                out_offset: 132,
                y_stride: 260,
                accumulate: true,
                ..plain(stored, 9, 64, 128)
            };
            let all = [
                ("one tile", one),
                ("two by three tiles", plain(stored, 256, 512, 384)),
                ("few rows, writing", plain(stored, 5, 128, 128)),
                ("no whole tiles of rows, adding", adding),
                ("shard, writing", shard),
                ("shard, adding", adding_shard),
                // more tiles of rows than go through the outputs together
                ("two bands", plain(stored, 1100, 64, 256)),
            ];
            cases.extend(all.map(|(name, dense)| {
                case(&format!("{stored:?}, {name}"), MatmulGemmCoop::plain(dense))
            }));
        }
        let scaled = MatmulGemmCoop {
            dense: Dense {
                accumulate: true,
                ..plain(MatrixDtype::F16, 128, 64, 128)
            },
            scale: 0.125,
        };
        cases.push(case("scaled, adding", scaled));
        cases
    }
}

impl Op for MatmulGemmCoopTall {
    const NAME: &'static str = "matmul_gemm_coop_tall";
    const SHADERS: &'static [Shader] = &[shader!(
        unchecked Features::MATRIX,
        matmul / "matmul_gemm_coop_tall",
        "coop_dense",
        "coop_order",
        "quad",
        "elem"
    )];
    const BINDINGS: &'static [Binding] = BINDINGS;
    const AGREE: Agree = AGREE;
    type Params = MatmulGemmCoopParams;

    fn params(&self) -> MatmulGemmCoopParams {
        self.0.params()
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        self.0.overrides()
    }

    fn grid(&self) -> Grid {
        self.0.grid()
    }

    fn lengths(&self) -> Vec<usize> {
        self.0.lengths()
    }

    fn cost(&self) -> Cost {
        self.0.cost()
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        self.0.reference(b);
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        bench::matmul_gemm_coop_tall()
    }

    fn cases() -> Vec<Case<Self>> {
        let cases = MatmulGemmCoop::cases().into_iter();
        cases
            .map(|case| Case {
                note: case.note,
                op: Self(case.op),
                data: case.data,
            })
            .collect()
    }
}

fn case(name: &str, op: MatmulGemmCoop) -> Case<MatmulGemmCoop> {
    let padded = op.padded();
    let x = noise(64, padded.rows * padded.k, 2.0);
    let weights = noise(65, padded.outs * padded.k, 1.0);
    let rows = |stored: MatrixDtype, values: &[f32]| {
        Data::Words(stored.encode_rows(values, padded.k, stored.row_words(padded.k)))
    };
    let data = vec![
        rows(MatrixDtype::F16, &x),
        rows(padded.stored, &weights),
        Data::f32(&noise(66, padded.rows * padded.y_stride, 5.0)),
    ];
    Case::new(name, op, data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_fits() {
        for case in MatmulGemmCoop::cases() {
            assert!(MatmulGemmCoop::fits(&case.op.dense), "{}", case.name());
        }
        let dense = MatmulGemmCoop::cases()[0].op.dense;
        let refused = [
            Dense { k: 96, ..dense },
            Dense { outs: 64, ..dense },
            Dense {
                out_offset: 2,
                ..dense
            },
            Dense {
                stored: MatrixDtype::F32,
                ..dense
            },
        ];
        assert!(!refused.iter().any(MatmulGemmCoop::fits));
    }
}
