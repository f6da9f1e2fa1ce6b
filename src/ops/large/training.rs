//! Products of training.

use super::*;
use crate::ops::train::coop::MatmulTrainCoop;
use crate::ops::train::matmul::{MatmulTrain, Place};

/// The three forms at 4096^3, in f16 and from f32.
pub(in crate::ops) fn matmul_train_coop() -> Vec<BenchCase<MatmulTrainCoop>> {
    const N: usize = 4096;
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
    all
}
