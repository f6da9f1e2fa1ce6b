//! Sums of a matrix along the codes of a weight: what scales are fitted with, and their gradient.

use super::cases;
use crate::codebook;
use crate::ops::quantize::{WeightShard, WeightShardParams};
use crate::ops::*;

/// For every scale of every row the sum `<B, G>`, where B is the weight with this scale 1 and all others 0.
///
/// With `G = dL/dRq` these are gradients of scales (of a scale block: summed over its rows). With `G = B' H` for the weight B'
/// of another scale they are the entries of the normal equations of scales under the Hessian H.
///
/// Bindings: `g` a matrix of the shard's shape, f32; `codes` [rows, 2, stages, words] packed symbols; `sums`
/// [rows, groups, 2 (U, W), stages, 2 (re, im)] f32.
#[derive(Debug, Clone)]
pub struct PhaseProject {
    /// The weight.
    pub shard: WeightShard,
}

impl PhaseProject {
    /// Words of the sums.
    pub fn sums(&self) -> usize {
        self.shard.rows * self.row_sums()
    }

    fn row_sums(&self) -> usize {
        self.shard.groups() * 4 * self.shard.stages
    }

    /// The sums of one complex row, in f64.
    fn row(&self, g: &[f32], codes: &[u32], row: usize, sums: &mut [f64]) {
        let p = &self.shard;
        let (words, planes) = (codebook::words_for(p.complex_columns()), 2 * p.stages);
        let codes = &codes[row * planes * words..][..planes * words];
        for c in 0..p.complex_columns() {
            let [a, b, d, e] = p
                .indices(row, c)
                .map(|index| index.map_or(0.0, |i| f64::from(g[i])));
            // along Re U, Im U, Re W, Im W
            let along = [a + e, d - b, a - e, b + d];
            let sums = &mut sums[c / p.group() * 2 * planes..][..2 * planes];
            for (plane, codes) in codes.chunks_exact(words).enumerate() {
                let k = codebook::code_at(codes, c);
                let axis = usize::from(k & 1);
                let v = along[2 * (plane / p.stages) + axis];
                sums[2 * plane + axis] += if k >= 2 { -v } else { v };
            }
        }
    }
}

impl Op for PhaseProject {
    const NAME: &'static str = "phase_project";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        calibrate / "phase_project",
        "phase",
        "shard"
    )];
    const BINDINGS: &'static [Binding] = &[
        read("g", Elem::F32),
        read("codes", Elem::U32),
        write("sums", Elem::F32),
    ];
    // a sum is a chain of columns / 64 roundings and 6 more, over terms of both signs
    const AGREE: Agree = Agree::Nmse(1e-10);
    type Params = WeightShardParams;

    fn shape(&self) -> String {
        self.shard.shape()
    }

    fn params(&self) -> WeightShardParams {
        self.shard.params()
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        vec![("STAGES", self.shard.stages as f64)]
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: (self.shard.rows * self.shard.groups()) as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        let p = &self.shard;
        vec![p.reals(), p.codes(), self.sums()]
    }

    fn cost(&self) -> Cost {
        let p = &self.shard;
        Cost {
            bytes: 4.0 * (p.reals() + p.codes() + self.sums()) as f64,
            ops: p.reals() as f64 * (1.0 + p.stages as f64),
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (g, codes): (&[f32], &[u32]) = (b.read(0), b.read(1));
        let sums: &mut [f32] = b.write(2);
        for (row, out) in sums[..self.sums()]
            .chunks_exact_mut(self.row_sums())
            .enumerate()
        {
            let mut wide = vec![0.0; out.len()];
            self.row(g, codes, row, &mut wide);
            for (out, wide) in out.iter_mut().zip(wide) {
                *out = wide as f32;
            }
        }
    }

    fn host(&self, b: &mut Bindings<'_>) {
        let (g, codes): (&[f32], &[u32]) = (b.read(0), b.read(1));
        let sums: &mut [f32] = b.write(2);
        let sums = &mut sums[..self.sums()];
        cpu::each_chunk(sums, self.row_sums(), |row, out| {
            let mut wide = vec![0.0; out.len()];
            self.row(g, codes, row, &mut wide);
            for (out, wide) in out.iter_mut().zip(wide) {
                *out = wide as f32;
            }
        });
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |(i, shard): (u32, WeightShard)| {
            let op = Self { shard };
            let data = vec![
                Data::f32(&noise(i + 181, shard.reals(), 2.0)),
                Data::u32(&noise_u32(182, shard.codes())),
                Data::Out(op.sums()),
            ];
            Case::new("", op, data)
        };
        (0..).zip(cases::shards()).map(case).collect()
    }
}
