//! Inputs on which the quantizers are checked and timed.

use super::weight_shard::WeightShard;
use super::{Activations, Form, Granularity};
use crate::fixed;
use crate::ops::bench::{self, HIDDEN, INTERMEDIATE, PROMPT};
use crate::ops::*;

/// Noise with subnormals, tiny and large values in it.
pub(super) fn spiced(seed: u32, len: usize, amplitude: f32) -> Vec<f32> {
    let mut values = noise(seed, len, amplitude);
    for (i, v) in values.iter_mut().enumerate() {
        match hash32(i as u32, seed ^ 0x5eed) % 23 {
            0 => *v = 1e-41,
            1 => *v = -f32::MIN_POSITIVE,
            2 => *v *= 1e-9,
            3 => *v = 0.0,
            4 => *v = amplitude * 0.5,
            5 => *v = -amplitude * 0.5,
            _ => {}
        }
    }
    values
}

/// `inputs` first, then outputs as long as the op asks.
pub(super) fn case<O: Op>(note: &str, op: O, inputs: Vec<Data>) -> Case<O> {
    let lengths = op.lengths();
    let outputs = lengths[inputs.len()..].iter().map(|&n| Data::Out(n));
    let data = inputs.into_iter().chain(outputs).collect();
    Case::new(note, op, data)
}

/// Tokens that are rounded: `op(tokens, columns, mode)`.
pub(super) fn tokens<O: Op>(op: impl Fn(usize, usize, Activations) -> O) -> Vec<Case<O>> {
    let mut all = Vec::new();
    for mode in Activations::INTEGERS {
        let mut add = |note, tokens, columns, x: Vec<f32>| {
            let op = op(tokens, columns, mode);
            all.push(case(note, op, vec![Data::f32(&x)]));
        };
        add("", 3, 384, noise(1, 3 * 384, 4.0));
        add("", 2, 75, noise(2, 150, 0.01));
        add("", 1, 5000, noise(3, 5000, 100.0));
        add("", 1, 1, vec![-3.0]);
        let tiny = [vec![0.0; 64], noise(4, 64, 1e-7)].concat();
        add("data=zero_and_tiny", 2, 64, tiny);
        // where the largest magnitude is `levels`, every half is a tie
        let mut ties: Vec<f32> = (0..64).map(|i| i as f32 - 31.5).collect();
        ties[0] = mode.levels() as f32;
        add("data=ties", 1, 64, ties);
        let values = noise(5, 512, 1.0);
        let values = values.iter().enumerate();
        let values = values.map(|(i, v)| v * 2f32.powi(-(i as i32 % 60)));
        add("data=magnitudes", 1, 512, values.collect());
    }
    all
}

/// Tokens whose halves are rounded apart, among them halves of different sizes and one that is zero.
pub(super) fn tokens_in_halves<O: Op>(op: impl Fn(usize, usize, Activations) -> O) -> Vec<Case<O>> {
    let halves = [noise(7, 32, 1e-3), noise(8, 32, 40.0), vec![0.0; 32]].concat();
    let values = [
        ("", 3, noise(1, 3 * 384, 4.0)),
        ("", 2, noise(2, 148, 0.01)),
        ("", 1, noise(3, 5000, 100.0)),
        ("", 1, vec![-3.0, 0.25]),
        ("data=halves", 2, halves),
    ];
    let mut all = Vec::new();
    for mode in Activations::INTEGERS {
        for (note, tokens, x) in &values {
            let op = op(*tokens, x.len() / tokens, mode);
            all.push(case(note, op, vec![Data::f32(x)]));
        }
    }
    all
}

/// Tokens of a step of decoding and of a prompt.
pub(super) fn bench_tokens<O: Op>(
    data: &[Made],
    op: impl Fn(usize, usize, Activations) -> O,
) -> Vec<BenchCase<O>> {
    let mut all = Vec::new();
    for tokens in [1, PROMPT] {
        for columns in [HIDDEN, INTERMEDIATE] {
            for mode in Activations::INTEGERS {
                all.push(bench::case("", op(tokens, columns, mode), data));
            }
        }
    }
    all
}

