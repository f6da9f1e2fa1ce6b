//! Scales that tiles of rows and columns share.

use super::{dense, on, structured, tile};
use fairy2i_gpu::backend::Cpu;
use fairy2i_gpu::model::{Granularity, Method};
use fairy2i_gpu::ops::noise;

/// The real weight behind one tile: rows `top` to `bottom` of both halves, columns `left` to `right` of both halves.
fn cut(
    r: &[f32],
    [out, inputs]: [usize; 2],
    [top, bottom]: [usize; 2],
    [left, right]: [usize; 2],
) -> (Vec<f32>, [usize; 2]) {
    let halves = |from: usize, to: usize, all: usize| -> Vec<usize> {
        let half = all.div_ceil(2);
        let lower = (from + half..to + half).filter(|&i| i < all);
        (from..to).chain(lower).collect()
    };
    let (rows, columns) = (halves(top, bottom, out), halves(left, right, inputs));
    let row = |&i: &usize| columns.iter().map(move |j| (i, *j));
    let values = rows.iter().flat_map(|i| row(i).collect::<Vec<_>>());
    let values = values.map(|(i, j)| r[i * inputs + j]).collect();
    (values, [rows.len(), columns.len()])
}

/// The weight of a tile is quantized as if it were a weight of its own, at the edges, too.
#[test]
fn a_tile_is_a_tensor_of_its_own() {
    let cpu = Cpu::new();
    for ([out, inputs], [rows, columns]) in [
        ([256usize, 256usize], [64, 64]),
        ([141, 203], [64, 64]),
        ([37, 66], [5, 16]),
        ([9, 30], [64, 64]),
    ] {
        let (n, m) = (out.div_ceil(2), inputs.div_ceil(2));
        let mut r = structured(out, inputs);
        // With a weight as large in each tile, all of them have the grid of the whole.
        for i in (0..n).step_by(rows) {
            (0..m)
                .step_by(columns)
                .for_each(|j| r[i * inputs + j] = 3.5);
        }
        for stages in [1, 2, 3] {
            let method = Method::Phase { stages };
            let packed = on(&cpu, &r, (out, inputs), method, tile(rows, columns)).unwrap();
            let back = dense(&cpu, &packed);
            let mut scales = packed.scales.chunks(4 * stages);
            for top in (0..n).step_by(rows) {
                for left in (0..m).step_by(columns) {
                    let (bottom, right) = (n.min(top + rows), m.min(left + columns));
                    let at = |r| cut(r, [out, inputs], [top, bottom], [left, right]);
                    let (own, [out, inputs]) = at(&r);
                    let alone = on(&cpu, &own, (out, inputs), method, Granularity::Tensor);
                    let alone = alone.unwrap();
                    assert_eq!(scales.next(), Some(&alone.scales[..]), "{top}, {left}");
                    assert_eq!(at(&back).0, dense(&cpu, &alone), "{top}, {left}");
                }
            }
            assert!(scales.next().is_none());
        }
    }
}

/// 64 x 64 complex weights with one pair of scales for each stage of U and W.
#[test]
fn tiles_of_64_cost_a_hundredth_of_a_bit() {
    let method = Method::Phase { stages: 2 };
    let r = noise(1, 512 * 256, 0.1);
    let packed = on(&Cpu::new(), &r, (512, 256), method, tile(64, 64)).unwrap();
    assert_eq!(packed.scales.len(), 4 * 2 * 8);
    // f32 scales: 8 x 32 bits for 4 x 64 x 64 weights
    assert_eq!(packed.bits_per_weight(), 2.0 + 1.0 / 64.0);
}
