//! Scales that are learned: their logarithms are parameters, so that no step makes a scale negative.

use super::*;
use bytemuck::Zeroable;

/// `y = exp(x)` for the first stages, 0 for the others: scales that leave the first stages of a weight.
///
/// Bindings: `x` logarithms of scales, `y` the scales, both `[n / (2 stages), stages, 2]` f32.
#[derive(Debug, Clone)]
pub struct ScaleExp {
    /// How many.
    pub n: usize,
    /// Stages of the weight.
    pub stages: usize,
    /// First stages whose scales are not 0.
    pub kept: usize,
}

/// The stage that scale `i` belongs to.
fn stage_of(i: usize, stages: usize) -> usize {
    i / 2 % stages
}

/// Uniform block of [`ScaleExp`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct ScaleExpParams {
    n: u32,
    stages: u32,
    kept: u32,
}

impl Op for ScaleExp {
    const NAME: &'static str = "scale_exp";
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, train / "scale_exp")];
    const BINDINGS: &'static [Binding] = &[read("x", Elem::F32), write("y", Elem::F32)];
    // WebGPU allows 3 + 2 |x| units in the last place: 23 of 2^-23 for scales of e^-10 and more
    const AGREE: Agree = Agree::Nmse(7.6e-12);
    type Params = ScaleExpParams;

    fn params(&self) -> ScaleExpParams {
        ScaleExpParams {
            n: self.n as u32,
            stages: self.stages as u32,
            kept: self.kept as u32,
        }
    }

    fn grid(&self) -> Grid {
        Grid::element_wise(self.n)
    }

    fn lengths(&self) -> Vec<usize> {
        vec![self.n; 2]
    }

    fn cost(&self) -> Cost {
        Cost {
            bytes: 8.0 * self.n as f64,
            ops: self.n as f64,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (x, y): (&[f32], &mut [f32]) = (b.read(0), b.write(1));
        for (i, (y, &x)) in y[..self.n].iter_mut().zip(x).enumerate() {
            let kept = stage_of(i, self.stages) < self.kept;
            *y = if kept { f64::from(x).exp() as f32 } else { 0.0 };
        }
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |name: &str, n, (stages, kept), spread| {
            let data = vec![Data::f32(&noise(191, n, spread)), Data::Out(n)];
            Case::new(name, Self { n, stages, kept }, data)
        };
        vec![
            case("one scale", 1, (1, 1), 1.0),
            case("many scales", 777, (3, 3), 10.0),
            case("the first of two stages", 648, (2, 1), 1.0),
            case("two of three stages", 78, (3, 2), 1.0),
        ]
    }
}

/// Gradients of the logarithms of scales of the first stages, `s dL/ds`; those of the others stay as they are. With `x` what [`PhaseProject`](crate::ops::calibrate::PhaseProject)
/// makes of the gradient of the quantized weight, summed over the rows that share a scale.
///
/// Bindings: `x` [rows, width] f32; `scales` and `gradient` [cells, width] f32, where cells is rows, or 1, and a width is
/// [width / (2 stages), stages, 2].
#[derive(Debug, Clone)]
pub struct ScaleGradient {
    /// Complex rows of the weight.
    pub rows: usize,
    /// Scales of a row.
    pub width: usize,
    /// Every row has scales of its own.
    pub by_row: bool,
    /// Stages of the weight.
    pub stages: usize,
    /// First stages whose gradients are made.
    pub kept: usize,
}

/// Uniform block of [`ScaleGradient`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct ScaleGradientParams {
    rows: u32,
    width: u32,
    by_row: u32,
    stages: u32,
    kept: u32,
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

    fn params(&self) -> ScaleGradientParams {
        ScaleGradientParams {
            rows: self.rows as u32,
            width: self.width as u32,
            by_row: self.by_row.into(),
            stages: self.stages as u32,
            kept: self.kept as u32,
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
        let cells = self.scales();
        for (i, gradient) in gradient[..cells].iter_mut().enumerate() {
            if stage_of(i, self.stages) >= self.kept {
                continue;
            }
            let shared = x[..self.rows * self.width].iter().skip(i).step_by(cells);
            let sum: f64 = shared.map(|&v| f64::from(v)).sum();
            *gradient = (f64::from(scales[i]) * sum) as f32;
        }
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |name: &str, rows, (width, by_row), (stages, kept)| {
            let op = Self {
                rows,
                width,
                by_row,
                stages,
                kept,
            };
            let gradient = match kept == stages {
                true => Data::Out(op.scales()),
                false => Data::f32(&noise(194, op.scales(), 1.0)),
            };
            let data = vec![
                Data::f32(&noise(192, rows * width, 2.0)),
                Data::f32(&noise(193, op.scales(), 1.0)),
                gradient,
            ];
            Case::new(name, op, data)
        };
        vec![
            case("a row", 1, (4, true), (1, 1)),
            case("scales of rows", 77, (24, true), (2, 2)),
            case("scales of a tensor", 1300, (8, false), (2, 2)),
            case("a tensor of few rows", 3, (16, false), (4, 4)),
            case("first stages of rows", 33, (24, true), (3, 1)),
            case("first stages of a tensor", 700, (8, false), (2, 1)),
        ]
    }
}
