//! What drawing from everything is checked and timed with.

use super::*;

/// Settings of a row.
const fn settings(k: usize, temperature: f32, top_p: f32, min_p: f32) -> DrawSettings {
    DrawSettings {
        k,
        temperature,
        top_p,
        min_p,
    }
}

/// Every filter alone, all of them, none; the last rows are not drawn here.
const WAYS: [DrawSettings; 9] = [
    settings(0, 1.0, 1.0, 0.0),
    settings(300, 0.8, 1.0, 0.0),
    settings(0, 1.3, 0.7, 0.0),
    settings(0, 1.0, 1.0, 0.02),
    settings(1000, 2.0, 0.95, 0.001),
    settings(0, 9.0, 0.999, 0.0),
    settings(1_000_000, 0.05, 0.0, 0.0),
    settings(40, 1.0, 1.0, 0.0),
    settings(0, 0.0, 1.0, 0.0),
];

pub(super) fn cases() -> Vec<Case<SampleAll>> {
    let all = WAYS.len();
    let coarse: Vec<f32> = noise(62, all * 3000, 6.0)
        .iter()
        .map(|v| v.round())
        .collect();
    let mut cases = vec![
        case("data=noise", &noise(61, all * 5003, 12.0), &WAYS, 1),
        case("data=ties", &coarse, &WAYS, 2),
        case("data=equal", &vec![-3.25; all * 700], &WAYS, 3),
        case("data=single", &noise(63, all, 1.0), &WAYS, 4),
        case("data=large", &noise(64, 131_073, 20.0), &WAYS[4..5], 5),
        case("data=flat", &noise(65, 40_000, 1e-3), &WAYS[2..3], 6),
    ];
    for (i, random) in [0, 0x1234_5678, 0xffff_0000, u32::MAX]
        .into_iter()
        .enumerate()
    {
        let logits = noise(66 + i as u32, all * 300, 4.0);
        let mut case = case(&format!("random={random:#x}"), &logits, &WAYS, 7);
        case.data[2] = Data::u32(&vec![random; 2 + all]);
        cases.push(case);
    }
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let odd = [
        [nan, -inf, nan, -inf],
        [nan, -inf, 2.0, nan],
        [inf, 3.0, inf, nan],
        [f32::MIN, f32::MAX, -0.0, 1e-40],
        [f32::MIN, -inf, f32::MIN, nan],
        [0.0, -0.0, 1e-40, -1e-40],
    ];
    cases.push(case("data=odd", odd.as_flattened(), &WAYS[..odd.len()], 8));
    // those that are drawn from the best few as a rule
    let few = WAYS.map(|how| DrawSettings {
        k: how.k.clamp(3, 40),
        ..how
    });
    cases.push(case("how=each", &coarse[..few.len() * 200], &few, 10));
    cases.push(case("how=shared", &noise(67, 5 * 600, 5.0), &WAYS[2..3], 9));
    cases
}

/// Rows of logits with settings of their own, or with the same; two other rows come before them.
fn case(note: &str, logits: &[f32], how: &[DrawSettings], seed: u32) -> Case<SampleAll> {
    let shared = note == "how=shared";
    let rows = if shared { 5 } else { how.len() };
    let op = SampleAll {
        rows,
        n: logits.len() / rows,
        offset: 2,
        shared,
        least_k: if note == "how=each" {
            1
        } else {
            SampleAll::LEAST_K
        },
    };
    let settings: Vec<u32> = how.iter().flat_map(DrawSettings::words).collect();
    let data = vec![
        Data::f32(logits),
        Data::u32(&settings),
        Data::u32(&noise_u32(seed, 2 + rows)),
        Data::u32(&vec![0x0bad_cafe; 2 + rows]),
    ];
    Case::new(note, op, data)
}

pub(super) fn bench_cases() -> Vec<BenchCase<SampleAll>> {
    use Made::{Bits, Words, Zeros};
    let each = |(note, rows, n, how): (&str, usize, usize, DrawSettings)| {
        let op = SampleAll {
            rows,
            n,
            offset: 0,
            shared: true,
            least_k: SampleAll::LEAST_K,
        };
        let logits = noise(68, rows * n, 8.0).into_iter().map(f32::to_bits);
        let data = [
            Words(logits.collect()),
            Words(how.words().to_vec()),
            Bits,
            Zeros,
        ];
        bench::case(note, op, &data)
    };
    [
        ("how=plain", 1, bench::VOCAB, WAYS[0]),
        ("how=usual", 1, bench::VOCAB, settings(0, 0.8, 0.95, 0.05)),
        ("how=usual", 1, 128_256, settings(0, 0.8, 0.95, 0.05)),
        ("how=usual", 32, bench::VOCAB, settings(0, 0.8, 0.95, 0.05)),
        ("how=filters", 1, bench::VOCAB, WAYS[4]),
    ]
    .map(each)
    .into()
}
