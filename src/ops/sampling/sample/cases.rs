//! What drawing is checked and timed with.

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

pub(super) fn cases() -> Vec<Case<Sample>> {
    let mut cases = Vec::new();
    let usual = |k| settings(k, 0.8, 0.95, 0.05);
    let one = |note: &str, logits: &[f32], how, random| {
        case(
            &format!("{note},random={random:#x}"),
            logits,
            &[how],
            &[random],
        )
    };
    for random in [0, 0x1234_5678, 0x9999_9999, u32::MAX] {
        cases.push(one("how=usual", &sorted(40, 5.0), usual(40), random));
        let hot = settings(256, 3.0, 1.0, 0.0);
        cases.push(one("how=hot", &sorted(256, 3.0), hot, random));
        let cold = settings(17, 0.05, 0.5, 0.0);
        cases.push(one("how=cold", &sorted(17, 1.0), cold, random));
        let fewer = settings(9, 2.0, 1.0, 0.0);
        cases.push(one("how=fewer", &sorted(40, 2.0), fewer, random));
    }
    let odd = [
        f32::INFINITY,
        f32::INFINITY,
        3.0,
        f32::NEG_INFINITY,
        f32::NAN,
    ];
    let all = settings(5, 1.0, 1.0, 0.0);
    cases.push(case("data=odd", &odd, &[all], &[0xc000_0000]));
    cases.push(case("data=nan", &[f32::NAN; 3], &[usual(3)], &[7]));
    cases.push(case("data=single", &[-2.0], &[usual(1)], &[7]));
    // rows that decide differently, a hopeless one among them
    let rows: Vec<f32> = (0..6).flat_map(|_| sorted(40, 3.0)).collect();
    let random = noise_u32(75, 6);
    let plain = settings(40, 1.0, 1.0, 0.0);
    cases.push(case("how=plain", &rows, &[plain], &random));
    // the same rows, each with settings of its own; the third one takes the best
    let own = [
        usual(40),
        settings(40, 5.0, 1.0, 0.0),
        settings(1, 1.0, 1.0, 0.0),
        settings(11, 1.3, 0.6, 0.0),
        settings(40, 0.05, 1.0, 0.0),
        settings(2, 9.0, 1.0, 0.5),
    ];
    cases.push(case("how=each", &rows, &own, &random));
    let mut rows = [sorted(7, 2.0), vec![f32::NAN; 7], sorted(7, 9.0)].concat();
    rows[14] = f32::INFINITY;
    cases.push(case("data=mixed", &rows, &[usual(7)], &random[..3]));
    let lowest = [f32::NEG_INFINITY; 4];
    cases.push(case("data=lowest", &lowest, &[usual(7)], &[7]));
    // rows that are drawn elsewhere, and rows that take the best one
    let elsewhere = [
        settings(0, 1.0, 1.0, 0.0),
        settings(20, 0.0, 1.0, 0.0),
        settings(257, 1.0, 1.0, 0.0),
        settings(300, 0.0, 0.0, 1.0),
        settings(41, 1.0, 1.0, 0.0),
        settings(40, 1.0, 1.0, 0.0),
    ];
    let rows: Vec<f32> = (0..6).flat_map(|_| sorted(100, 0.5)).collect();
    cases.push(case("how=elsewhere", &rows, &elsewhere, &random));
    cases.extend(ties());
    cases
}

/// Equals of the k-th, and candidates that are equals only once the temperature has divided them.
fn ties() -> Vec<Case<Sample>> {
    let mut cases = Vec::new();
    let coarse: Vec<f32> = sorted(64, 4.0).iter().map(|v| v.round()).collect();
    let close: Vec<f32> = (0..64).map(|i| 8.0 - i as f32 * 1e-6).collect();
    let random = noise_u32(76, 8);
    for (note, row) in [("data=ties", &coarse), ("data=close", &close)] {
        let rows = row.repeat(random.len());
        for how in [
            settings(10, 1.0, 1.0, 0.0),
            settings(10, 70.0, 0.3, 0.0),
            settings(3, 1e30, 1.0, 0.9),
        ] {
            let note = format!("{note},temperature={}", how.temperature);
            cases.push(case(&note, &rows, &[how], &random));
        }
    }
    cases
}

/// `k` logits, best first.
fn sorted(k: usize, amplitude: f32) -> Vec<f32> {
    let mut logits = noise(74, k, amplitude);
    logits.sort_by(|a, b| b.total_cmp(a));
    logits
}

/// Rows of logits, one for each random number, with one set of settings or one each; two other rows come before them.
fn case(note: &str, logits: &[f32], how: &[DrawSettings], random: &[u32]) -> Case<Sample> {
    let rows = random.len();
    let op = Sample {
        rows,
        k: logits.len() / rows,
        offset: 2,
        shared: how.len() == 1,
    };
    let ids: Vec<u32> = (0..logits.len() as u32)
        .map(|i| 1000 + i * 7919 % 10_007)
        .collect();
    let settings: Vec<u32> = how.iter().flat_map(DrawSettings::words).collect();
    let data = vec![
        Data::u32(&ids),
        Data::f32(logits),
        Data::u32(&settings),
        Data::u32(&[&[0, u32::MAX], random].concat()),
        Data::u32(&vec![5; 2 + rows]),
    ];
    Case::new(note, op, data)
}

pub(super) fn bench_cases() -> Vec<BenchCase<Sample>> {
    use Made::{Bits, Words, Zeros};
    let each = |(rows, k): (usize, usize)| {
        let how = settings(k, 0.8, 0.95, 0.05);
        let op = Sample {
            rows,
            k: how.candidates(),
            offset: 0,
            shared: true,
        };
        let logits = sorted(op.k, 8.0).repeat(rows).into_iter().map(f32::to_bits);
        let settings = Words(how.words().to_vec());
        bench::case(
            "",
            op,
            &[Bits, Words(logits.collect()), settings, Bits, Zeros],
        )
    };
    [(1, 40), (8, 40), (1, 256)].map(each).into()
}
