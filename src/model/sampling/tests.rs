use super::*;

/// No filter, temperature 1.
const PLAIN: Sampling = Sampling {
    temperature: 1.0,
    top_k: 0,
    top_p: 1.0,
    min_p: 0.0,
    repetition_penalty: 1.0,
    penalty_window: 64,
    presence_penalty: 0.0,
    frequency_penalty: 0.0,
    seed: 1,
};

fn sampler(how: Sampling) -> Sampler {
    Sampler::new(how).expect("valid")
}

/// Which ids come up in many draws.
fn seen(how: Sampling, logits: &[f32]) -> Vec<u32> {
    let mut s = sampler(how);
    let mut ids: Vec<u32> = (0..2000)
        .map(|_| s.pick_from_logits(logits).expect("numbers"))
        .collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

#[test]
fn frequencies_follow_the_softmax() {
    let p = [0.4f32, 0.3, 0.2, 0.1];
    let logits = p.map(f32::ln);
    let mut s = sampler(PLAIN);
    let mut counts = [0; 4];
    let draws = 40_000;
    for _ in 0..draws {
        counts[s.pick_from_logits(&logits).expect("numbers") as usize] += 1;
    }
    for (count, p) in counts.iter().zip(p) {
        let sigma = (p * (1.0 - p) / draws as f32).sqrt();
        let off = (*count as f32 / draws as f32 - p).abs();
        assert!(off < 4.0 * sigma, "{counts:?}");
    }
}

#[test]
fn temperature_sharpens() {
    let how = |temperature| Sampling {
        temperature,
        ..PLAIN
    };
    let logits = [1.0, 0.0];
    assert_eq!(seen(how(0.01), &logits), [0]);
    assert_eq!(seen(how(1e-38), &logits), [0]);
    assert_eq!(seen(how(100.0), &logits), [0, 1]);
}

#[test]
fn greedy_takes_the_lowest_id_among_equals() {
    let mut s = sampler(Sampling {
        temperature: 0.0,
        ..Sampling::default()
    });
    assert_eq!(s.wants(), Wants::Argmax);
    assert_eq!(s.pick_from_logits(&[1.0, 3.0, 3.0, 2.0]).ok(), Some(1));
    assert_eq!(s.pick(vec![(9, 3.0), (4, 3.0)]).ok(), Some(4));
}

#[test]
fn nan_is_never_chosen_and_infinities_do_no_harm() {
    assert_eq!(seen(PLAIN, &[f32::NAN, 0.0, f32::NAN]), [1]);
    assert_eq!(seen(PLAIN, &[0.0, f32::INFINITY, f32::NEG_INFINITY]), [1]);
    for none in [f32::NAN, f32::NEG_INFINITY] {
        let error = sampler(PLAIN).pick_from_logits(&[none, none]);
        assert!(matches!(error, Err(Error::NonFinite { .. })));
    }
    assert!(sampler(PLAIN).pick(Vec::new()).is_err());
}

#[test]
fn filters_keep_what_they_should() {
    let logits = [0.5f32, 0.3, 0.15, 0.05].map(f32::ln);
    let how = PLAIN;
    assert_eq!(seen(Sampling { top_k: 2, ..how }, &logits), [0, 1]);
    assert_eq!(seen(Sampling { top_k: 1, ..how }, &logits), [0]);
    assert_eq!(seen(Sampling { top_p: 0.79, ..how }, &logits), [0, 1]);
    assert_eq!(seen(Sampling { top_p: 0.81, ..how }, &logits), [0, 1, 2]);
    assert_eq!(seen(Sampling { top_p: 0.0, ..how }, &logits), [0]);
    assert_eq!(seen(Sampling { min_p: 0.2, ..how }, &logits), [0, 1, 2]);
    assert_eq!(seen(Sampling { min_p: 1.0, ..how }, &logits), [0]);
    // top-p counts probabilities among the top-k: 0.5 / 0.8 = 0.625
    let both = Sampling {
        top_k: 2,
        top_p: 0.6,
        ..how
    };
    assert_eq!(seen(both, &logits), [0]);
}

#[test]
fn equals_of_the_last_of_top_k_stay() {
    let how = Sampling { top_k: 2, ..PLAIN };
    assert_eq!(seen(how, &[0.0, 1.0, 0.0, -0.1]), [0, 1, 2]);
}

/// The best of 4 tokens has 0.71 of the probability, or 0.45 once a temperature of 2 has divided the logits.
#[test]
fn filters_see_tempered_probabilities() {
    let logits = [5.0f32, 1.0, 0.6, 0.4].map(f32::ln);
    let how = |temperature, top_p, min_p| Sampling {
        temperature,
        top_p,
        min_p,
        ..PLAIN
    };
    assert_eq!(seen(how(1.0, 0.7, 0.0), &logits), [0]);
    assert_eq!(seen(how(2.0, 0.7, 0.0), &logits), [0, 1, 2]);
    assert_eq!(seen(how(1.0, 1.0, 0.3), &logits), [0]);
    assert_eq!(seen(how(2.0, 1.0, 0.3), &logits), [0, 1, 2]);
    let two = sampler(how(2.0, 1.0, 0.3)).probabilities(&logits);
    let weights = [5.0f64, 1.0, 0.6].map(f64::sqrt);
    for ((_, got), want) in two.iter().zip(weights) {
        let want = want / weights.iter().sum::<f64>();
        assert!((got - want).abs() < 1e-7, "{two:?}");
    }
}

#[test]
fn candidates_of_the_device_give_the_same_choices_as_all_logits() {
    let logits: Vec<f32> = crate::ops::noise(7, 5000, 6.0);
    let mut ranked: Vec<(u32, f32)> = (0..).zip(logits.iter().copied()).collect();
    ranked.sort_by(order);
    let how = Sampling::default();
    let (mut a, mut b) = (sampler(how), sampler(how));
    for _ in 0..200 {
        let short = a.pick(ranked[..64].to_vec()).expect("numbers");
        assert_eq!(short, b.pick_from_logits(&logits).expect("numbers"));
    }
}

#[test]
fn penalty_acts_on_recent_tokens_only() {
    let mut s = sampler(Sampling {
        temperature: 0.0,
        repetition_penalty: 2.0,
        penalty_window: 2,
        ..Sampling::default()
    });
    assert_eq!(s.wants(), Wants::All);
    s.accept(&[0]);
    assert_eq!(s.pick_from_logits(&[3.0, 2.0]).ok(), Some(1));
    assert_eq!(s.pick_from_logits(&[-1.0, -1.5]).ok(), Some(1));
    s.accept(&[7, 8]); // 0 has left the window
    assert_eq!(s.pick_from_logits(&[3.0, 2.0]).ok(), Some(0));
}

#[test]
fn presence_and_frequency_count_generated_tokens_only() {
    let greedy = |presence_penalty, frequency_penalty| {
        let mut s = sampler(Sampling {
            temperature: 0.0,
            presence_penalty,
            frequency_penalty,
            ..PLAIN
        });
        s.accept_prompt(&[0, 0, 0]);
        s
    };
    let logits = [3.0, 2.0];
    let mut s = greedy(0.0, 0.6);
    let ids: Vec<u32> = (0..4)
        .map(|_| {
            let id = s.pick_from_logits(&logits).expect("numbers");
            s.accept(&[id]);
            id
        })
        .collect();
    assert_eq!(ids, [0, 0, 1, 0]);
    let mut s = greedy(1.5, 0.0);
    assert_eq!(s.pick_from_logits(&logits).ok(), Some(0));
    s.accept(&[0, 0, 0]);
    assert_eq!(s.pick_from_logits(&logits).ok(), Some(1));
    s.accept(&[1]);
    assert_eq!(s.pick_from_logits(&logits).ok(), Some(0));
}

#[test]
fn biases_come_first_and_forbid() {
    let biased = |bias: &[(u32, f32)]| sampler(PLAIN).with_bias(bias);
    let only = biased(&[(0, f32::NEG_INFINITY), (2, 4.0), (2, 4.0), (9, 1.0)]);
    let got = only.expect("valid").probabilities(&[1.0, 8.0, 0.0]);
    assert_eq!(got.iter().map(|p| p.0).collect::<Vec<_>>(), [1, 2]);
    assert!((got[0].1 - 0.5).abs() < 1e-9);
    for number in [f32::NAN, f32::INFINITY] {
        assert!(matches!(biased(&[(3, number)]), Err(Error::Usage { .. })));
    }
    // the penalty divides what the bias left
    let how = Sampling {
        repetition_penalty: 2.0,
        temperature: 0.0,
        ..PLAIN
    };
    let mut s = sampler(how).with_bias(&[(0, 3.0)]).expect("valid");
    s.accept_prompt(&[0]);
    assert_eq!(s.pick_from_logits(&[-1.0, 0.9]).ok(), Some(0));
    assert_eq!(s.pick_from_logits(&[-1.0, 1.1]).ok(), Some(1));
}

#[test]
fn wants_as_little_as_possible() {
    let wants = |how| sampler(how).wants();
    for top_k in [0, 1, 256, 257] {
        assert_eq!(wants(Sampling { top_k, ..PLAIN }), Wants::Drawn);
    }
    let presence_penalty = 0.1;
    assert_eq!(
        wants(Sampling {
            presence_penalty,
            ..PLAIN
        }),
        Wants::All
    );
    let biased = sampler(PLAIN).with_bias(&[(0, 1.0)]).expect("valid");
    assert_eq!(biased.wants(), Wants::All);
}

#[test]
fn a_seed_gives_these_tokens_on_every_platform() {
    let draw = |seed| {
        let mut s = sampler(Sampling { seed, ..PLAIN });
        let logits = crate::ops::noise(3, 1000, 2.0);
        (0..8)
            .map(|_| s.pick_from_logits(&logits).expect("numbers"))
            .collect::<Vec<_>>()
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
    // numbers of SplitMix64 and integers: these must never change
    assert_eq!(draw(42), [335, 189, 794, 849, 848, 916, 383, 655]);
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    for how in [
        Sampling {
            temperature: f32::NAN,
            ..PLAIN
        },
        Sampling {
            temperature: -1.0,
            ..PLAIN
        },
        Sampling {
            top_p: 1.5,
            ..PLAIN
        },
        Sampling {
            min_p: f32::NAN,
            ..PLAIN
        },
        Sampling {
            repetition_penalty: 0.0,
            ..PLAIN
        },
        Sampling {
            presence_penalty: f32::NAN,
            ..PLAIN
        },
        Sampling {
            frequency_penalty: f32::INFINITY,
            ..PLAIN
        },
    ] {
        assert!(
            matches!(Sampler::new(how), Err(Error::Usage { .. })),
            "{how:?}"
        );
    }
}
