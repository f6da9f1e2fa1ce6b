//! Tokens that the norm to f16 is checked and timed on.

use super::{Rms, RmsNormF16};
use crate::ops::*;

fn case(tokens: usize, n: usize, norm: Option<Rms>, amplitude: f32) -> Case<RmsNormF16> {
    let weight: Vec<f32> = noise(15, n, 0.5).iter().map(|w| w + 1.0).collect();
    let data = vec![
        Data::f32(&noise(14, tokens * n, amplitude)),
        Data::f32(&weight),
        Data::Out(tokens * n / 2),
    ];
    Case::new("", RmsNormF16 { tokens, n, norm }, data)
}

/// With and without a norm, a wide token, two values, values beyond the range of f16, and complex values.
pub(super) fn cases() -> Vec<Case<RmsNormF16>> {
    vec![
        case(3, 384, Some(Rms::real(1e-5)), 2.0),
        case(2, 1024, None, 30.0),
        case(1, 11008, Some(Rms::real(1e-6)), 0.01),
        case(4, 2, Some(Rms::real(1e-5)), 1.0),
        case(2, 64, None, 1e6),
        case(3, 384, Some(Rms::complex(1e-5)), 2.0),
        case(4, 2, Some(Rms::complex(1e-5)), 1.0),
    ]
}

/// Decoding, and a prompt.
pub(super) fn bench_cases() -> Vec<BenchCase<RmsNormF16>> {
    let each = |tokens| {
        let op = RmsNormF16 {
            tokens,
            n: bench::HIDDEN,
            norm: Some(Rms::real(1e-5)),
        };
        bench::case("", op, &[Made::Floats, Made::Floats, Made::Zeros])
    };
    [1, bench::PROMPT].map(each).into()
}
