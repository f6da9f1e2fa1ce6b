//! Products of every form, size and view that the kernels are checked on.

use super::super::MatrixView;
use super::MatmulTrain;
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

/// Columns of wider rows, and what lies below the diagonal of more than one block.
fn views() -> [MatmulTrain; 5] {
    let view = |offset, stride| MatrixView {
        offset,
        ..MatrixView::rows(stride)
    };
    let rows = MatrixView::rows;
    let [a, b, c] = [view(7, 40), rows(20), view(3, 50)];
    let columns = MatmulTrain::new([9, 33, 20], a, b, c);
    let lower = |tokens| MatmulTrain {
        lower: true,
        ..MatmulTrain::new([tokens, tokens, 6], rows(6), rows(6), rows(tokens))
    };
    [
        columns,
        columns.adding(),
        columns.adding().times(-0.3),
        lower(150),
        lower(300).adding(),
    ]
}
