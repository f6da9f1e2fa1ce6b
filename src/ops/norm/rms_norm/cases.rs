//! Tokens that the norm is checked and timed on.

use super::{Rms, RmsNorm};
use crate::ops::*;

fn case(tokens: usize, n: usize, rms: Rms, amplitude: f32) -> Case<RmsNorm> {
    let op = RmsNorm {
        tokens,
        n,
        rms,
        accumulate: false,
    };
    let x = noise(21, tokens * n, amplitude);
    let weight = noise(22, n, 2.0);
    let data = vec![Data::f32(&x), Data::f32(&weight), Data::Out(tokens * n)];
    Case::new("", op, data)
}

/// Several tokens, an odd width, wide ones, one whose norm `eps` decides, one value, zeros, and complex
/// values, one of them alone.
pub(super) fn cases() -> Vec<Case<RmsNorm>> {
    let zeros = RmsNorm {
        tokens: 1,
        n: 40,
        rms: Rms::real(1e-6),
        accumulate: false,
    };
    let added = RmsNorm {
        tokens: 3,
        n: 75,
        rms: Rms::real(1e-5),
        accumulate: true,
    };
    let added_data = vec![
        Data::f32(&noise(21, 225, 4.0)),
        Data::f32(&noise(22, 75, 2.0)),
        Data::f32(&noise(23, 225, 1.0)),
    ];
    let (real, complex) = (Rms::real(1e-5), Rms::complex(1e-5));
    let data = vec![Data::f32(&[0.0; 40]), Data::f32(&[1.0; 40]), Data::Out(40)];
    vec![
        case(5, 288, real, 1.0),
        case(3, 75, real, 4.0),
        case(2, 5003, real, 0.5),
        case(1, 8192, real, 30.0),
        case(2, 64, real, 1e-3),
        case(7, 1, real, 1.0),
        case(3, 288, complex, 1.0),
        case(2, 3074, complex, 0.5),
        case(4, 64, complex, 1e-3),
        case(3, 2, complex, 1.0),
        Case::new("data=zeros", zeros, data),
        Case::new("", added, added_data),
    ]
}

/// Decoding, and a prompt.
pub(super) fn bench_cases() -> Vec<BenchCase<RmsNorm>> {
    let each = |tokens| {
        let op = RmsNorm {
            tokens,
            n: bench::HIDDEN,
            rms: Rms::real(1e-5),
            accumulate: false,
        };
        bench::case("", op, &[Made::Floats, Made::Floats, Made::Zeros])
    };
    [1, bench::PROMPT].map(each).into()
}
