//! Weights whose scales have their gradients checked.

use super::ScaleGradient;
use crate::ops::*;

fn case(
    rows: usize,
    (width, by_row): (usize, bool),
    [stages, n_active]: [usize; 2],
) -> Case<ScaleGradient> {
    let op = ScaleGradient {
        rows,
        width,
        by_row,
        stages,
        n_active,
    };
    let gradient = match n_active == stages {
        true => Data::Out(op.scales()),
        false => Data::f32(&noise(194, op.scales(), 1.0)),
    };
    let data = vec![
        Data::f32(&noise(192, rows * width, 2.0)),
        Data::f32(&noise(193, op.scales(), 1.0)),
        gradient,
    ];
    Case::new("", op, data)
}

/// Scales of rows and of a tensor, all stages and the first ones.
pub(super) fn cases() -> Vec<Case<ScaleGradient>> {
    vec![
        case(1, (4, true), [1, 1]),
        case(77, (24, true), [2, 2]),
        case(1300, (8, false), [2, 2]),
        case(3, (16, false), [4, 4]),
        case(33, (24, true), [3, 1]),
        case(700, (8, false), [2, 1]),
    ]
}
