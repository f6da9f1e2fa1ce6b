//! Which matrices a quantized layer applies to a complex vector.

use super::weight_shard::LEAST_SCALE;

/// Which matrices a quantized layer applies to a complex vector.
///
/// Both forms are real layers between vectors of twice the size, whose first half holds the real parts: the weight is
/// `(R11 R12; R21 R22)` with `R11 = Re U + Re W`, `R12 = Im W - Im U`, `R21 = Im W + Im U`, `R22 = Re U - Re W`, and `U = 0` in
/// the conjugate form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Form {
    /// `y = U x + W conj(x)`: any real layer (Fairy2i, arXiv 2512.02901). A token is rounded with one scale.
    #[default]
    WidelyLinear,
    /// `y = W conj(x)`: a layer of a model that is complex throughout (iFairy, arXiv 2508.05571). The real and the imaginary
    /// half of a token are rounded with scales of their own. Its master is stored as `[2 rows, columns]`: the real parts of
    /// all rows, then the imaginary parts.
    Conjugate,
}

impl Form {
    /// Matrices that are quantized: U and W, or W alone.
    pub const fn matrices(self) -> usize {
        match self {
            Self::WidelyLinear => 2,
            Self::Conjugate => 1,
        }
    }

    /// Scales with which a token is rounded: one, or one for each half.
    pub const fn token_scales(self) -> usize {
        match self {
            Self::WidelyLinear => 1,
            Self::Conjugate => 2,
        }
    }

    /// The kernels' constant CONJ: 1 in the conjugate form.
    pub(in crate::ops) const fn constant(self) -> (&'static str, f64) {
        match self {
            Self::WidelyLinear => ("CONJ", 0.0),
            Self::Conjugate => ("CONJ", 1.0),
        }
    }

    /// Columns of the weight as it is stored: the real columns, or the complex ones.
    pub const fn columns(self, in_features: usize) -> usize {
        match self {
            Self::WidelyLinear => in_features,
            Self::Conjugate => in_features / 2,
        }
    }

    /// Whether a plane acts on the conjugate of the input: planes are the stages of U, if there is one, then those of W.
    pub const fn conjugates(self, plane: usize, stages: usize) -> bool {
        match self {
            Self::WidelyLinear => plane >= stages,
            Self::Conjugate => true,
        }
    }

    /// The least scale that the papers' quantizer gives its codes.
    pub const fn least_scale(self) -> f32 {
        match self {
            Self::WidelyLinear => LEAST_SCALE,
            Self::Conjugate => 1e-5,
        }
    }
}