/// Tiles of these rows and columns.
fn tile(rows: usize, columns: usize) -> Granularity {
    Granularity::Tile { rows, columns }
}

/// Shards that are whole weights or not, odd in either direction, in all granularities and both forms.
fn shards() -> Vec<WeightShard> {
    [widely_linear_shards(), conjugate_shards()].concat()
}

/// Shards of stored weights of the conjugate form.
fn conjugate_shards() -> Vec<WeightShard> {
    let whole = |rows: usize, columns, granularity, stages| WeightShard {
        form: Form::Conjugate,
        ..WeightShard::whole(2 * rows, columns, granularity, stages, 0)
    };
    let tensor = Granularity::Tensor;
    vec![
        whole(1, 1, tensor, 1),
        whole(12, 32, tensor, 1),
        whole(7, 39, tensor, 2),
        whole(3, 2222, tensor, 1),
        whole(11, 66, Granularity::Row, 3),
        whole(5, 103, Granularity::Group(16), 4),
        whole(5, 200, Granularity::Group(64), 1),
        whole(2, 50, Granularity::Group(128), 1),
        whole(21, 50, tile(8, 16), 2),
        // rows that are longer than the columns which a workgroup reads at a time
        whole(2, 4356, tensor, 2),
        whole(1, 4107, tensor, 1),
        WeightShard {
            total_rows: 17,
            first_row: 5,
            ..whole(6, 45, tensor, 1)
        },
        WeightShard {
            total_rows: 12,
            first_row: 6,
            ..whole(6, 52, Granularity::Group(32), 2)
        },
    ]
}

fn widely_linear_shards() -> Vec<WeightShard> {
    let whole = WeightShard::whole;
    let tensor = Granularity::Tensor;
    vec![
        whole(1, 1, tensor, 2, 0),
        whole(24, 64, tensor, 2, 0),
        whole(13, 77, tensor, 3, 0),
        whole(6, 4444, tensor, 2, 0),
        whole(21, 130, Granularity::Row, 2, 0),
        whole(9, 203, Granularity::Group(16), 4, 0),
        // the last group of a row is shorter
        whole(10, 400, Granularity::Group(64), 2, 0),
        // a row is shorter than a group
        whole(4, 100, Granularity::Group(128), 1, 0),
        // tiles that are whole, cut at both ends, and larger than the weight
        whole(256, 256, tile(64, 64), 2, 0),
        whole(139, 203, tile(64, 64), 3, 0),
        whole(9, 40, tile(64, 64), 1, 0),
        // rows that are longer than the columns which a workgroup reads at a time
        whole(3, 8712, tensor, 2, 0),
        whole(2, 8211, tensor, 3, 0),
        WeightShard {
            total_rows: 17,
            first_row: 5,
            ..whole(12, 90, tensor, 2, 0)
        },
        WeightShard {
            total_rows: 12,
            first_row: 6,
            ..whole(11, 99, Granularity::Group(32), 2, 0)
        },
        // begins within a tile, and ends within another one
        WeightShard {
            total_rows: 40,
            first_row: 5,
            ..whole(24, 90, tile(16, 32), 2, 0)
        },
    ]
}

/// Weights of a case's shard, with ties, zeros, subnormals and tiny values, and the shard with their exponent.
fn weights(shard: WeightShard, seed: u32) -> (WeightShard, Vec<f32>) {
    let amplitude = [0.05, 1.0, 2e-6, 3e20][seed as usize % 4];
    let r = spiced(seed, shard.reals(), amplitude);
    let exponent = fixed::exponent_of(r.iter().copied());
    (WeightShard { exponent, ..shard }, r)
}

/// Plausible scales for [`weights`].
fn scales(shard: &WeightShard, seed: u32) -> Data {
    let amplitude = 2f32.powi(shard.exponent - 1);
    let noise = noise(seed, shard.scales(), amplitude);
    let scales: Vec<f32> = noise
        .iter()
        .map(|s| s.abs() + shard.form.least_scale())
        .collect();
    Data::f32(&scales)
}

