use super::*;

/// No filter, temperature 1.
const PLAIN: Sampling = Sampling {
    temperature: 1.0,
    top_k: 0,
    top_p: 1.0,
    min_p: 0.0,
    repetition_penalty: 1.0,
    penalty_window: 64,
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
    assert_eq!(seen(PLAIN, &[f32::NEG_INFINITY; 2]), [0, 1]);
    let error = sampler(PLAIN).pick_from_logits(&[f32::NAN]);
    assert!(matches!(error, Err(Error::NonFinite { .. })));
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
fn ties_at_the_edge_of_top_k_favour_low_ids() {
    let how = Sampling { top_k: 2, ..PLAIN };
    assert_eq!(seen(how, &[0.0, 1.0, 0.0, 0.0]), [0, 1]);
}

#[test]
fn candidates_of_the_device_give_the_same_choices_as_all_logits() {
    let logits: Vec<f32> = crate::ops::noise(7, 5000, 6.0);
    let mut ranked: Vec<(u32, f32)> = (0..).zip(logits.iter().copied()).collect();
    ranked.sort_by(order);
    let how = Sampling::default();
    let (mut a, mut b) = (sampler(how), sampler(how));
    assert_eq!(a.wants(), Wants::TopK(40));
    for _ in 0..200 {
        let short = a.pick(ranked[..40].to_vec()).expect("numbers");
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
fn wants_as_little_as_possible() {
    let wants = |how| sampler(how).wants();
    assert_eq!(wants(PLAIN), Wants::All);
    assert_eq!(
        wants(Sampling {
            top_k: 256,
            ..PLAIN
        }),
        Wants::TopK(256)
    );
    assert_eq!(
        wants(Sampling {
            top_k: 257,
            ..PLAIN
        }),
        Wants::All
    );
    assert_eq!(wants(Sampling { top_k: 1, ..PLAIN }), Wants::Argmax);
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
    // numbers of SplitMix64, whose bits are documented: these must never change
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
    ] {
        assert!(
            matches!(Sampler::new(how), Err(Error::Usage { .. })),
            "{how:?}"
        );
    }
}
