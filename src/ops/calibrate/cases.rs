//! Weights on which the ops of this wing are checked.

use crate::ops::noise;
use crate::ops::quantize::{Granularity, WeightShard};

/// All granularities and stages, odd sizes, rows longer than a word.
pub(super) fn shards() -> [WeightShard; 7] {
    let whole = |out, columns, granularity, stages| {
        WeightShard::whole(out, columns, granularity, stages, 0)
    };
    [
        whole(1, 1, Granularity::Tensor, 1),
        whole(24, 64, Granularity::Tensor, 2),
        whole(13, 77, Granularity::Row, 2),
        whole(6, 203, Granularity::Group(16), 3),
        whole(4, 40, Granularity::Row, 4),
        whole(5, 1300, Granularity::Row, 1),
        whole(
            41,
            76,
            Granularity::Tile {
                rows: 8,
                columns: 16,
            },
            2,
        ),
    ]
}

/// Scales that are about halved from stage to stage, as fitted ones are.
pub(super) fn scales(shard: &WeightShard, seed: u32) -> Vec<f32> {
    let noise = noise(seed, shard.scales(), 0.2);
    let stage = |i: usize| 0.5f32.powi((i / 2 % shard.stages) as i32);
    noise
        .iter()
        .enumerate()
        .map(|(i, v)| stage(i) * (1.0 + v))
        .collect()
}
