//! Scales from their logarithms. Training learns the logarithms, so that no step makes a scale negative.

use crate::ops::*;

mod cases;

/// `y = exp(x)` for the scales of the first `n_active` stages, 0 for the others: these scales leave only the first stages
/// of a weight.
///
/// Bindings: `x` logarithms of scales, `y` the scales, both `[n / (2 * stages), stages, 2]` f32.
#[derive(Debug, Clone)]
pub struct ScaleExp {
    /// Scales.
    pub n: usize,
    /// Stages of the weight.
    pub stages: usize,
    /// First stages whose scales are not 0.
    pub n_active: usize,
}

/// The stage that scale `i` belongs to.
pub(in crate::ops::train) fn stage_of(i: usize, stages: usize) -> usize {
    i / 2 % stages
}

params! {
    /// Uniform block of [`ScaleExp`].
    pub struct ScaleExpParams {
        n: u32,
        stages: u32,
        n_active: u32,
    }
}

impl Op for ScaleExp {
    const NAME: &'static str = "scale_exp";
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, train / "scale_exp")];
    const BINDINGS: &'static [Binding] = &[read("x", Elem::F32), write("y", Elem::F32)];
    // WebGPU allows 3 + 2 * |x| units in the last place: 23 * 2^-23 for scales of e^-10 and more
    const AGREE: Agree = Agree::Nmse(7.6e-12);
    type Params = ScaleExpParams;

    fn shape(&self) -> String {
        format!(
            "n={},stages={},n_active={}",
            self.n, self.stages, self.n_active
        )
    }

    fn params(&self) -> ScaleExpParams {
        ScaleExpParams {
            n: self.n as u32,
            stages: self.stages as u32,
            n_active: self.n_active as u32,
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
            let active = stage_of(i, self.stages) < self.n_active;
            *y = if active {
                f64::from(x).exp() as f32
            } else {
                0.0
            };
        }
    }

    fn cases() -> Vec<Case<Self>> {
        cases::cases()
    }
}