/// Every stage of every shard: `op(shard, stage)`.
pub(super) fn phase_scale<O: Op>(op: impl Fn(WeightShard, usize) -> O) -> Vec<Case<O>> {
    let mut cases = Vec::new();
    for (i, shard) in shards().into_iter().enumerate() {
        for stage in 0..shard.stages {
            let (shard, r) = weights(shard, (i + stage) as u32);
            let inputs = vec![Data::f32(&r), scales(&shard, 7)];
            cases.push(case("", op(shard, stage), inputs));
        }
    }
    cases
}

/// Every shard, most of them with errors: `op(shard, measure)`.
pub(super) fn phase_pack<O: Op>(op: impl Fn(WeightShard, bool) -> O) -> Vec<Case<O>> {
    let each = |(i, shard): (usize, WeightShard)| {
        let (shard, r) = weights(shard, i as u32);
        let inputs = vec![Data::f32(&r), scales(&shard, 8)];
        case("", op(shard, i % 4 != 3), inputs)
    };
    shards().into_iter().enumerate().map(each).collect()
}

/// Random codes of every shard.
pub(super) fn phase_unpack<O: Op>(op: impl Fn(WeightShard) -> O) -> Vec<Case<O>> {
    let each = |(i, shard): (usize, WeightShard)| {
        let mut codes = noise_u32(i as u32, shard.codes());
        codes[0] = 0;
        let scales: Vec<f32> = noise(9, shard.scales(), 0.5)
            .iter()
            .map(|s| s.abs() + shard.form.least_scale())
            .collect();
        case("", op(shard), vec![Data::u32(&codes), Data::f32(&scales)])
    };
    shards().into_iter().enumerate().map(each).collect()
}

/// Sums of all sizes: those of a whole tensor's rows do not overflow together.
fn random_sums(shard: &WeightShard, seed: u32, sum_bits: u32, count_bits: u32) -> Vec<u32> {
    let mut words = noise_u32(seed, shard.sums());
    for (i, triple) in words.chunks_mut(3).enumerate() {
        let sum = (u64::from(triple[1]) << 32 | u64::from(triple[0])) >> (64 - sum_bits);
        let sum = sum >> (hash32(i as u32, seed) % sum_bits);
        let count = triple[2] >> (32 - count_bits) >> (hash32(i as u32, seed + 1) % count_bits);
        triple.copy_from_slice(&[sum as u32, (sum >> 32) as u32, count]);
    }
    words
}

/// Sums and counts at the ends of their ranges, and quotients that are ties or beside one.
fn edge_sums() -> Vec<u32> {
    let edges = [
        (1u64, 1u32),
        (u64::MAX, 1),
        (u64::MAX, u32::MAX),
        (1, u32::MAX),
        (0, 5),
        (7, 0),
        ((1 << 25) + 1, 1),
        ((1 << 25) + 3, 1),
        ((1 << 25) - 1, 1),
        (3 << 35, 3),
        ((1 << 26) + 2, 2),
        ((1 << 26) + 3, 2),
    ];
    let words = |&(sum, count): &(u64, u32)| [sum as u32, (sum >> 32) as u32, count];
    edges.iter().flat_map(words).collect()
}

