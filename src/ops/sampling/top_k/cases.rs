//! What the best few elements are checked and timed with.

use super::*;

pub(super) fn cases() -> Vec<Case<TopK>> {
    let logits = noise(81, 32000, 12.0);
    let coarse: Vec<f32> = noise(82, 5000, 4.0).iter().map(|v| v.round()).collect();
    let zeros: Vec<f32> = (0..700)
        .map(|i| if i % 3 == 0 { 0.0 } else { -0.0 })
        .collect();
    let neighbours: Vec<f32> = (0..3000)
        .map(|i| f32::from_bits(0xc100_0000 + (i * 7919) % 3001))
        .collect();
    let mut infinite = noise(83, 300, 1.0);
    (infinite[7], infinite[290]) = (f32::NEG_INFINITY, f32::INFINITY);
    vec![
        case("data=noise", 1, 40, &logits),
        case("data=noise", 1, 256, &logits[..20011]),
        case("data=noise", 1, 1, &logits[..999]),
        case("data=ties", 1, 100, &coarse),
        case("data=equal", 1, 200, &[-3.25; 3000]),
        case("data=noise", 1, 77, &logits[..77]),
        case("data=ties", 1, 256, &coarse[..256]),
        case("data=zeros", 1, 250, &zeros),
        case("data=neighbours", 1, 64, &neighbours),
        case("data=infinite", 1, LARGEST_K, &infinite),
        case("data=single", 1, 1, &[-1.0]),
        case("data=noise", 1, 50, &noise(84, 131_073, 20.0)),
        case("data=noise", 5, 40, &noise(85, 5 * 3001, 12.0)),
        case("data=ties", 3, 256, &coarse[..3 * 1500]),
        case("data=single", 7, 1, &noise(86, 7, 1.0)),
        case("data=noise", 2, 77, &logits[..2 * 77]),
    ]
}

fn case(note: &str, rows: usize, k: usize, x: &[f32]) -> Case<TopK> {
    let n = x.len() / rows;
    let data = vec![Data::f32(x), Data::Out(rows * k), Data::Out(rows * k)];
    Case::new(note, TopK { rows, n, k }, data)
}

pub(super) fn bench_cases() -> Vec<BenchCase<TopK>> {
    use Made::{Floats, Zeros};
    let each = |(rows, n, k)| bench::case("", TopK { rows, n, k }, &[Floats, Zeros, Zeros]);
    [
        (1, bench::VOCAB, 40),
        (1, bench::VOCAB, 64),
        (1, bench::VOCAB, 256),
        (1, 128_256, 64),
        (8, bench::VOCAB, 64),
    ]
    .map(each)
    .into()
}
