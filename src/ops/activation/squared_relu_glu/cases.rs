//! Gates that the activation is checked and timed on.

use super::SquaredReluGlu;
use crate::ops::*;

fn case(note: &str, tokens: usize, n: usize, x: &[f32]) -> Case<SquaredReluGlu> {
    let data = vec![Data::f32(x), Data::Out(tokens * n)];
    Case::new(note, SquaredReluGlu { tokens, n }, data)
}

/// Several tokens, an odd number of complex values, large gates, one complex value, and gates on the edges of the quadrant in
/// which they are 0.
pub(super) fn cases() -> Vec<Case<SquaredReluGlu>> {
    let re = [-1.0f32, -1.0, -0.0, -0.0, 0.0, 1.5, -1.5, -1e-30];
    let im = [-1.0f32, 0.0, -0.0, -2.0, -2.0, -2.5, 1e-30, -1e-30];
    let up = noise(37, 16, 1.0);
    let edges: Vec<f32> = re.into_iter().chain(im).chain(up).collect();
    vec![
        case("", 3, 172, &noise(31, 3 * 344, 6.0)),
        case("", 2, 302, &noise(32, 2 * 604, 1.0)),
        case("", 1, 1000, &noise(33, 2000, 1e4)),
        case("", 5, 2, &noise(34, 20, 3.0)),
        case("data=edges", 1, 16, &edges),
    ]
}

/// Decoding, and a prompt.
pub(super) fn bench_cases() -> Vec<BenchCase<SquaredReluGlu>> {
    let n = bench::INTERMEDIATE;
    [1, bench::PROMPT]
        .map(|tokens| {
            let op = SquaredReluGlu { tokens, n };
            bench::case("", op, &[Made::Floats, Made::Zeros])
        })
        .into()
}
