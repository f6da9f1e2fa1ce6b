//! Tokens that the norm to integers is checked and timed on.

use super::{Rms, RmsNormQuantize};
use crate::ops::quantize::{Activations, Form};
use crate::ops::*;

fn case(
    note: &str,
    tokens: usize,
    columns: usize,
    (rms, form, mode): (Rms, Form, Activations),
    x: &[f32],
) -> Case<RmsNormQuantize> {
    let op = RmsNormQuantize {
        tokens,
        columns,
        rms,
        form,
        mode,
    };
    let weight: Vec<f32> = noise(61, columns, 0.5).iter().map(|w| w + 1.0).collect();
    let data = vec![
        Data::f32(x),
        Data::f32(&weight),
        Data::Out(op.lengths()[2]),
        Data::Out(op.lengths()[3]),
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
    // the halves of a token differ in size, and one of them is zero
    let halves = [noise(67, 32, 1e-3), noise(68, 32, 40.0), vec![0.0; 32]].concat();
    let each = |how| {
        [
            case("", 3, 384, how, &noise(62, 3 * 384, 4.0)),
            case("", 2, 8, how, &noise(63, 16, 0.01)),
            case("", 1, 11008, how, &noise(64, 11008, 300.0)),
            case("data=tiny", 2, 64, how, &tiny),
            case("data=halves", 2, 48, how, &halves),
            case("data=magnitudes", 2, 512, how, &values),
            case("data=magnitudes", 40, 64, how, &tokens),
        ]
    };
    let forms = [
        (Rms::real(1e-5), Form::WidelyLinear),
        (Rms::complex(1e-5), Form::Conjugate),
    ];
    let modes = Activations::INTEGERS.into_iter();
    modes
        .flat_map(|mode| forms.map(|(rms, form)| (rms, form, mode)))
        .flat_map(each)
        .collect()
}

/// Decoding, and a prompt.
pub(super) fn bench_cases() -> Vec<BenchCase<RmsNormQuantize>> {
    let each = |tokens| {
        let op = RmsNormQuantize {
            tokens,
            columns: bench::HIDDEN,
            rms: Rms::real(1e-5),
            form: Form::WidelyLinear,
            mode: Activations::Int16,
        };
        let data = [Made::Floats, Made::Floats, Made::Zeros, Made::Zeros];
        bench::case("", op, &data)
    };
    [1, bench::PROMPT].map(each).into()
}
