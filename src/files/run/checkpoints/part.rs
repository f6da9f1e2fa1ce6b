//! What a checkpoint holds of a parameter.

/// One of the three tensors that a parameter's training consists of, in f32 or fewer bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// The weight itself.
    Master,
    /// AdamW's running mean of the gradient.
    First,
    /// AdamW's running mean of its square.
    Second,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Master, Self::First, Self::Second];

    /// Name of its file in a checkpoint.
    pub const fn file(self) -> &'static str {
        match self {
            Self::Master => "masters.safetensors",
            Self::First => "first.safetensors",
            Self::Second => "second.safetensors",
        }
    }
}
