//! Gates of feed-forward layers.

/// What a gate does to what it gates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Gate {
    /// `silu(gate) * up` on real values (LLaMA).
    #[default]
    Silu,
    /// `gelu(gate) * up` on real values, with the approximation of GELU by tanh (Gemma).
    GeluTanh,
    /// `conj(a) * up` on complex values, where `a = (re(gate)^2, im(gate)^2)`, and 0 where both parts of the gate are negative
    /// (iFairy, arXiv 2508.05571).
    SquaredRelu,
}
