//! Tokens that the norm is checked and timed on.

use super::RmsNorm;
use crate::ops::*;

fn case(tokens: usize, n: usize, amplitude: f32) -> Case<RmsNorm> {
    let op = RmsNorm {
        tokens,
        n,
        eps: 1e-5,
    };
    let x = noise(21, tokens * n, amplitude);
    let weight = noise(22, n, 2.0);
    let data = vec![Data::f32(&x), Data::f32(&weight), Data::Out(tokens * n)];
    Case::new("", op, data)
}

/// Several tokens, an odd width, wide ones, one whose norm `eps` decides, one value, and zeros.
pub(super) fn cases() -> Vec<Case<RmsNorm>> {
    let zeros = RmsNorm {
        tokens: 1,
        n: 40,
        eps: 1e-6,
    };
    let data = vec![Data::f32(&[0.0; 40]), Data::f32(&[1.0; 40]), Data::Out(40)];
    vec![
        case(5, 288, 1.0),
        case(3, 75, 4.0),
        case(2, 5003, 0.5),
        case(1, 8192, 30.0),
        case(2, 64, 1e-3),
        case(7, 1, 1.0),
        Case::new("data=zeros", zeros, data),
    ]
}

/// Decoding, and a prompt.
pub(super) fn bench_cases() -> Vec<BenchCase<RmsNorm>> {
    let each = |tokens| {
        let op = RmsNorm {
            tokens,
            n: bench::HIDDEN,
            eps: 1e-5,
        };
        bench::case("", op, &[Made::Floats, Made::Floats, Made::Zeros])
    };
    [1, bench::PROMPT].map(each).into()
}
