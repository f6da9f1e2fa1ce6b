//! Gradient of scaled and capped logits.

use crate::ops::activation::{SoftCap, SoftCapParams};
use crate::ops::*;

/// Gradient of [`SoftCap`] from its result `y`: `d *= scale * (1 - (y / cap)^2)`, or `d *= scale` where the cap is 0.
///
/// Bindings: `y` `[n]` f32; `d` `[n]` f32, in place.
#[derive(Debug, Clone)]
pub struct SoftCapBackward(pub SoftCap);

impl Op for SoftCapBackward {
    const NAME: &'static str = "soft_cap_backward";
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, train / "soft_cap_backward")];
    const BINDINGS: &'static [Binding] = &[read("y", Elem::F32), write("d", Elem::F32)];
    // a handful of roundings; where y is close to the cap, the difference to 1 loses digits of a gradient that is small there
    const AGREE: Agree = Agree::Nmse(1e-12);
    type Params = SoftCapParams;

    fn shape(&self) -> String {
        self.0.shape()
    }

    fn params(&self) -> SoftCapParams {
        self.0.params()
    }

    fn grid(&self) -> Grid {
        self.0.grid()
    }

    fn lengths(&self) -> Vec<usize> {
        vec![self.0.n; 2]
    }

    fn cost(&self) -> Cost {
        Cost {
            bytes: 12.0 * self.0.n as f64,
            ops: 5.0 * self.0.n as f64,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (y, d): (&[f32], &mut [f32]) = (b.read(0), b.write(1));
        let (scale, cap) = (f64::from(self.0.scale), f64::from(self.0.cap));
        for (d, &y) in d.iter_mut().zip(y).take(self.0.n) {
            let slope = match cap > 0.0 {
                true => 1.0 - (f64::from(y) / cap).powi(2),
                false => 1.0,
            };
            *d = (f64::from(*d) * scale * slope) as f32;
        }
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |n, scale, cap: f32| {
            let op = Self(SoftCap { n, scale, cap });
            let y = noise(155, n, if cap > 0.0 { cap } else { 5.0 });
            Case::new("", op, vec![Data::f32(&y), Data::f32(&noise(156, n, 1.0))])
        };
        vec![case(300, 0.5, 30.0), case(9, 0.0625, 0.0)]
    }
}
