//! Gates that the gradient is checked and timed on.

use super::SquaredReluGluBackward;
use crate::ops::*;

fn case(tokens: usize, n: usize, amplitude: f32) -> Case<SquaredReluGluBackward> {
    with("", tokens, n, &noise(36, 2 * tokens * n, amplitude))
}

fn with(note: &str, tokens: usize, n: usize, x: &[f32]) -> Case<SquaredReluGluBackward> {
    let data = vec![Data::f32(&noise(35, tokens * n, 1.0)), Data::f32(x)];
    Case::new(note, SquaredReluGluBackward { tokens, n }, data)
}

/// Several tokens, an odd number of complex values, large gates, one complex value, and gates on the edges of the quadrant in
/// which they are 0.
pub(super) fn cases() -> Vec<Case<SquaredReluGluBackward>> {
    let re = [-1.0f32, -1.0, -0.0, -0.0, 0.0, 1.5, -1.5, -1e-30];
    let im = [-1.0f32, 0.0, -0.0, -2.0, -2.0, -2.5, 1e-30, -1e-30];
    let up = noise(37, 16, 1.0);
    let edges: Vec<f32> = re.into_iter().chain(im).chain(up).collect();
    vec![
        case(3, 172, 6.0),
        case(2, 302, 1.0),
        case(1, 1000, 100.0),
        case(5, 2, 3.0),
        with("data=edges", 1, 16, &edges),
    ]
}

/// A micro-batch.
pub(super) fn bench_cases() -> Vec<BenchCase<SquaredReluGluBackward>> {
    let op = SquaredReluGluBackward {
        tokens: bench::PROMPT,
        n: bench::INTERMEDIATE,
    };
    vec![bench::case("", op, &[Made::Floats, Made::Floats])]
}
