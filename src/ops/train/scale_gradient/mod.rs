//! Gradients of the logarithms of scales.

use super::scale_exp::stage_of;
use crate::ops::*;

mod cases;

/// Gradients of the logarithms of the scales of the first `n_active` stages, `s * dL/ds`; those of the other stages are left
/// as they are. `x` is the result that [`PhaseProject`](crate::ops::calibrate::PhaseProject) computes from the gradient of
/// the quantized weight; it is summed over the rows that share a scale.
///
/// Bindings: `x` [rows, width] f32; `scales` and `gradient` [ceil(rows / block_rows), width] f32, where a width is
/// [width / (2 * stages), stages, 2].
#[derive(Debug, Clone)]
pub struct ScaleGradient {
    /// Complex rows of the weight.
    pub rows: usize,
    /// Scales of a row.
    pub width: usize,
    /// Neighbouring rows that share scales.
    pub block_rows: usize,
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
        block_rows: u32,
        stages: u32,
        n_active: u32,
    }
}

impl ScaleGradient {
    fn scales(&self) -> usize {
        self.width * self.rows.div_ceil(self.block_rows)
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
            "rows={},width={},block_rows={},stages={},n_active={}",
            self.rows, self.width, self.block_rows, self.stages, self.n_active
        )
    }

    fn params(&self) -> ScaleGradientParams {
        ScaleGradientParams {
            rows: self.rows as u32,
            width: self.width as u32,
            block_rows: self.block_rows as u32,
            stages: self.stages as u32,
            n_active: self.n_active as u32,
        }
    }

    fn grid(&self) -> Grid {
        match self.block_rows {
            1 => Grid::element_wise(self.scales()),
            _ => Grid {
                groups: self.scales() as u32,
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
        for (i, gradient) in gradient[..self.scales()].iter_mut().enumerate() {
            if stage_of(i, self.stages) >= self.n_active {
                continue;
            }
            let first = i / self.width * self.block_rows;
            let rows = first..self.rows.min(first + self.block_rows);
            let of_row = |row: usize| f64::from(x[row * self.width + i % self.width]);
            let sum: f64 = rows.map(of_row).sum();
            *gradient = (f64::from(scales[i]) * sum) as f32;
        }
    }

    fn cases() -> Vec<Case<Self>> {
        cases::cases()
    }
}
