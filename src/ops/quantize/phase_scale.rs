//! Sums of the magnitudes that a stage's scales are means of.

use super::weight_shard::{columns_prelude, value};
use super::{WeightShard, WeightShardParams, cases, phase_host};
use crate::codebook;
use crate::fixed;
use crate::ops::*;

/// Exact sums of `|re|` over the weights of `E_stage` coded +-1 and of `|im|` over those coded +-i, for each matrix.
///
/// Bindings: `r` the shard, f32; `scales` [scale blocks, groups, matrices, stages, 2] f32, of which stages before this one
/// are read; `sums` [total rows, groups, matrices, 2 (re, im)] of three words: low and high half of the sum
/// of [`fixed::magnitude`], number of weights. The rows of the shard are written.
#[derive(Debug, Clone)]
pub struct PhaseScale {
    /// The shard.
    pub shard: WeightShard,
    /// The stage whose sums are wanted.
    pub stage: usize,
}

impl Op for PhaseScale {
    const NAME: &'static str = "phase_scale";
    const SHADERS: &'static [Shader] = &[shader!(
        unchecked Features::NONE,
        quantize / "phase_scale",
        "wide",
        "phase",
        "widely_linear",
        "shard",
        "columns"
    )];
    const BINDINGS: &'static [Binding] = &[
        read("r", Elem::F32),
        read("scales", Elem::F32),
        write("sums", Elem::U32),
    ];
    const AGREE: Agree = Agree::Bits;
    type Params = WeightShardParams;

    fn shape(&self) -> String {
        self.shard.shape() + &format!(",exponent={},stage={}", self.shard.exponent, self.stage)
    }

    fn params(&self) -> WeightShardParams {
        debug_assert!(self.stage < self.shard.stages, "{}", self.shape());
        // the kernel makes 2^(17 - exponent) by its exponent bits, which must be those of a normal f32
        debug_assert!(
            (-109..=143).contains(&self.shard.exponent),
            "{}",
            self.shape()
        );
        // magnitudes of 36 bits leave 28 bits for how many are summed
        debug_assert!(self.shard.columns < 1 << 28, "{}", self.shape());
        self.shard.params()
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("MATRICES", self.shard.form.matrices() as f64),
            ("STAGE", self.stage as f64),
        ]
    }

    fn prelude(&self) -> &'static str {
        columns_prelude(&self.shard)
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: (self.shard.rows * self.shard.groups()) as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        let p = &self.shard;
        vec![p.reals(), p.scales(), p.sums()]
    }

    fn cost(&self) -> Cost {
        let n = self.shard.reals() as f64;
        let sums = self.shard.rows * self.shard.groups() * self.shard.form.matrices();
        Cost {
            bytes: 4.0 * n + 24.0 * sums as f64,
            ops: n * (10.0 + 5.0 * self.stage as f64),
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (r, scales): (&[f32], &[f32]) = (b.read(0), b.read(1));
        let sums: &mut [u32] = b.write(2);
        let p = &self.shard;
        for row in 0..p.rows {
            for group in 0..p.groups() {
                let mut totals = vec![(0u64, 0u32); 2 * p.form.matrices()];
                for c in group * p.group()..p.complex_columns().min((group + 1) * p.group()) {
                    for (matrix, mut z) in p.complex(r, row, c).enumerate() {
                        let first = p.scale_index(row, c) + matrix * 2 * p.stages;
                        for s in scales[first..].chunks(2).take(self.stage) {
                            let q = value(codebook::code(z[0], z[1]), [s[0], s[1]]);
                            z = [z[0] - q[0], z[1] - q[1]];
                        }
                        let axis = usize::from(codebook::code(z[0], z[1]) & 1);
                        let total = &mut totals[2 * matrix + axis];
                        total.0 += fixed::magnitude(z[axis], p.exponent);
                        total.1 += 1;
                    }
                }
                let index = ((p.first_row + row) * p.groups() + group) * 3 * totals.len();
                for (out, (sum, count)) in sums[index..].chunks_mut(3).zip(totals) {
                    out.copy_from_slice(&[sum as u32, (sum >> 32) as u32, count]);
                }
            }
        }
    }

    fn host(&self, b: &mut Bindings<'_>) {
        phase_host::scale(&self.shard, self.stage, b);
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        cases::bench_phase_scale(|shard, stage| Self { shard, stage })
    }

    fn cases() -> Vec<Case<Self>> {
        cases::phase_scale(|shard, stage| Self { shard, stage })
    }
}
