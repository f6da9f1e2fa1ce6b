//! Inputs on which the dense products are checked and timed.

use super::Dense;
use crate::ops::bench::{self, HIDDEN, INTERMEDIATE, PROMPT};
use crate::ops::*;

/// Every size [outs, tokens, k] in every element type, overwriting and accumulating; the first two also as a shard.
pub(super) fn of_sizes<O: Op>(sizes: &[[usize; 3]], op: impl Fn(Dense) -> O) -> Vec<Case<O>> {
    let mut all = Vec::new();
    for dtype in [MatrixDtype::F32, MatrixDtype::F16, MatrixDtype::Bf16] {
        for (i, &[outs, tokens, k]) in sizes.iter().enumerate() {
            let whole = Dense {
                accumulate: i % 2 == 1,
                ..Dense::whole(outs, tokens, k, dtype)
            };
            all.push(whole);
            if i < 2 {
                all.push(Dense {
                    out_offset: 3,
                    y_stride: outs + 10,
                    accumulate: i == 0,
                    ..whole
                });
            }
        }
    }
    let case = |dense: Dense| {
        let weights = noise(62, dense.outs * dense.k, 1.0);
        let stride = dense.dtype.row_words(dense.k);
        let data = vec![
            Data::f32(&noise(61, dense.tokens * dense.k, 2.0)),
            Data::Words(dense.dtype.encode_rows(&weights, dense.k, stride)),
            Data::f32(&noise(63, dense.tokens * dense.y_stride, 5.0)),
        ];
        Case::new("", op(dense), data)
    };
    all.into_iter().map(case).collect()
}

/// Products that cooperative matrices take, with what their sums are multiplied by.
pub(super) fn coop<O: Op>(op: impl Fn(Dense, f32) -> O) -> Vec<Case<O>> {
    coop_products(&[], op)
}

/// The same, and some whose last outputs are half a tile.
pub(super) fn coop_halves<O: Op>(op: impl Fn(Dense, f32) -> O) -> Vec<Case<O>> {
    let whole = |outs, tokens, k| Dense::whole(outs, tokens, k, MatrixDtype::F16);
    let halves = [
        whole(576, 130, 192),
        whole(64, 20, 64),
        Dense {
            out_offset: 20,
            y_stride: 228,
            accumulate: true,
            ..whole(192, 70, 64)
        },
    ];
    coop_products(&halves, op)
}

fn coop_products<O: Op>(more: &[Dense], op: impl Fn(Dense, f32) -> O) -> Vec<Case<O>> {
    let mut all: Vec<_> = more
        .iter()
        .map(|&dense| coop_case(dense, 1.0, &op))
        .collect();
    for dtype in [MatrixDtype::F16, MatrixDtype::Bf16] {
        let whole = |outs, tokens, k| Dense::whole(outs, tokens, k, dtype);
        let products = [
            whole(128, 128, 64),
            whole(384, 256, 512),
            // a tile of tokens that is not whole
            whole(128, 5, 128),
            Dense {
                accumulate: true,
                ..whole(256, 200, 192)
            },
            Dense {
                out_offset: 16,
                y_stride: 176,
                ..whole(128, 128, 128)
            },
            Dense {
                out_offset: 132,
                y_stride: 260,
                accumulate: true,
                ..whole(128, 9, 64)
            },
            // more tiles of tokens than go through the outputs together
            whole(256, 1100, 64),
        ];
        all.extend(products.map(|dense| coop_case(dense, 1.0, &op)));
    }
    let accumulating = Dense {
        accumulate: true,
        ..Dense::whole(128, 128, 64, MatrixDtype::F16)
    };
    all.push(coop_case(accumulating, 0.125, &op));
    all
}

fn coop_case<O: Op>(dense: Dense, scale: f32, op: impl Fn(Dense, f32) -> O) -> Case<O> {
    let op = op(dense, scale);
    let x = noise(64, 2 * op.lengths()[0], 2.0);
    let weights = noise(65, dense.outs * dense.k, 1.0);
    let rows = |dtype: MatrixDtype, values: &[f32]| {
        Data::Words(dtype.encode_rows(values, dense.k, dtype.row_words(dense.k)))
    };
    let tokens = x.len() / dense.k;
    let data = vec![
        rows(MatrixDtype::F16, &x),
        rows(dense.dtype, &weights),
        Data::f32(&noise(66, tokens * dense.y_stride, 5.0)),
    ];
    Case::new("", op, data)
}

/// The linear layers of a block and the head, for one token.
pub(super) fn bench_layers<O: Op>(op: impl Fn(Dense) -> O) -> Vec<BenchCase<O>> {
    let data = [Made::Floats, Made::Halves, Made::Zeros];
    let layers = bench::layers().into_iter();
    layers
        .map(|(name, segments, k)| {
            let dense = Dense::whole(segments.iter().sum(), 1, k, MatrixDtype::F16);
            bench::case(format!("layer={name}"), op(dense), &data)
        })
        .collect()
}

/// Layers of a prompt, and a cube.
pub(super) fn bench_products<O: Op>(x: Made, op: impl Fn(Dense) -> O) -> Vec<BenchCase<O>> {
    let data = [x, Made::Halves, Made::Zeros];
    [
        [HIDDEN, PROMPT, HIDDEN],
        [HIDDEN, PROMPT, INTERMEDIATE],
        [4096, 4096, 4096],
    ]
    .map(|[outs, tokens, k]| {
        let dense = Dense::whole(outs, tokens, k, MatrixDtype::F16);
        bench::case("", op(dense), &data)
    })
    .into()
}
