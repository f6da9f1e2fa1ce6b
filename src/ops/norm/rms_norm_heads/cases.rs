//! Queries and keys that the norms are checked and timed on.

use super::{Rms, RmsNormHeads};
use crate::ops::*;

/// Heads by themselves, some rows behind others; all heads together; widths that are no power of two; complex values.
pub(in crate::ops) fn shapes() -> [RmsNormHeads; 4] {
    let shape = |tokens, offset, groups: [usize; 2], widths: [usize; 2], rms| RmsNormHeads {
        tokens,
        offset,
        // values follow the keys
        row: groups[0] * widths[0] + 2 * groups[1] * widths[1],
        groups,
        widths,
        rms,
    };
    [
        shape(5, 2, [6, 2], [64, 64], Rms::real(1e-6)),
        shape(3, 0, [1, 1], [300, 75], Rms::real(1e-5)),
        shape(33, 0, [3, 1], [10, 10], Rms::real(1e-3)),
        shape(2, 1, [4, 4], [256, 256], Rms::complex(1e-5)),
    ]
}

pub(super) fn cases() -> Vec<Case<RmsNormHeads>> {
    let case = |op: RmsNormHeads| {
        let data = vec![
            Data::f32(&noise(23, op.words(), 2.0)),
            Data::f32(&noise(24, op.widths[0], 2.0)),
            Data::f32(&noise(25, op.widths[1], 2.0)),
        ];
        Case::new("", op, data)
    };
    shapes().map(case).into()
}

/// Decoding, and a prompt: 32 heads of queries and 8 of keys.
pub(super) fn bench_cases() -> Vec<BenchCase<RmsNormHeads>> {
    let each = |tokens| {
        let op = RmsNormHeads {
            tokens,
            offset: 0,
            row: 48 * 128,
            groups: [32, 8],
            widths: [128, 128],
            rms: Rms::real(1e-6),
        };
        bench::case("", op, &[Made::Floats, Made::Floats, Made::Floats])
    };
    [1, bench::PROMPT].map(each).into()
}
