//! Inputs on which error feedback is checked.

use super::PhaseFeedback;
use crate::ops::calibrate::cases::scales;
use crate::ops::quantize::{Granularity, WeightShard};
use crate::ops::*;

/// Whole blocks and parts of them, all granularities, one to three stages.
pub(super) fn shapes() -> [PhaseFeedback; 6] {
    let of = |[out, columns]: [usize; 2], granularity, stages, [first, count]: [usize; 2]| {
        PhaseFeedback {
            shard: WeightShard::whole(out, columns, granularity, stages, 0),
            first,
            count,
        }
    };
    [
        of([2, 2], Granularity::Tensor, 2, [0, 1]),
        of([70, 64], Granularity::Row, 2, [16, 16]),
        of([24, 44], Granularity::Tensor, 2, [0, 6]),
        of([20, 96], Granularity::Group(16), 1, [32, 16]),
        of([6, 40], Granularity::Row, 3, [4, 16]),
        of(
            [44, 80],
            Granularity::Tile {
                rows: 8,
                columns: 16,
            },
            2,
            [8, 12],
        ),
    ]
}

/// Inputs of a case.
pub(super) fn data(op: &PhaseFeedback) -> Vec<Data> {
    let columns = 2 * op.shard.complex_columns();
    let lengths = op.lengths();
    let mut factor = noise(192, lengths[1], 0.4);
    for i in 0..columns {
        for j in i..columns {
            factor[i * columns + j] = if i == j {
                1.0 + factor[i * columns + j].abs()
            } else {
                0.0
            };
        }
    }
    // an order in which every column comes once
    let half = op.shard.complex_columns() as u32;
    let step = [7, 5, 3]
        .into_iter()
        .find(|s| !half.is_multiple_of(*s))
        .unwrap_or(1);
    let order: Vec<u32> = (0..half).map(|i| (i * step + 1) % half).collect();
    vec![
        Data::f32(&noise(191, lengths[0], 2.0)),
        Data::f32(&factor),
        Data::f32(&noise(193, lengths[2], 0.5)),
        Data::f32(&scales(&op.shard, 194)),
        Data::u32(&order),
        Data::u32(&noise_u32(195, lengths[5])),
        Data::f32(&noise(196, lengths[6], 1.0)),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::{Pair, Stages, costs};
    use super::*;

    /// Devices may round products differently, so no case asks them to choose between costs that are nearly the same.
    #[test]
    fn no_choice_is_close() {
        fn checked(pair: &Pair, stages: &[Stages; 2]) -> [u32; 2] {
            let mut all: Vec<_> = costs(pair, stages).collect();
            all.sort_by(|a, b| a.1.total_cmp(&b.1));
            assert!(all[1].1 - all[0].1 > 1e-5, "{:?}", &all[..2]);
            assert_eq!(all[0].0, pair.choose(stages));
            all[0].0
        }
        for op in shapes() {
            let mut words: Vec<Vec<u32>> = data(&op)
                .into_iter()
                .map(|d| match d {
                    Data::Words(words) => words,
                    Data::Out(n) => vec![0; n],
                })
                .collect();
            let mut bindings = Bindings::new();
            for (words, binding) in words.iter_mut().zip(PhaseFeedback::BINDINGS) {
                match binding.access {
                    Access::Write => bindings.push_write(words),
                    _ => bindings.push_read(words),
                }
            }
            op.rows(&mut bindings, checked);
        }
    }
}
