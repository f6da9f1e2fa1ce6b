//! Steps that are checked and timed.

use super::{Adamw, Update};
use crate::ops::*;

fn case(n: usize, step: u64, weight_decay: f64, offsets: [usize; 3]) -> Case<Adamw> {
    let [gradient_offset, x_offset, moments_offset] = offsets;
    let update = Update {
        factor: 0.8,
        beta1: 0.9,
        beta2: 0.95,
        eps: 1e-8,
        lr: 1e-3,
        weight_decay,
        step,
    };
    let moment = |seed, amplitude: f32| -> Vec<f32> {
        let amplitude = if step > 1 { amplitude } else { 0.0 };
        noise(seed, moments_offset + n, amplitude)
    };
    let squares: Vec<f32> = moment(113, 0.01).iter().map(|v| v.abs()).collect();
    let data = vec![
        Data::f32(&noise(110, gradient_offset + n, 0.1)),
        Data::f32(&noise(111, x_offset + n, 0.05)),
        Data::f32(&moment(112, 0.1)),
        Data::f32(&squares),
    ];
    let op = Adamw {
        n,
        update,
        gradient_offset,
        x_offset,
        moments_offset,
    };
    Case::new("", op, data)
}

/// A first step, a later one without decay, and some of many values.
pub(super) fn cases() -> Vec<Case<Adamw>> {
    vec![
        case(5000, 1, 0.1, [0; 3]),
        case(333, 1000, 0.0, [0; 3]),
        case(700, 7, 0.1, [512, 256, 3]),
    ]
}

/// The largest weight of a block.
pub(super) fn bench_cases() -> Vec<BenchCase<Adamw>> {
    let update = Update {
        factor: 1.0,
        beta1: 0.9,
        beta2: 0.95,
        eps: 1e-8,
        lr: 1e-3,
        weight_decay: 0.0,
        step: 1,
    };
    let op = Adamw::whole(bench::LARGEST_WEIGHT, update);
    let data = [Made::Floats, Made::Floats, Made::Floats, Made::Zeros];
    vec![bench::case("", op, &data)]
}
