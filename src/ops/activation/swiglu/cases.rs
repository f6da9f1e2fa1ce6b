//! Gates that the activation is checked and timed on.

use super::SwiGlu;
use crate::ops::*;

fn case(note: &str, tokens: usize, n: usize, x: &[f32], gelu: bool) -> Case<SwiGlu> {
    let data = vec![Data::f32(x), Data::Out(tokens * n)];
    Case::new(note, SwiGlu { tokens, n, gelu }, data)
}

/// Several tokens, an odd width, large gates, one value, and the largest and smallest gates there are.
pub(super) fn cases() -> Vec<Case<SwiGlu>> {
    let mut x = vec![
        1e4f32,
        -1e4,
        104.0,
        -104.0,
        88.8,
        -88.8,
        -87.3,
        17.0,
        -17.0,
        0.0,
        -0.0,
        1e-30,
        -1e-30,
        3e38,
        -3e38,
        f32::MIN_POSITIVE,
    ];
    x.extend([0.5; 16]);
    vec![
        case("", 3, 172, &noise(31, 3 * 344, 6.0), false),
        case("", 2, 301, &noise(32, 2 * 602, 1.0), false),
        case("", 1, 1000, &noise(33, 2000, 40.0), false),
        case("", 5, 1, &noise(34, 10, 3.0), false),
        case("data=extremes", 1, 16, &x, false),
        case("", 3, 172, &noise(31, 3 * 344, 6.0), true),
        case("data=extremes", 1, 16, &x, true),
    ]
}

/// Decoding, and a prompt.
pub(super) fn bench_cases() -> Vec<BenchCase<SwiGlu>> {
    let n = bench::INTERMEDIATE;
    [1, bench::PROMPT]
        .map(|tokens| {
            bench::case(
                "",
                SwiGlu {
                    tokens,
                    n,
                    gelu: false,
                },
                &[Made::Floats, Made::Zeros],
            )
        })
        .into()
}
