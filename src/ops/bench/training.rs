//! Products of training, and norms.

use super::*;
use crate::ops::train::bf16::{Bf16Pack, Bf16Unpack};
use crate::ops::train::block8::{Block8Pack, Block8Unpack, Range};
use crate::ops::train::coop::MatmulTrainCoop;
use crate::ops::train::matmul::{MatmulTrain, Place};
use crate::ops::train::optimizer::{Adamw, GradNorm, Update};

/// The largest weight of a block.
const WEIGHT: (&str, usize) = ("11008 x 4096", 11_008 * 4096);

pub(in crate::ops) fn grad_norm() -> Vec<BenchCase<GradNorm>> {
    let (name, n) = WEIGHT;
    vec![case(
        name,
        GradNorm { n, first: 0 },
        &[Floats, Zeros, Zeros],
    )]
}

pub(in crate::ops) fn adamw() -> Vec<BenchCase<Adamw>> {
    let (name, n) = WEIGHT;
    let update = Update {
        factor: 1.0,
        beta1: 0.9,
        beta2: 0.95,
        eps: 1e-8,
        lr: 1e-3,
        weight_decay: 0.0,
        step: 1,
    };
    vec![case(
        name,
        Adamw::whole(n, update),
        &[Floats, Floats, Floats, Zeros],
    )]
}

pub(in crate::ops) fn bf16_pack() -> Vec<BenchCase<Bf16Pack>> {
    let (name, n) = WEIGHT;
    let op = Bf16Pack {
        n,
        first: 0,
        seed: 1,
    };
    vec![case(name, op, &[Floats, Zeros])]
}

pub(in crate::ops) fn bf16_unpack() -> Vec<BenchCase<Bf16Unpack>> {
    let (name, n) = WEIGHT;
    vec![case(name, Bf16Unpack { n, first: 0 }, &[Halves, Zeros])]
}

/// All values of the weight: first and second moments.
fn block8_ranges() -> [(String, Range); 2] {
    let (name, n) = WEIGHT;
    [("signed", false), ("magnitudes", true)].map(|(what, positive)| {
        let range = Range {
            n,
            first: 0,
            of: n,
            positive,
        };
        (format!("{name}, {what}"), range)
    })
}

pub(in crate::ops) fn block8_pack() -> Vec<BenchCase<Block8Pack>> {
    let each = block8_ranges().into_iter();
    each.map(|(name, range)| case(name, Block8Pack { range, seed: 1 }, &[Floats, Zeros]))
        .collect()
}

pub(in crate::ops) fn block8_unpack() -> Vec<BenchCase<Block8Unpack>> {
    let each = block8_ranges().into_iter();
    each.map(|(name, range)| case(name, Block8Unpack { range }, &[Zeros, Zeros]))
        .collect()
}

/// The three forms at 4096^3, in f16 and from f32, and those of narrow models beside the next multiples of 128.
pub(in crate::ops) fn matmul_train_coop() -> Vec<BenchCase<MatmulTrainCoop>> {
    const N: usize = 4096;
    const ROWS: usize = 32_768;
    let (plain, turned) = (Place::rows(N), Place::rows(N).turned());
    let forms = [
        ("x W^T", plain, plain),
        ("dy W", plain, turned),
        ("dy^T x", turned, turned),
    ];
    let mut all = Vec::new();
    for half in [true, false] {
        for (name, a, b) in forms {
            let op = MatmulTrainCoop {
                product: MatmulTrain::new([N; 3], a, b, plain),
                a_half: half,
                b_half: half,
            };
            let (of, made) = if half {
                ("f16", Halves)
            } else {
                ("f32", Floats)
            };
            let name = format!("{name} of {of}, 4096 x 4096 x 4096");
            all.push(case(name, op, &[made.clone(), made, Zeros]));
        }
    }
    for width in [576, 640, 960, 1024] {
        let square = Place::rows(width);
        let forms = [
            ("x W^T", [ROWS, width, width], square, square),
            (
                "dy^T x",
                [width, width, ROWS],
                square.turned(),
                square.turned(),
            ),
        ];
        for (name, size, a, b) in forms {
            let op = MatmulTrainCoop {
                product: MatmulTrain::new(size, a, b, square),
                a_half: true,
                b_half: true,
            };
            let name = format!("{name} of f16, {} x {} x {}", size[0], size[1], size[2]);
            all.push(case(name, op, &[Halves, Halves, Zeros]));
        }
    }
    all
}
