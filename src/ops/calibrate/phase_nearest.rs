//! For given scales the nearest codes, each weight by itself.

use super::cases;
use super::search::Stages;
use crate::codebook;
use crate::ops::quantize::{WeightShard, WeightShardParams};
use crate::ops::*;

/// Codes of the sum of stages nearest to each complex weight, for any scales. Either the sum is the nearest of all `4^T`,
/// or each stage in turn is the nearest to what the stages before it leave.
///
/// Bindings: `r` the shard, f32; `scales` [scale blocks, groups, 2, stages, 2] f32; `codes` [rows, 2, stages, words] packed
/// symbols.
#[derive(Debug, Clone)]
pub struct PhaseNearest {
    /// The weight.
    pub shard: WeightShard,
    /// Whether codes are chosen stage by stage: the first stages are then the nearest by themselves, and their codes depend
    /// on no later stage.
    pub nested: bool,
}

impl PhaseNearest {
    /// Codes of one complex row.
    fn row(&self, r: &[f32], scales: &[f32], row: usize, codes: &mut [u32]) {
        let p = &self.shard;
        let (words, stages) = (codebook::words_for(p.complex_columns()), p.stages);
        codes.fill(0);
        let mut cached = (usize::MAX, [Stages::new(&[]); 2]);
        for c in 0..p.complex_columns() {
            let first = p.scale_index(row, c);
            if cached.0 != first {
                let of = |u_or_w: usize| {
                    Stages::new(&scales[first + u_or_w * 2 * stages..][..2 * stages])
                };
                cached = (first, [of(0), of(1)]);
            }
            for (u_or_w, z) in p.complex(r, row, c).enumerate() {
                let code = match self.nested {
                    true => cached.1[u_or_w].nested(z),
                    false => cached.1[u_or_w].nearest(z).code,
                };
                for t in 0..stages {
                    let k = (code >> (2 * t) & 3) as u8;
                    let word = (u_or_w * stages + t) * words + c / codebook::COLUMNS_PER_WORD;
                    codes[word] |=
                        codebook::symbol(k) << codebook::shift_of(c % codebook::COLUMNS_PER_WORD);
                }
            }
        }
    }

    fn row_words(&self) -> usize {
        2 * self.shard.stages * codebook::words_for(self.shard.complex_columns())
    }
}

impl Op for PhaseNearest {
    const NAME: &'static str = "phase_nearest";
    const SHADERS: &'static [Shader] = &[shader!(
        Features::NONE,
        calibrate / "phase_nearest",
        "phase",
        "phase_search",
        "widely_linear",
        "shard"
    )];
    const BINDINGS: &'static [Binding] = &[
        read("r", Elem::F32),
        read("scales", Elem::F32),
        write("codes", Elem::U32),
    ];
    // no choice of the cases is closer than a device's rounding (`no_choice_is_close`)
    const AGREE: Agree = Agree::Bits;
    type Params = WeightShardParams;

    fn shape(&self) -> String {
        let shape = self.shard.shape();
        if self.nested {
            shape + ",nested=1"
        } else {
            shape
        }
    }

    fn params(&self) -> WeightShardParams {
        self.shard.params()
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("STAGES", self.shard.stages as f64),
            ("NESTED", f64::from(u8::from(self.nested))),
        ]
    }

    fn grid(&self) -> Grid {
        let words = self.shard.rows * codebook::words_for(self.shard.complex_columns());
        Grid {
            groups: words.div_ceil(64) as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        let p = &self.shard;
        vec![p.reals(), p.scales(), p.codes()]
    }

    fn cost(&self) -> Cost {
        let p = &self.shard;
        let sums = match self.nested {
            true => 1.0,
            false => 4f64.powi(p.stages as i32 - 1),
        };
        Cost {
            bytes: 4.0 * (p.reals() + p.codes()) as f64,
            ops: (p.rows * p.complex_columns()) as f64
                * 2.0
                * sums
                * (12.0 + 3.0 * p.stages as f64),
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (r, scales): (&[f32], &[f32]) = (b.read(0), b.read(1));
        let codes: &mut [u32] = b.write(2);
        for (row, codes) in codes
            .chunks_mut(self.row_words())
            .take(self.shard.rows)
            .enumerate()
        {
            self.row(r, scales, row, codes);
        }
    }

    fn host(&self, b: &mut Bindings<'_>) {
        let (r, scales): (&[f32], &[f32]) = (b.read(0), b.read(1));
        let codes: &mut [u32] = b.write(2);
        let codes = &mut codes[..self.shard.codes()];
        cpu::each_chunk(codes, self.row_words(), |row, codes| {
            self.row(r, scales, row, codes);
        });
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |(seed, op): (u32, Self)| {
            let data = vec![
                Data::f32(&noise(seed, op.shard.reals(), 2.0)),
                Data::f32(&cases::scales(&op.shard, 172)),
                Data::Out(op.shard.codes()),
            ];
            Case::new("", op, data)
        };
        choices().map(case).collect()
    }
}

/// The cases, and the seeds of their weights: with these no choice is close.
fn choices() -> impl Iterator<Item = (u32, PhaseNearest)> {
    let of = |nested: bool, seed: u32| {
        let shards = (seed..).zip(cases::shards());
        shards.map(move |(seed, shard)| (seed, PhaseNearest { shard, nested }))
    };
    of(false, 171).chain(of(true, 1171).take(5))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Devices may round products differently, so no case asks them to choose between sums that are nearly as near.
    #[test]
    fn no_choice_is_close() {
        for (seed, op) in choices() {
            let PhaseNearest { shard, nested } = op;
            let r = noise(seed, shard.reals(), 2.0);
            let scales = cases::scales(&shard, 172);
            for row in 0..shard.rows {
                for c in 0..shard.complex_columns() {
                    for (u_or_w, z) in shard.complex(&r, row, c).enumerate() {
                        let first = shard.scale_index(row, c) + u_or_w * 2 * shard.stages;
                        let scales = &scales[first..][..2 * shard.stages];
                        let mut left = z;
                        let steps = if nested { shard.stages } else { 1 };
                        for chosen in scales.chunks(scales.len() / steps) {
                            let stages = Stages::new(chosen);
                            let apart = |s: [f32; 2]| [left[0] - s[0], left[1] - s[1]];
                            let mut far: Vec<_> = stages
                                .sums()
                                .map(|(_, s)| apart(s))
                                .map(|e| (e[0] * e[0] + e[1] * e[1], e))
                                .collect();
                            far.sort_by(|a, b| a.0.total_cmp(&b.0));
                            assert!(far[1].0 - far[0].0 > 4e-6, "{shard:?}: {row}, {c}: {far:?}");
                            left = far[0].1;
                        }
                    }
                }
            }
        }
    }
}
