use super::*;
use crate::ops::{hash32, noise};

#[test]
fn weights_are_powers_and_never_rise() {
    let mut before = 1 << 31;
    for i in 0..100_000u32 {
        let distance = i * 42_937;
        let want = (31.0 - f64::from(distance) / 2f64.powi(27)).exp2();
        let got = f64::from(weight(distance));
        assert!(
            (got - want).abs() <= want * 5e-9 + 1.0,
            "{distance}: {got} {want}"
        );
        assert!(weight(distance) <= before, "{distance}");
        before = weight(distance);
    }
    assert_eq!([weight(0), weight(LAST), weight(LAST + 1)], [1 << 31, 1, 0]);
    for octave in 1..31u32 {
        let end = octave << 27;
        assert!(weight(end - 1) >= weight(end), "{octave}");
    }
}

#[test]
fn draws_follow_the_weights() {
    let logits = [1.0f32, 0.5, 0.0, -1.0];
    let total: f64 = logits.iter().map(|l| f64::from(*l).exp()).sum();
    let settings = DrawSettings {
        k: 4,
        temperature: 1.0,
        top_p: 1.0,
        min_p: 0.0,
    };
    let mut counts = [0usize; 4];
    let draws = 20_000u32;
    for i in 0..draws {
        let choice = settings.draw((0..).zip(logits), hash32(i, 9));
        counts[choice.expect("numbers") as usize] += 1;
    }
    for (count, l) in counts.iter().zip(logits) {
        let want = f64::from(l).exp() / total;
        let got = *count as f64 / f64::from(draws);
        assert!((got - want).abs() < 0.012, "{l}: {got} {want}");
    }
}

#[test]
fn buckets_draw_what_the_ranked_do() {
    let coarse = noise(5, 3000, 20.0).into_iter().map(f32::round).collect();
    for logits in [noise(4, 3000, 9.0), coarse, vec![1.5; 40], vec![-2.0]] {
        for (i, k) in [0, 1, 39, 500, 5000].into_iter().enumerate() {
            let settings = DrawSettings {
                k,
                temperature: [0.0, 0.3, 1.0, 40.0][i % 4],
                top_p: [1.0, 0.9, 0.5, 0.0][(i + k) % 4],
                min_p: [0.0, 0.05][i % 2],
            };
            let words = settings.words();
            let tokens = (0..).zip(logits.iter().copied());
            let plain = Ranked::new(&words, tokens.clone()).expect("numbers");
            for random in (0..40).map(|i| hash32(i, 3)).chain([0, u32::MAX]) {
                let got = settings.draw(tokens.clone(), random);
                assert_eq!(got, Some(plain.draw(random)), "{settings:?}, {random}");
            }
            let all: f64 = settings.probabilities(tokens).iter().map(|p| p.1).sum();
            assert!((all - 1.0).abs() < 1e-12, "{settings:?}: {all}");
        }
    }
}
