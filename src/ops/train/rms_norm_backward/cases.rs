//! Tokens whose gradients are checked.

use super::RmsNormBackward;
use crate::ops::norm::Rms;
use crate::ops::*;

fn case(tokens: usize, n: usize, rms: Rms, accumulate: bool) -> Case<RmsNormBackward> {
    let op = RmsNormBackward {
        tokens,
        n,
        rms,
        accumulate,
    };
    let data = vec![
        Data::f32(&noise(91, tokens * n, 2.0)),
        Data::f32(&noise(92, n, 2.0)),
        Data::f32(&noise(93, tokens * n, 1.0)),
        Data::f32(&noise(94, tokens * n, 1.0)),
        Data::Out(tokens),
    ];
    Case::new("", op, data)
}

/// Several tokens, an odd width, a wide one, two values, and complex values.
pub(super) fn cases() -> Vec<Case<RmsNormBackward>> {
    let (real, complex) = (Rms::real(1e-5), Rms::complex(1e-5));
    vec![
        case(5, 288, real, true),
        case(3, 75, real, false),
        case(2, 5003, real, true),
        case(4, 2, real, false),
        case(3, 288, complex, true),
        case(2, 3074, complex, false),
        case(4, 2, complex, false),
    ]
}
