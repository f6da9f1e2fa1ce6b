//! What attention by cooperative matrices is checked and timed with.

use super::super::cases::{cache, complex, out, ringed, run, step_heads, windowed};
use super::*;
use crate::ops::Made;
use crate::ops::bench::{DEPTH, PROMPT, case as bench_case};

pub(super) fn cases() -> Vec<Case<AttentionCoop>> {
    let shape = |sizes, first, slot, offset| Heads {
        kv: Kv::F16,
        offset,
        positions: Positions::Run { slot, first },
        ..run(sizes, first)
    };
    let plain = |sizes, first| shape(sizes, first, 0, 0);
    vec![
        case("", plain([64, 2, 2, 64], 0), 2.0),
        case("", plain([70, 4, 1, 128], 0), 2.0),
        case("", plain([17, 2, 1, 64], 333), 2.0),
        case("", shape([100, 2, 2, 64], 5, 2, 5), 2.0),
        case("", shape([300, 2, 1, 128], 40, 1, 3), 2.0),
        case("", complex(plain([70, 4, 1, 128], 5)), 2.0),
        case("", complex(shape([100, 3, 3, 64], 5, 2, 5)), 2.0),
        // heads that two subgroups share
        case("", shape([70, 4, 2, 256], 21, 1, 3), 2.0),
        case("", complex(plain([33, 2, 1, 256], 0)), 2.0),
        case(
            "scores=growing",
            windowed(50, 0.7, plain([140, 2, 1, 256], 200)),
            16.0,
        ),
        // heads with zeros behind them
        case("", plain([70, 2, 1, 40], 9), 2.0),
        case("", plain([20, 4, 2, 8], 0), 2.0),
        case("", shape([130, 2, 2, 96], 33, 2, 5), 2.0),
        case("scores=growing", plain([40, 3, 1, 80], 200), 32.0),
        case("", shape([70, 2, 1, 160], 21, 1, 3), 2.0),
        case("", windowed(50, 0.7, plain([66, 2, 1, 248], 100)), 2.0),
        // windows of less and of more than a tile of keys, and one that the first tokens do not fill
        case("", windowed(20, 0.7, plain([150, 2, 1, 64], 70)), 2.0),
        case(
            "",
            windowed(333, 0.0, shape([300, 2, 1, 128], 40, 1, 3)),
            2.0,
        ),
        case(
            "scores=growing",
            windowed(50, 0.0, plain([140, 2, 1, 128], 200)),
            32.0,
        ),
        // rings, which begin again within a tile of keys
        case(
            "",
            ringed(0, windowed(20, 0.7, plain([150, 2, 1, 64], 700))),
            2.0,
        ),
        case(
            "",
            ringed(9, windowed(333, 0.0, shape([300, 2, 1, 128], 740, 1, 3))),
            2.0,
        ),
        case(
            "",
            ringed(5, windowed(50, 0.0, plain([70, 2, 1, 256], 400))),
            2.0,
        ),
        // later scores are so much larger that sums must be made smaller
        case("scores=growing", plain([140, 2, 1, 128], 200), 32.0),
        case("scores=growing", plain([40, 2, 2, 64], 200), 32.0),
    ]
}

fn case(note: &str, h: Heads, amplitude: f32) -> Case<AttentionCoop> {
    let data = vec![
        Data::f32(&noise(58, h.rows() * h.qkv_row(), amplitude)),
        cache(&h, 59),
        cache(&h, 60),
        out(&h, 61),
    ];
    Case::new(note, AttentionCoop(h), data)
}

pub(super) fn bench_cases() -> Vec<BenchCase<AttentionCoop>> {
    use Made::{Floats, Halves, Zeros};
    let case = |heads| bench_case("", AttentionCoop(heads), &[Floats, Halves, Halves, Zeros]);
    let last = DEPTH - PROMPT;
    let long = [(32, 0), (32, last), (8, last)];
    let mut cases: Vec<_> = long
        .map(|(kv_heads, position)| case(step_heads(PROMPT, kv_heads, position)))
        .into();
    let wide = Heads {
        kv: Kv::F16,
        ..run([PROMPT, 8, 4, 256], last)
    };
    cases.extend([wide, windowed(PROMPT, 0.0, wide)].map(case));
    cases
}
