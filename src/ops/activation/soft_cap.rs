//! Scaled and capped logits.

use crate::ops::*;

/// `y = cap * tanh(scale * y / cap)` in place, or `y = scale * y` where the cap is 0 (Gemma 2, arXiv 2408.00118; Granite and Cohere
/// scale alone).
///
/// Bindings: `y` `[n]` f32.
#[derive(Debug, Clone)]
pub struct SoftCap {
    /// Values.
    pub n: usize,
    /// What they are multiplied by.
    pub scale: f32,
    /// What their magnitudes stay below; 0 for no bound.
    pub cap: f32,
}

params! {
    /// Uniform block of [`SoftCap`].
    pub struct SoftCapParams {
        n: u32,
        scale: f32,
        cap: f32,
    }
}

impl Op for SoftCap {
    const NAME: &'static str = "soft_cap";
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, activation / "soft_cap")];
    const BINDINGS: &'static [Binding] = &[write("y", Elem::F32)];
    // the tanh of devices is made of exponentials, which are off by some ULP
    const AGREE: Agree = Agree::Nmse(1e-12);
    type Params = SoftCapParams;

    fn shape(&self) -> String {
        format!("n={},scale={},cap={}", self.n, self.scale, self.cap)
    }

    fn params(&self) -> SoftCapParams {
        SoftCapParams {
            n: self.n as u32,
            scale: self.scale,
            cap: self.cap,
        }
    }

    fn grid(&self) -> Grid {
        Grid::element_wise(self.n)
    }

    fn lengths(&self) -> Vec<usize> {
        vec![self.n]
    }

    fn cost(&self) -> Cost {
        Cost {
            bytes: 8.0 * self.n as f64,
            ops: 8.0 * self.n as f64,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let y: &mut [f32] = b.write(0);
        let (scale, cap) = (f64::from(self.scale), f64::from(self.cap));
        for y in y.iter_mut().take(self.n) {
            let x = scale * f64::from(*y);
            *y = if cap > 0.0 { cap * (x / cap).tanh() } else { x } as f32;
        }
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |n, scale, cap| {
            let op = Self { n, scale, cap };
            Case::new("", op, vec![Data::f32(&noise(154, n, 200.0))])
        };
        // several workgroups; values far beyond the cap; no cap
        vec![
            case(300, 1.0, 30.0),
            case(5, 0.5, 1.0),
            case(9, 0.0625, 0.0),
        ]
    }
}