/// `op(shard, stage, least scale)`.
pub(super) fn phase_mean<O: Op>(op: impl Fn(WeightShard, usize, f32) -> O) -> Vec<Case<O>> {
    let case = |note, shard, stage, least, sums: Vec<u32>| {
        case(note, op(shard, stage, least), vec![Data::u32(&sums)])
    };
    let row = WeightShard::whole(600, 40, Granularity::Row, 2, -3);
    let group = WeightShard::whole(9, 203, Granularity::Group(16), 3, 100);
    let tensor = WeightShard::whole(2001, 8, Granularity::Tensor, 2, 0);
    let tiles = WeightShard::whole(301, 203, tile(64, 48), 2, -1);
    let tall = WeightShard::whole(1301, 20, tile(400, 16), 1, 5);
    let one = WeightShard::whole(2, 2, Granularity::Tensor, 1, 127);
    let conjugate = |rows: usize, columns, granularity, stages| WeightShard {
        form: Form::Conjugate,
        ..WeightShard::whole(2 * rows, columns, granularity, stages, -2)
    };
    let conjugate_group = conjugate(9, 103, Granularity::Group(16), 2);
    let conjugate_tensor = conjugate(1001, 8, Granularity::Tensor, 1);
    let edge = |exponent| WeightShard::whole(6, 2, Granularity::Row, 1, exponent);
    vec![
        case("", row, 1, 1e-6, random_sums(&row, 1, 64, 32)),
        case("", group, 0, 1e-5, random_sums(&group, 2, 64, 30)),
        case("", tensor, 1, 1e-6, random_sums(&tensor, 3, 53, 21)),
        case("", tiles, 1, 1e-6, random_sums(&tiles, 7, 57, 25)),
        case("", tall, 0, 1e-6, random_sums(&tall, 8, 55, 22)),
        case("", one, 0, 1e-6, random_sums(&one, 4, 60, 8)),
        case(
            "",
            conjugate_group,
            1,
            1e-5,
            random_sums(&conjugate_group, 5, 64, 30),
        ),
        case(
            "",
            conjugate_tensor,
            0,
            1e-5,
            random_sums(&conjugate_tensor, 6, 53, 21),
        ),
        case("data=edges", edge(0), 0, 1e-30, edge_sums()),
        case("data=edges", edge(-100), 0, 1e-38, edge_sums()),
        case("data=edges", edge(110), 0, 1e-6, edge_sums()),
    ]
}

/// `op(out_features, in_features)` on values of this amplitude.
pub(super) fn widely_linear<O: Op>(amplitude: f32, op: impl Fn(usize, usize) -> O) -> Vec<Case<O>> {
    let sizes = [[2, 2], [1, 1], [7, 9], [64, 48], [33, 70], [120, 31]];
    let each = |(i, [outs, ins]): (usize, [usize; 2])| {
        let op = op(outs, ins);
        let values = spiced(i as u32, op.lengths()[0], amplitude);
        case("", op, vec![Data::f32(&values)])
    };
    sizes.into_iter().enumerate().map(each).collect()
}

pub(super) fn bench_widely_linear<O: Op>(op: impl Fn(usize, usize) -> O) -> Vec<BenchCase<O>> {
    let data = [Made::Floats, Made::Zeros];
    vec![bench::case("", op(HIDDEN, HIDDEN), &data)]
}

/// A weight of attention and the largest of a block, of the magnitudes of [`Made::Floats`].
fn bench_shards() -> [WeightShard; 2] {
    let shard = |rows| WeightShard::whole(rows, HIDDEN, Granularity::Tensor, 2, -4);
    [shard(HIDDEN), shard(INTERMEDIATE)]
}

pub(super) fn bench_phase_scale<O: Op>(op: impl Fn(WeightShard, usize) -> O) -> Vec<BenchCase<O>> {
    let data = [Made::Floats, Made::Floats, Made::Zeros];
    let each = |shard| [0, 1].map(|stage| bench::case("", op(shard, stage), &data));
    bench_shards().into_iter().flat_map(each).collect()
}

pub(super) fn bench_phase_mean<O: Op>(
    op: impl Fn(WeightShard, usize, f32) -> O,
) -> Vec<BenchCase<O>> {
    let data = [Made::Zeros, Made::Zeros];
    let each = |shard| bench::case("", op(shard, 0, shard.form.least_scale()), &data);
    bench_shards().map(each).into()
}

pub(super) fn bench_phase_pack<O: Op>(op: impl Fn(WeightShard, bool) -> O) -> Vec<BenchCase<O>> {
    let data = [Made::Floats, Made::Floats, Made::Zeros, Made::Zeros];
    let each = |shard| [false, true].map(|measure| bench::case("", op(shard, measure), &data));
    bench_shards().into_iter().flat_map(each).collect()
}

pub(super) fn bench_phase_unpack<O: Op>(op: impl Fn(WeightShard) -> O) -> Vec<BenchCase<O>> {
    let data = [Made::Bits, Made::Floats, Made::Zeros];
    bench_shards()
        .map(|shard| bench::case("", op(shard), &data))
        .into()
}
