//! Products of every form, size and place that the kernels are checked on.

use super::*;

/// All of them.
pub(super) fn all() -> Vec<Case<MatmulTrain>> {
    let mut cases = Vec::new();
    let sizes = [[64, 64, 64], [70, 130, 75], [1, 1, 1], [65, 5, 300]];
    for (i, [m, n, k]) in sizes.into_iter().enumerate() {
        for (turned_a, turned_b, name) in [
            (false, false, "x W^T"),
            (false, true, "dy W"),
            (true, true, "dy^T x"),
        ] {
            let place = |rows, columns, turned| {
                let place = Place::rows(if turned { rows } else { columns });
                Place { turned, ..place }
            };
            let (a, b) = (place(m, k, turned_a), place(n, k, turned_b));
            let mut op = MatmulTrain::new([m, n, k], a, b, Place::rows(n));
            op.accumulate = i % 2 == 1;
            let verb = if op.accumulate { "adds" } else { "writes" };
            cases.push(case(&format!("{name} {m} x {n} x {k}, {verb}"), op));
        }
    }
    cases.extend(slices());
    cases.extend(masked());
    cases
}

/// Inputs for any product.
fn case(name: &str, op: MatmulTrain) -> Case<MatmulTrain> {
    let lengths = op.lengths();
    let data = [(71, 2.0), (72, 1.0), (73, 5.0)]
        .iter()
        .zip(lengths)
        .map(|(&(seed, amplitude), len)| Data::f32(&noise(seed, len, amplitude)))
        .collect();
    Case::new(name, op, data)
}

/// Columns of wider rows, and heads side by side.
fn slices() -> Vec<Case<MatmulTrain>> {
    let place = |first, stride, head, text| Place {
        first,
        stride,
        head,
        text,
        turned: false,
    };
    let [a, b, c] = [place(7, 40, 0, 0), Place::rows(20), place(3, 50, 0, 0)];
    let columns = MatmulTrain::new([9, 33, 20], a, b, c);
    // two texts of 17 tokens, rows of 80: 6 query heads of 8 that share 2 keys and 2 values
    let queries = place(0, 80, 8, 17 * 80);
    let keys = place(48, 80, 8, 17 * 80);
    let scores = place(0, 17, 289, 6 * 289);
    let heads = MatmulTrain {
        texts: 2,
        heads: 6,
        share: 3,
        ..MatmulTrain::new([17, 17, 8], queries, keys, scores)
    };
    // the second of three query heads of each key
    let [weights, values] = [place(289, 17, 867, 6 * 289), place(8, 80, 24, 17 * 80)];
    let back = MatmulTrain {
        texts: 2,
        heads: 2,
        ..MatmulTrain::new([17, 8, 17], weights.turned(), values.turned(), keys)
    };
    vec![
        case("columns of wider rows", columns),
        case("heads that share keys", heads),
        case("columns of wider rows, adding", columns.adding()),
        case(
            "columns of wider rows, subtracting",
            columns.adding().times(-0.3),
        ),
        case("gradient of shared keys", back.adding()),
    ]
}

/// Causal products over more than one block.
fn masked() -> Vec<Case<MatmulTrain>> {
    let rows = Place::rows;
    let of = |causal, op| MatmulTrain { causal, ..op };
    let scores = MatmulTrain::new([150, 150, 6], rows(6), rows(6), rows(150));
    let values = MatmulTrain::new([150, 6, 150], rows(150), rows(6).turned(), rows(6));
    let keys = MatmulTrain::new([150, 6, 150], rows(150).turned(), rows(6).turned(), rows(6));
    vec![
        case("causal scores", of(Causal::Result, scores)),
        case("causal values", of(Causal::Lower, values)),
        case("causal gradient of keys", of(Causal::Upper, keys)),
    ]
}
