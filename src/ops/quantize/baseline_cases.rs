//! Inputs on which the ops of the papers' baselines are checked and timed.

use super::baseline_shard::BaselineShard;
use super::cases::{case, spiced};
use crate::fixed;
use crate::ops::bench::{self, HIDDEN};
use crate::ops::*;

/// Whole weights and a shard, odd and even.
fn baseline_shards() -> Vec<BaselineShard> {
    let shard = BaselineShard {
        total_rows: 20,
        first_row: 7,
        ..BaselineShard::whole(true, 9, 50, 0)
    };
    vec![
        BaselineShard::whole(false, 1, 1, 0),
        BaselineShard::whole(false, 24, 64, 0),
        BaselineShard::whole(false, 7, 2077, 0),
        BaselineShard::whole(true, 1, 1, 0),
        BaselineShard::whole(true, 300, 48, 0),
        BaselineShard::whole(true, 5, 1999, 0),
        shard,
    ]
}

/// Weights of a case's shard, and the shard with their exponent.
fn baseline_weights(shard: BaselineShard, seed: u32) -> (BaselineShard, Vec<f32>) {
    let amplitude = [0.05, 1.0, 2e-6, 3e20][seed as usize % 4];
    let r = spiced(seed, shard.reals(), amplitude);
    let exponent = fixed::exponent_of(r.iter().copied());
    (BaselineShard { exponent, ..shard }, r)
}

fn each_baseline<O: Op>(case: impl Fn(usize, BaselineShard) -> Case<O>) -> Vec<Case<O>> {
    let shards = baseline_shards().into_iter().enumerate();
    shards.map(|(i, shard)| case(i, shard)).collect()
}

pub(super) fn baseline_sum<O: Op>(op: impl Fn(BaselineShard) -> O) -> Vec<Case<O>> {
    each_baseline(|i, shard| {
        let (shard, r) = baseline_weights(shard, i as u32);
        case("", op(shard), vec![Data::f32(&r)])
    })
}

pub(super) fn baseline_mean<O: Op>(op: impl Fn(BaselineShard) -> O) -> Vec<Case<O>> {
    each_baseline(|i, shard| {
        let shard = BaselineShard {
            exponent: i as i32 * 9 - 40,
            ..shard
        };
        let mut sums = noise_u32(i as u32, 4 * shard.total_rows);
        for words in sums.chunks_mut(2) {
            words[1] >>= 18;
        }
        if i == 0 {
            sums.fill(0);
        }
        case("", op(shard), vec![Data::u32(&sums)])
    })
}

pub(super) fn baseline_pack<O: Op>(op: impl Fn(BaselineShard) -> O) -> Vec<Case<O>> {
    each_baseline(|i, shard| {
        let (shard, r) = baseline_weights(shard, i as u32);
        // in every other case some weights equal the threshold
        let threshold = if i % 2 == 0 { r[0].abs() } else { 0.0 };
        let stats = [0.3 * 2f32.powi(shard.exponent), threshold];
        case("", op(shard), vec![Data::f32(&r), Data::f32(&stats)])
    })
}

pub(super) fn baseline_unpack<O: Op>(op: impl Fn(BaselineShard) -> O) -> Vec<Case<O>> {
    each_baseline(|i, shard| {
        let codes = noise_u32(i as u32, shard.rows * shard.words());
        let scale = [0.02 * i as f32];
        case("", op(shard), vec![Data::u32(&codes), Data::f32(&scale)])
    })
}

pub(super) fn bench_baseline<O: Op>(
    data: &[Made],
    op: impl Fn(BaselineShard) -> O,
) -> Vec<BenchCase<O>> {
    [false, true]
        .map(|ternary| {
            let shard = BaselineShard::whole(ternary, HIDDEN, HIDDEN, -4);
            bench::case("", op(shard), data)
        })
        .into()
}
