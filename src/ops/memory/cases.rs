//! Inputs that the ops of this wing are checked and timed on.

use super::{CastF16, Copy, CopyWithin, Fill, Gather, Noise, PADDING};
use crate::ops::*;

/// Whole rows, some columns of wider ones, and four values.
pub(super) fn cast_f16() -> Vec<Case<CastF16>> {
    let case = |rows, columns, stride, offset| {
        let op = CastF16 {
            rows,
            columns,
            stride,
            offset,
        };
        let [x, y] = [op.lengths()[0], op.lengths()[1]];
        let data = vec![Data::f32(&data::noise(19, x, 3.0)), Data::Out(y)];
        Case::new("", op, data)
    };
    vec![case(3, 300, 300, 0), case(7, 64, 160, 32), case(1, 4, 4, 0)]
}

/// One vector, and several workgroups with one vector more.
pub(super) fn copy() -> Vec<Case<Copy>> {
    let case = |quads| {
        let data = vec![Data::Words(noise_u32(1, 4 * quads)), Data::Out(4 * quads)];
        Case::new("", Copy { quads }, data)
    };
    [1, 4101].map(case).into()
}

/// One word, ranges that touch, forwards and backwards, and several workgroups; words around them stay as they are.
pub(super) fn copy_within() -> Vec<Case<CopyWithin>> {
    let case = |(src, dst, words)| {
        let op = CopyWithin { src, dst, words };
        let before = noise_u32(3, op.lengths()[0] + 9);
        Case::new("", op, vec![Data::Words(before)])
    };
    let shapes = [(0, 1, 1), (5, 12, 7), (16_430, 3, 16_423)];
    shapes.map(case).into()
}

/// One word, and several workgroups with some words more; words behind the last one stay as they are.
pub(super) fn fill() -> Vec<Case<Fill>> {
    let case = |(words, value)| {
        let before = noise_u32(2, words + 9);
        Case::new("", Fill { words, value }, vec![Data::Words(before)])
    };
    [(1, 0), (16_423, 0x3f80_0000)].map(case).into()
}

/// A square with a diagonal, one of which only the lower triangle is read, and columns that are put into wider rows.
pub(super) fn gather() -> Vec<Case<Gather>> {
    let case = |op: Gather, x_rows: u32| {
        let x_columns = op.x_stride as u32;
        let lengths = op.lengths();
        let data = vec![
            Data::f32(&data::noise(151, lengths[0], 2.0)),
            Data::u32(&indices(152, lengths[1], x_rows)),
            Data::u32(&indices(153, lengths[2], x_columns)),
            Data::f32(&data::noise(154, lengths[3], 1.0)),
        ];
        Case::new("", op, data)
    };
    let square = Gather {
        n_rows: 24,
        n_columns: 24,
        rows_offset: 0,
        columns_offset: 0,
        x_stride: 23,
        x_len: 23 * 23,
        y_offset: 0,
        y_stride: 24,
        diagonal: 0.25,
        symmetric: false,
    };
    let columns = Gather {
        n_rows: 70,
        n_columns: 9,
        rows_offset: 3,
        columns_offset: 5,
        x_stride: 40,
        x_len: 400,
        y_offset: 11,
        y_stride: 31,
        diagonal: 0.0,
        symmetric: false,
    };
    let lower = Gather {
        symmetric: true,
        ..square.clone()
    };
    vec![case(square, 23), case(lower, 23), case(columns, 10)]
}

/// Indices below `limit`, and padding among them.
fn indices(seed: u32, len: usize, limit: u32) -> Vec<u32> {
    let words = noise_u32(seed, len).into_iter();
    words
        .map(|v| if v % 7 == 3 { PADDING } else { v % limit })
        .collect()
}

/// Bits and f16, in one workgroup and in many.
pub(super) fn noise() -> Vec<Case<Noise>> {
    let ops = [
        Noise::bits(5000, 3),
        Noise::halves(77, 4),
        Noise::bits(50_001, 5),
    ];
    ops.map(|op| {
        let out = Data::Out(op.words);
        Case::new("", op, vec![out])
    })
    .into()
}

/// Words of a large buffer: 256 MiB.
const WORDS: usize = 64 << 20;

/// A large buffer.
pub(super) fn bench_copy() -> Vec<BenchCase<Copy>> {
    let op = Copy { quads: WORDS / 4 };
    vec![bench::case("", op, &[Made::Bits, Made::Zeros])]
}

/// A large buffer.
pub(super) fn bench_noise() -> Vec<BenchCase<Noise>> {
    vec![bench::case("", Noise::bits(WORDS, 1), &[Made::Zeros])]
}
