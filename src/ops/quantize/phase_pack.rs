//! Codes from weights.

use super::weight_shard::{columns_prelude, value};
use super::{WeightShard, WeightShardParams, cases, phase_host};
use crate::codebook;
use crate::fixed;
use crate::ops::*;

/// Codes of all stages of a shard, and how far the quantized weights are from it.
///
/// Bindings: `r` the shard, f32; `scales` [scale blocks, groups, matrices, stages, 2] f32; `codes` [rows, matrices, stages, words]
/// packed symbols; `errors` [rows, 2] 64-bit integers as (low, high): sums over the row's stored weights of
/// `|R - Rq|^2` and `|R|^2`, each term [`fixed::square`] with the exponent one higher.
#[derive(Debug, Clone)]
pub struct PhasePack {
    /// The shard.
    pub shard: WeightShard,
    /// Whether errors are wanted; otherwise `errors` is left as it is.
    pub measure: bool,
}

impl Op for PhasePack {
    const NAME: &'static str = "phase_pack";
    const SHADERS: &'static [Shader] = &[shader!(unchecked Features::NONE,
        quantize / "phase_pack", "wide", "fixed", "phase", "widely_linear", "shard", "columns")];
    const BINDINGS: &'static [Binding] = &[
        read("r", Elem::F32),
        read("scales", Elem::F32),
        write("codes", Elem::U32),
        write("errors", Elem::U32),
    ];
    const AGREE: Agree = Agree::Bits;
    type Params = WeightShardParams;

    fn shape(&self) -> String {
        let mut shape = self.shard.shape() + &format!(",exponent={}", self.shard.exponent);
        if self.measure {
            shape += ",errors=1";
        }
        shape
    }

    fn params(&self) -> WeightShardParams {
        self.shard.params()
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("MATRICES", self.shard.form.matrices() as f64),
            ("STAGES", self.shard.stages as f64),
            ("MEASURE", f64::from(u8::from(self.measure))),
        ]
    }

    fn prelude(&self) -> &'static str {
        columns_prelude(&self.shard)
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: self.shard.rows as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        let p = &self.shard;
        vec![p.reals(), p.scales(), p.codes(), 4 * p.rows]
    }

    fn cost(&self) -> Cost {
        let p = &self.shard;
        Cost {
            bytes: 4.0 * (p.reals() + p.codes() + 4 * p.rows) as f64,
            ops: p.reals() as f64 * (40.0 + 6.0 * p.stages as f64),
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (r, scales): (&[f32], &[f32]) = (b.read(0), b.read(1));
        let (codes, errors): (&mut [u32], &mut [u32]) = (b.write(2), b.write(3));
        let p = &self.shard;
        let words = codebook::words_for(p.complex_columns());
        for row in 0..p.rows {
            let mut found = vec![Vec::new(); p.planes()];
            let (mut error, mut power) = (0u64, 0u64);
            for c in 0..p.complex_columns() {
                let mut rest = [0.0; 4];
                for (matrix, mut z) in p.complex(r, row, c).enumerate() {
                    let first = p.scale_index(row, c) + matrix * 2 * p.stages;
                    for t in 0..p.stages {
                        let k = codebook::code(z[0], z[1]);
                        found[matrix * p.stages + t].push(k);
                        let q = value(k, [scales[first + 2 * t], scales[first + 2 * t + 1]]);
                        z = [z[0] - q[0], z[1] - q[1]];
                    }
                    rest[2 * matrix..2 * matrix + 2].copy_from_slice(&z);
                }
                for (index, e) in p.indices(row, c).into_iter().zip(p.stored(rest)) {
                    if let Some(i) = index.filter(|_| self.measure) {
                        error += fixed::square(e, p.exponent + 1);
                        power += fixed::square(r[i], p.exponent + 1);
                    }
                }
            }
            let out = &mut codes[row * p.planes() * words..][..p.planes() * words];
            for (out, found) in out.chunks_mut(words).zip(&found) {
                codebook::pack_row(found, out);
            }
            if self.measure {
                let pair = [error, power].map(|s| [s as u32, (s >> 32) as u32]);
                errors[4 * row..4 * row + 4].copy_from_slice(pair.as_flattened());
            }
        }
    }

    fn host(&self, b: &mut Bindings<'_>) {
        phase_host::pack(&self.shard, self.measure, b);
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        cases::bench_phase_pack(|shard, measure| Self { shard, measure })
    }

    fn cases() -> Vec<Case<Self>> {
        cases::phase_pack(|shard, measure| Self { shard, measure })
    }
}
