//! Tokens that the norm to integers is checked and timed on.

use super::RmsNormQuantize;
use crate::ops::quantize::Activations;
use crate::ops::*;

fn case(
    note: &str,
    tokens: usize,
    columns: usize,
    mode: Activations,
    x: &[f32],
) -> Case<RmsNormQuantize> {
    let op = RmsNormQuantize {
        tokens,
        columns,
        eps: 1e-5,
        mode,
    };
    let weight: Vec<f32> = noise(61, columns, 0.5).iter().map(|w| w + 1.0).collect();
    let data = vec![
        Data::f32(x),
        Data::f32(&weight),
        Data::Out(op.lengths()[2]),
        Data::Out(tokens),
    ];
    Case::new(note, op, data)
}

/// Several tokens, a narrow and a wide one, zeros beside tiny values, and values and tokens of many magnitudes.
pub(super) fn cases() -> Vec<Case<RmsNormQuantize>> {
    let tiny = [vec![0.0; 64], noise(65, 64, 1e-31)].concat();
    let values = noise(66, 2 * 512, 1.0).into_iter().enumerate();
    let values = values.map(|(i, v)| v * 2f32.powi(-(i as i32 % 60)));
    let values: Vec<f32> = values.collect();
    // many tokens, so that the square root sees many values
    let tokens = (0..40).flat_map(|t| noise(70 + t, 64, 1.7f32.powi(t as i32 - 20)));
    let tokens: Vec<f32> = tokens.collect();
    let each = |mode| {
        [
            case("", 3, 384, mode, &noise(62, 3 * 384, 4.0)),
            case("", 2, 8, mode, &noise(63, 16, 0.01)),
            case("", 1, 11008, mode, &noise(64, 11008, 300.0)),
            case("data=tiny", 2, 64, mode, &tiny),
            case("data=magnitudes", 2, 512, mode, &values),
            case("data=magnitudes", 40, 64, mode, &tokens),
        ]
    };
    [Activations::Int16, Activations::Int8]
        .into_iter()
        .flat_map(each)
        .collect()
}

/// Decoding, and a prompt.
pub(super) fn bench_cases() -> Vec<BenchCase<RmsNormQuantize>> {
    let each = |tokens| {
        let op = RmsNormQuantize {
            tokens,
            columns: bench::HIDDEN,
            eps: 1e-5,
            mode: Activations::Int16,
        };
        let data = [Made::Floats, Made::Floats, Made::Zeros, Made::Zeros];
        bench::case("", op, &data)
    };
    [1, bench::PROMPT].map(each).into()
}
