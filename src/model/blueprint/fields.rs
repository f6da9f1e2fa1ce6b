//! What configurations of a family may say beside the sizes, and what holds where they say nothing.

/// What configurations of a family may say. A field that changes what is computed and is not among these is refused by name.
#[derive(Debug, Clone, Copy)]
pub struct Fields {
    /// Whether the head is the embedding where `tie_word_embeddings` is missing.
    pub tied: bool,
    /// Sizes where their fields are missing, which configurations of larger models leave out.
    pub sizes: &'static [(&'static str, usize)],
    /// Values of a head where `head_dim` is missing; the hidden size over the heads if there is no number here.
    pub head_dim: Option<usize>,
    /// Base of the rotary frequencies where `rope_theta` is missing.
    pub theta: f64,
    /// Longest context where `max_position_embeddings` is missing.
    pub context: usize,
    /// The context that `longrope` stretches where no field says it; the longest one if there is no number here.
    pub original_context: Option<usize>,
    /// Name of the epsilon of its norms.
    pub norm_eps: &'static str,
    /// Biases of q, k and v.
    pub qkv_bias: Biased,
    /// The bias of o.
    pub output_bias: Biased,
    /// Biases of gate, up and down.
    pub mlp_bias: Biased,
    /// Which layers see a window only.
    pub windows: Windows,
    /// Which layers are rotated, and how.
    pub rotaries: Rotaries,
    /// Whether `partial_rotary_factor` may say that a part of each head is rotated.
    pub partial_rotary: bool,
    /// Whether embeddings are multiplied by the root of their size.
    pub rooted_embedding: bool,
    /// Factors and caps that are understood, with their values where they are missing: a cap of 0 is none.
    pub numbers: &'static [(&'static str, f64)],
}

/// Whether layers have biases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Biased {
    /// Never.
    Never,
    /// Always.
    Always,
    /// Where this field is true.
    Field(&'static str),
}

/// Which layers see a window of the positions before them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Windows {
    /// None.
    Never,
    /// All, if `sliding_window` is a number; this one where it is missing.
    All(Option<usize>),
    /// Those from `max_window_layers` on, if `use_sliding_window` is true.
    From,
    /// All but the last of each so many layers; `sliding_window_pattern` may say another number.
    Pattern {
        /// How many.
        every: usize,
        /// The window where `sliding_window` is missing.
        window: usize,
    },
}

/// Which layers are rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotaries {
    /// All alike.
    All,
    /// Those with a window by a base of their own.
    LocalInWindows,
    /// Those with a window alone.
    InWindows,
    /// Those that `no_rope_layers` lists with a 1; without a list all but the last of each `no_rope_layer_interval`.
    Listed,
}

impl Fields {
    /// LLaMA's.
    pub const LLAMA: Self = Self {
        tied: false,
        sizes: &[],
        head_dim: None,
        theta: 10_000.0,
        context: 2048,
        original_context: None,
        norm_eps: "rms_norm_eps",
        qkv_bias: Biased::Field("attention_bias"),
        output_bias: Biased::Field("attention_bias"),
        mlp_bias: Biased::Field("mlp_bias"),
        windows: Windows::Never,
        rotaries: Rotaries::All,
        partial_rotary: false,
        rooted_embedding: false,
        numbers: &[],
    };

    /// Whether this field means something to the family, beside those that mean something to all.
    pub fn understands(&self, field: &str) -> bool {
        let biases = [self.qkv_bias, self.output_bias, self.mlp_bias];
        match field {
            "no_rope_layers" | "no_rope_layer_interval" => self.rotaries == Rotaries::Listed,
            "partial_rotary_factor" => self.partial_rotary,
            _ => {
                biases
                    .iter()
                    .any(|b| matches!(b, Biased::Field(name) if *name == field))
                    || self.numbers.iter().any(|(name, _)| *name == field)
            }
        }
    }
}
