//! Products of every form, size and view that the kernels are checked on.

use super::super::MatrixView;
use super::{Causal, MatmulTrain};
use crate::ops::*;

/// All of them.
pub(super) fn cases() -> Vec<Case<MatmulTrain>> {
    let mut cases = Vec::new();
    let sizes = [[64, 64, 64], [70, 130, 75], [1, 1, 1], [65, 5, 300]];
    for (i, [m, n, k]) in sizes.into_iter().enumerate() {
        // x W^T, dy W, dy^T x
        for (a_transposed, b_transposed) in [(false, false), (false, true), (true, true)] {
            let view = |rows, columns, transposed| MatrixView {
                transposed,
                ..MatrixView::rows(if transposed { rows } else { columns })
            };
            let (a, b) = (view(m, k, a_transposed), view(n, k, b_transposed));
            let mut op = MatmulTrain::new([m, n, k], a, b, MatrixView::rows(n));
            op.accumulate = i % 2 == 1;
            cases.push(case(op));
        }
    }
    cases.extend(views().map(case));
    cases.extend(masked().map(case));
    cases
}

/// Inputs for any product.
fn case(op: MatmulTrain) -> Case<MatmulTrain> {
    let data = [(71, 2.0), (72, 1.0), (73, 5.0)]
        .iter()
        .zip(op.lengths())
        .map(|(&(seed, amplitude), len)| Data::f32(&noise(seed, len, amplitude)))
        .collect();
    Case::new("", op, data)
}

/// Columns of wider rows, and heads side by side.
fn views() -> [MatmulTrain; 5] {
    let view = |offset, stride, head_stride, sequence_stride| MatrixView {
        offset,
        stride,
        head_stride,
        sequence_stride,
        transposed: false,
    };
    let [a, b, c] = [view(7, 40, 0, 0), MatrixView::rows(20), view(3, 50, 0, 0)];
    let columns = MatmulTrain::new([9, 33, 20], a, b, c);
    // two sequences of 17 tokens, rows of 80: 6 query heads of 8 that share 2 keys and 2 values
    let queries = view(0, 80, 8, 17 * 80);
    let keys = view(48, 80, 8, 17 * 80);
    let scores = view(0, 17, 289, 6 * 289);
    let heads = MatmulTrain {
        sequences: 2,
        heads: 6,
        share: 3,
        ..MatmulTrain::new([17, 17, 8], queries, keys, scores)
    };
    // the second of three query heads of each key
    let [weights, values] = [view(289, 17, 867, 6 * 289), view(8, 80, 24, 17 * 80)];
    let (weights, values) = (weights.transposed(), values.transposed());
    let gradient_of_keys = MatmulTrain {
        sequences: 2,
        heads: 2,
        ..MatmulTrain::new([17, 8, 17], weights, values, keys)
    };
    [
        columns,
        heads,
        columns.adding(),
        columns.adding().times(-0.3),
        gradient_of_keys.adding(),
    ]
}

/// Causal products over more than one block: scores, values, and the gradient of keys; and in windows that reach into the block
/// before, to its first column, and nowhere beyond the row itself.
fn masked() -> impl Iterator<Item = MatmulTrain> {
    let rows = MatrixView::rows;
    let products = move |tokens: usize| {
        let (narrow, wide) = (rows(6), rows(tokens));
        let [scores, values] = [[tokens, tokens, 6], [tokens, 6, tokens]];
        let (heads, weights) = (narrow.transposed(), wide.transposed());
        [
            (Causal::Result, scores, [narrow, narrow, wide]),
            (Causal::Lower, values, [wide, heads, narrow]),
            (Causal::Upper, values, [weights, heads, narrow]),
        ]
    };
    let windows = [usize::MAX, 20, 129, 1];
    let all = windows.into_iter().zip([150, 300, 300, 300]);
    all.flat_map(move |(window, tokens)| {
        products(tokens).map(|(causal, size, [a, b, c])| MatmulTrain {
            causal,
            window,
            ..MatmulTrain::new(size, a, b, c)
        })
    })
}
