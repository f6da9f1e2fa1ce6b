//! What is left of a weight after each stage of the phase quantizer, by which weights share scales.

use super::parallel::map_rows;
use super::planes::Planes;
use crate::backend::{Cpu, block_on};
use crate::codebook;
use crate::error::Result;
use crate::model::{Form, Granularity, Method, Packed, quantize};
use crate::ops::quantize::MAX_STAGES;
use serde::Serialize;

/// Which weights share scales in the comparison.
pub(super) const GRANULARITIES: [Granularity; 5] = [
    Granularity::Tensor,
    Granularity::Row,
    Granularity::Group(64),
    Granularity::Group(128),
    Granularity::Tile {
        rows: 64,
        columns: 64,
    },
];

/// Relative errors of one granularity.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GranularityErrors {
    /// `tensor`, `row`, `group:N` complex inputs of a row, or `tile:RxN` rows of as many inputs.
    pub granularity: String,
    /// MatrixDtype bits of a real weight at T = 1 to 4, scales and padding included, as `quantize` counts them.
    pub bits_per_weight: [f64; MAX_STAGES],
    /// `|R - R_q| / |R|` after stage T = 1 to 4, as `quantize` reports it; none for a weight of zeros.
    pub relative_error: Option<[f64; MAX_STAGES]>,
}

/// The two scales of U and of W at one stage, per tensor.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct StageScales {
    /// (s_re, s_im) of U.
    pub u: [f32; 2],
    /// (s_re, s_im) of W.
    pub w: [f32; 2],
}

/// The weight `name` through the quantizer with the scales of `granularity`: errors after each stage, and the scales.
///
/// The quantizer itself finds the scales of all stages; a stage's are those of every deeper recursion, so that one run
/// serves T = 1 to 4.
pub(super) fn errors(
    name: &str,
    r: &[f32],
    planes: &Planes,
    power: f64,
    granularity: Granularity,
) -> Result<(GranularityErrors, Vec<f32>)> {
    let cpu = Cpu::new();
    let (out, inputs) = (planes.out_features, planes.in_features);
    let method = Method::Phase { stages: MAX_STAGES };
    let quantized = quantize(
        &cpu,
        name,
        r,
        Form::WidelyLinear,
        out,
        inputs,
        method,
        granularity,
        false,
    );
    let scales = block_on(&cpu, quantized)?.scales;
    let left = residuals(planes, &scales, granularity);
    let bits = |stages: usize| {
        let method = Method::Phase { stages };
        let (codes, scales) = Packed::shapes(method, Form::WidelyLinear, granularity, out, inputs);
        let words: usize = codes.iter().product::<usize>() + scales.iter().product::<usize>();
        32.0 * words as f64 / (out * inputs) as f64
    };
    let errors = GranularityErrors {
        granularity: word(granularity),
        bits_per_weight: std::array::from_fn(|t| bits(t + 1)),
        relative_error: (power > 0.0).then(|| left.map(|square| (square / power).sqrt())),
    };
    Ok((errors, scales))
}

/// As it is said on a command line.
fn word(granularity: Granularity) -> String {
    match granularity {
        Granularity::Tensor => "tensor".to_owned(),
        Granularity::Row => "row".to_owned(),
        Granularity::Group(n) => format!("group:{n}"),
        Granularity::Tile { rows, columns } => format!("tile:{rows}x{columns}"),
    }
}

/// `|R - R_q|^2` after each stage, for `scales` as the quantizer lays them out.
fn residuals(planes: &Planes, scales: &[f32], granularity: Granularity) -> [f64; MAX_STAGES] {
    let columns = planes.columns();
    let (block_rows, group) = match granularity {
        Granularity::Tensor => (planes.rows(), columns),
        Granularity::Row => (1, columns),
        Granularity::Group(size) => (1, size),
        Granularity::Tile { rows, columns } => (rows, columns),
    };
    let groups = columns.div_ceil(group);
    let chunks = map_rows(planes.rows(), 2 * columns, |rows| {
        let mut sums = [0.0; MAX_STAGES];
        for row in rows {
            let [u, w] = planes.row(row);
            let edge = planes.edge(row);
            let block = row / block_rows * groups;
            for (column, (&u, &w)) in u.iter().zip(w).enumerate() {
                let first = (block + column / group) * 4 * MAX_STAGES;
                let mut left = [u, w];
                for (stage, sum) in sums.iter_mut().enumerate() {
                    for (plane, z) in left.iter_mut().enumerate() {
                        let at = first + 2 * (plane * MAX_STAGES + stage);
                        let (re, im) = codebook::unit(codebook::code(z[0], z[1]));
                        z[0] -= re as f32 * scales[at];
                        z[1] -= im as f32 * scales[at + 1];
                    }
                    *sum += edge.square(column, left[0], left[1]);
                }
            }
        }
        sums
    });
    let add = |all: [f64; MAX_STAGES], one: [f64; MAX_STAGES]| {
        std::array::from_fn(|stage| all[stage] + one[stage])
    };
    chunks.into_iter().fold([0.0; MAX_STAGES], add)
}

/// The scales of each stage out of those that the quantizer gives for a whole tensor.
pub(super) fn stage_scales(scales: &[f32]) -> Vec<StageScales> {
    let stages = scales.len() / 4;
    let pair = |plane: usize, stage: usize| {
        let at = 2 * (plane * stages + stage);
        [scales[at], scales[at + 1]]
    };
    let both = |stage: usize| StageScales {
        u: pair(0, stage),
        w: pair(1, stage),
    };
    (0..stages).map(both).collect()
}
