//! Gradients of the logarithms of scales.

use super::scale_exp::stage_of;
use crate::ops::*;

mod cases;

/// Gradients of the logarithms of the scales of the first `n_active` stages, `s * dL/ds`; those of the other stages are left
/// as they are. `x` is the result that [`PhaseProject`](crate::ops::calibrate::PhaseProject) computes from the gradient of
/// the quantized weight; it is summed over the rows that share a scale.
///
/// Bindings: `x` [rows, width] f32; `scales` and `gradient` [blocks, width] f32, where blocks is rows, or 1, and a width
/// is [width / (2 * stages), stages, 2].
#[derive(Debug, Clone)]
pub struct ScaleGradient {
    /// Complex rows of the weight.
    pub rows: usize,
    /// Scales of a row.
    pub width: usize,
    /// Whether every row has scales of its own.
    pub by_row: bool,
    /// Stages of the weight.
    pub stages: usize,
    /// First stages whose gradients are computed.
    pub n_active: usize,
}

params! {
    /// Uniform block of [`ScaleGradient`].
    pub struct ScaleGradientParams {
        rows: u32,
        width: u32,
        by_row: u32,
        stages: u32,
        n_active: u32,
    }
}

impl ScaleGradient {
    fn scales(&self) -> usize {
        self.width * if self.by_row { self.rows } else { 1 }
    }
}

impl Op for ScaleGradient {
    const NAME: &'static str = "scale_gradient";
    const SHADERS: &'static [Shader] =
        &[shader!(Features::NONE, train / "scale_gradient", "reduce")];
    const BINDINGS: &'static [Binding] = &[
        read("x", Elem::F32),
        read("scales", Elem::F32),
        write("gradient", Elem::F32),
    ];
    // chains of rows / 256 roundings and 9 more of terms of both signs
    const AGREE: Agree = Agree::Nmse(1e-10);
    type Params = ScaleGradientParams;

    fn shape(&self) -> String {
        format!(
            "rows={},width={},by_row={},stages={},n_active={}",
            self.rows, self.width, self.by_row, self.stages, self.n_active
        )
    }

    fn params(&self) -> ScaleGradientParams {
        ScaleGradientParams {
            rows: self.rows as u32,
            width: self.width as u32,
            by_row: self.by_row.into(),
            stages: self.stages as u32,
            n_active: self.n_active as u32,
        }
    }

    fn grid(&self) -> Grid {
        match self.by_row {
            true => Grid::element_wise(self.scales()),
            false => Grid {
                groups: self.width as u32,
                batch: 1,
            },
        }
    }

    fn lengths(&self) -> Vec<usize> {
        vec![self.rows * self.width, self.scales(), self.scales()]
    }

    fn cost(&self) -> Cost {
        let sums = self.rows * self.width;
        Cost {
            bytes: 4.0 * (sums + 2 * self.scales()) as f64,
            ops: sums as f64,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (x, scales): (&[f32], &[f32]) = (b.read(0), b.read(1));
        let gradient: &mut [f32] = b.write(2);
        let blocks = self.scales();
        for (i, gradient) in gradient[..blocks].iter_mut().enumerate() {
            if stage_of(i, self.stages) >= self.n_active {
                continue;
            }
            let shared = x[..self.rows * self.width].iter().skip(i).step_by(blocks);
            let sum: f64 = shared.map(|&v| f64::from(v)).sum();
            *gradient = (f64::from(scales[i]) * sum) as f32;
        }
    }

    fn cases() -> Vec<Case<Self>> {
        cases::cases()
    }
}
