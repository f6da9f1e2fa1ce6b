//! Weights from codes.

use super::weight_shard::value;
use super::{WeightShard, WeightShardParams, cases, phase_host};
use crate::codebook;
use crate::ops::*;

/// The weight of codes as it is stored: stages are added in their order, then U and W, if there is a U, are merged.
///
/// Bindings: `codes` [rows, matrices, stages, words] of the shard; `scales` [scale blocks, groups, matrices, stages, 2] f32;
/// `r` the shard, f32.
#[derive(Debug, Clone)]
pub struct PhaseUnpack {
    /// The shard.
    pub shard: WeightShard,
}

impl Op for PhaseUnpack {
    const NAME: &'static str = "phase_unpack";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        quantize / "phase_unpack",
        "phase",
        "widely_linear",
        "shard"
    )];
    const BINDINGS: &'static [Binding] = &[
        read("codes", Elem::U32),
        read("scales", Elem::F32),
        write("r", Elem::F32),
    ];
    const AGREE: Agree = Agree::Bits;
    type Params = WeightShardParams;

    fn shape(&self) -> String {
        self.shard.shape()
    }

    fn params(&self) -> WeightShardParams {
        self.shard.params()
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        vec![("MATRICES", self.shard.form.matrices() as f64)]
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: self.shard.rows as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        let p = &self.shard;
        vec![p.codes(), p.scales(), p.reals()]
    }

    fn cost(&self) -> Cost {
        let p = &self.shard;
        Cost {
            bytes: 4.0 * (p.reals() + p.codes()) as f64,
            ops: p.reals() as f64 * (1.0 + 3.0 * p.stages as f64),
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (codes, scales): (&[u32], &[f32]) = (b.read(0), b.read(1));
        let r: &mut [f32] = b.write(2);
        let p = &self.shard;
        let words = codebook::words_for(p.complex_columns());
        for row in 0..p.rows {
            let codes = &codes[row * p.planes() * words..][..p.planes() * words];
            for c in 0..p.complex_columns() {
                let first = p.scale_index(row, c);
                let mut z = [0.0; 4];
                for (plane, codes) in codes.chunks(words).enumerate() {
                    let s = &scales[first + 2 * plane..];
                    let q = value(codebook::code_at(codes, c), [s[0], s[1]]);
                    let re = 2 * (plane / p.stages);
                    z[re] += q[0];
                    z[re + 1] += q[1];
                }
                for (index, v) in p.indices(row, c).into_iter().zip(p.stored(z)) {
                    if let Some(i) = index {
                        r[i] = v;
                    }
                }
            }
        }
    }

    fn host(&self, b: &mut Bindings<'_>) {
        phase_host::unpack(&self.shard, b);
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        cases::bench_phase_unpack(|shard| Self { shard })
    }

    fn cases() -> Vec<Case<Self>> {
        cases::phase_unpack(|shard| Self { shard })
    }
}
