//! Products that the kernel with cooperative matrices is checked and timed on.

use super::super::{Causal, MatmulTrain, MatrixView};
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

/// Every form in wide and narrow tiles, heads, and causal products.
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
    all.extend(attention());
    all
}

/// Scores, values and the gradient of keys: two sequences of 256 tokens, rows of 256 with two query heads of 64, one key
/// and one value; all that is before a token, and a window of one block.
fn attention() -> [MatmulTrain; 6] {
    let heads = |offset, head_stride, sequence_stride| MatrixView {
        offset,
        stride: 256,
        head_stride,
        sequence_stride,
        transposed: false,
    };
    let [q, k] = [heads(0, 64, 256 * 256), heads(128, 64, 256 * 256)];
    let weights = heads(0, 256 * 256, 2 * 256 * 256);
    let product = |causal, share, size, [a, b, c]: [MatrixView; 3]| MatmulTrain {
        sequences: 2,
        heads: 2,
        share,
        causal,
        ..MatmulTrain::new(size, a, b, c)
    };
    let values = [weights, k.transposed(), q];
    let keys = [weights.transposed(), q.transposed(), q];
    let all = [
        product(Causal::Result, 2, [256, 256, 64], [q, k, weights]),
        product(Causal::Lower, 2, [256, 64, 256], values),
        product(Causal::Upper, 1, [256, 64, 256], keys),
    ];
    let [scores, values, keys] = all.map(|op| MatmulTrain { window: 1, ..op });
    [all[0], all[1], all[2], scores, values, keys]
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
