//! Logarithms of scales that are checked.

use super::ScaleExp;
use crate::ops::*;

fn case(n: usize, [stages, n_active]: [usize; 2], amplitude: f32) -> Case<ScaleExp> {
    let data = vec![Data::f32(&noise(191, n, amplitude)), Data::Out(n)];
    Case::new(
        "",
        ScaleExp {
            n,
            stages,
            n_active,
        },
        data,
    )
}

/// One scale, many, and the first stages alone.
pub(super) fn cases() -> Vec<Case<ScaleExp>> {
    vec![
        case(1, [1, 1], 1.0),
        case(777, [3, 3], 10.0),
        case(648, [2, 1], 1.0),
        case(78, [3, 2], 1.0),
    ]
}
