//! What the best element is checked and timed with.

use super::*;

pub(super) fn cases() -> Vec<Case<Argmax>> {
    let mut ties = noise(71, 3 * 1000, 1.0);
    for index in [700, 301, 1999, 1257, 2000] {
        ties[index] = 2.0;
    }
    let negative: Vec<f32> = noise(72, 600, 1.0).iter().map(|v| v - 3.0).collect();
    let zeros = [-1.0, -0.0, 0.0, 0.0, -0.0, -2.0, -0.0, -0.0, -0.0];
    let nan = f32::NAN;
    let odd = [
        nan,
        f32::NEG_INFINITY,
        f32::NEG_INFINITY,
        f32::MAX,
        nan,
        f32::INFINITY,
        nan,
        nan,
        nan,
    ];
    let subnormal = [
        0.0,
        f32::from_bits(1),
        f32::from_bits(2),
        -f32::from_bits(3),
    ];
    let mut later = case("data=noise", 4, &noise(73, 4 * 500, 9.0));
    later.op.offset = 3;
    later.data[1] = Data::u32(&[5; 7]);
    vec![
        case("data=noise", 5, &noise(70, 5 * 288, 9.0)),
        case("data=noise", 1, &noise(73, 32000, 9.0)),
        later,
        case("data=ties", 3, &ties),
        case("data=equal", 2, &[-7.5; 900]),
        case("data=negative", 2, &negative),
        case("data=zeros", 3, &zeros),
        case("data=single", 4, &[1.0, -1.0, 0.0, f32::MIN]),
        case("data=odd", 3, &odd),
        case("data=subnormal", 1, &subnormal),
    ]
}

fn case(note: &str, rows: usize, x: &[f32]) -> Case<Argmax> {
    let op = Argmax {
        rows,
        n: x.len() / rows,
        offset: 0,
    };
    Case::new(note, op, vec![Data::f32(x), Data::Out(rows)])
}

pub(super) fn bench_cases() -> Vec<BenchCase<Argmax>> {
    use Made::{Floats, Zeros};
    let each = |n| {
        let op = Argmax {
            rows: 1,
            n,
            offset: 0,
        };
        bench::case("", op, &[Floats, Zeros])
    };
    [bench::VOCAB, 128_256].map(each).into()
}
