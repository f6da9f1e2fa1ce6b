//! Weights whose scales have their gradients checked.

use super::ScaleGradient;
use crate::ops::*;

fn case(
    rows: usize,
    [width, block_rows]: [usize; 2],
    [stages, n_active]: [usize; 2],
) -> Case<ScaleGradient> {
    let op = ScaleGradient {
        rows,
        width,
        block_rows,
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

/// Scales of rows, of a tensor and of tiles, all stages and the first ones.
pub(super) fn cases() -> Vec<Case<ScaleGradient>> {
    vec![
        case(1, [4, 1], [1, 1]),
        case(77, [24, 1], [2, 2]),
        case(1300, [8, 1300], [2, 2]),
        case(3, [16, 3], [4, 4]),
        case(33, [24, 1], [3, 1]),
        case(700, [8, 700], [2, 1]),
        case(193, [24, 64], [2, 2]),
        case(1100, [12, 600], [3, 2]),
    ]
}
