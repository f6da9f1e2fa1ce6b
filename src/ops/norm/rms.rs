//! What an RMS norm divides by.

use std::fmt;

/// What an RMS norm divides by: the root of the mean square of a token's values plus `eps`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rms {
    /// Added to the mean square.
    pub eps: f32,
    /// Whether the values are the halves of a complex vector, whose mean square is that of the complex magnitudes: the sum is
    /// then divided by half as many values.
    pub complex: bool,
}

impl Rms {
    /// Over real values.
    pub const fn real(eps: f32) -> Self {
        Self {
            eps,
            complex: false,
        }
    }

    /// Over complex values: halves of a token (arXiv 2508.05571).
    pub const fn complex(eps: f32) -> Self {
        Self { eps, complex: true }
    }

    /// By how many the sum of the squares of `n` reals is divided.
    pub const fn count(self, n: usize) -> usize {
        if self.complex { n / 2 } else { n }
    }
}

/// In the form of [`Op::shape`](crate::ops::Op::shape): `eps=0.00001`, and `complex=1` where that holds.
impl fmt::Display for Rms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "eps={}", self.eps)?;
        f.write_str(if self.complex { ",complex=1" } else { "" })
    }
}
