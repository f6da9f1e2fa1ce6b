//! Products that the kernel with cooperative matrices is checked and timed on.

use super::super::{MatmulTrain, MatrixView};
use super::MatmulTrainCoop;
use crate::ops::*;

/// All products, in f16 and f32.
pub(super) fn cases() -> Vec<Case<MatmulTrainCoop>> {
    let mut cases = Vec::new();
    for [a_half, b_half] in [[true, true], [true, false], [false, true], [false, false]] {
        cases.extend(products().into_iter().map(|product| {
            case(MatmulTrainCoop {
                product,
                a_half,
                b_half,
            })
        }));
    }
    cases
}

fn case(op: MatmulTrainCoop) -> Case<MatmulTrainCoop> {
    let lengths = op.lengths();
    let factor = |seed, words: usize, half| match half {
        true => Data::Words(MatrixDtype::F16.encode(&noise(seed, 2 * words, 1.0))),
        false => Data::f32(&noise(seed, words, 1.0)),
    };
    let data = vec![
        factor(75, lengths[0], op.a_half),
        factor(76, lengths[1], op.b_half),
        Data::f32(&noise(77, lengths[2], 5.0)),
    ];
    Case::new("", op, data)
}

/// The factors of `x W^T`, `dy W` and `dy^T x`, of the size `[m, n, k]`.
fn forms([m, n, k]: [usize; 3]) -> [[MatrixView; 2]; 3] {
    let rows = MatrixView::rows;
    [
        [rows(k), rows(k)],
        [rows(k), rows(n).transposed()],
        [rows(m).transposed(), rows(n).transposed()],
    ]
}

/// Every form in wide and narrow tiles, and what lies below the diagonal.
fn products() -> Vec<MatmulTrain> {
    let mut all = Vec::new();
    let sizes = [
        [128, 128, 64],
        [256, 192, 192],
        [64, 128, 128],
        [192, 64, 64],
    ];
    for (i, size) in sizes.into_iter().enumerate() {
        all.extend(forms(size).map(|[a, b]| MatmulTrain {
            accumulate: i % 2 == 1,
            ..MatmulTrain::new(size, a, b, MatrixView::rows(size[1]))
        }));
    }
    let [_, _, [a, b]] = forms([320, 320, 64]);
    all.push(MatmulTrain {
        lower: true,
        ..MatmulTrain::new([320, 320, 64], a, b, MatrixView::rows(320))
    });
    all
}

/// The three forms at 4096^3, in f16 and from f32, and two of them for narrow models beside the next multiples of 128.
pub(super) fn bench_cases() -> Vec<BenchCase<MatmulTrainCoop>> {
    const TOKENS: usize = 32_768;
    let bench = |size: [usize; 3], [a, b]: [MatrixView; 2], half| {
        let op = MatmulTrainCoop {
            product: MatmulTrain::new(size, a, b, MatrixView::rows(size[1])),
            a_half: half,
            b_half: half,
        };
        let factor = if half { Made::Halves } else { Made::Floats };
        bench::case("", op, &[factor.clone(), factor, Made::Zeros])
    };
    let mut all = Vec::new();
    for half in [true, false] {
        let size = [4096; 3];
        all.extend(forms(size).map(|views| bench(size, views, half)));
    }
    for width in [576, 640, 960, 1024] {
        let [forward, _, _] = forms([TOKENS, width, width]);
        all.push(bench([TOKENS, width, width], forward, true));
        let [_, _, weight] = forms([width, width, TOKENS]);
        all.push(bench([width, width, TOKENS], weight, true));
    }
    all
}
