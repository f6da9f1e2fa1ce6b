//! What models do otherwise than LLaMA, as numbers and switches that a configuration sets.
//!
//! What a whole family does otherwise (names, norms, gates, fused layers) is in its [blueprint](super::blueprint).

use super::{Config, Rope};

/// What a model does otherwise than LLaMA. The default changes nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Variant {
    /// Whether q, k and v have biases.
    pub qkv_bias: bool,
    /// Whether o has one.
    pub output_bias: bool,
    /// Whether gate, up and down have them.
    pub mlp_bias: bool,
    /// Values of a head that are rotated, where not all are.
    pub rotary_dim: Option<usize>,
    /// How each layer attends; empty where all see everything and are rotated.
    pub layers: Vec<LayerAttention>,
    /// The rotary embedding of layers that say [`Rotary::Local`].
    pub local_rope: Option<Rope>,
    /// What scores of attention are multiplied by, where that is not `1 / sqrt(head_dim)`.
    pub score_scale: Option<f32>,
    /// Scores become `cap * tanh(score / cap)`; 0 where they stay.
    pub score_cap: f32,
    /// Logits become `cap * tanh(logit / cap)`; 0 where they stay.
    pub logit_cap: f32,
    /// What logits are multiplied by.
    pub logit_scale: f32,
    /// What embeddings are multiplied by.
    pub embedding_scale: f32,
    /// What is added to the residual stream is multiplied by this.
    pub residual_scale: f32,
    /// Experts, of which each token runs through a few.
    pub experts: Option<Experts>,
}

/// How a layer attends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerAttention {
    /// Positions that a token sees, its own included; `usize::MAX` for all.
    pub window: usize,
    /// How its queries and keys are rotated.
    pub rotary: Rotary,
}

/// How queries and keys of a layer are rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotary {
    /// Not at all.
    None,
    /// By [`Config::rope`].
    Main,
    /// By [`Variant::local_rope`].
    Local,
}

/// A mixture of experts.
#[derive(Debug, Clone, PartialEq)]
pub struct Experts {
    /// How many there are.
    pub count: usize,
    /// Through how many a token runs.
    pub chosen: usize,
    /// Width inside each.
    pub width: usize,
    /// Whether the weights of the chosen ones are divided by their sum.
    pub normalized: bool,
    /// Layers that have an ordinary MLP instead.
    pub dense_layers: Vec<usize>,
}

impl Default for Variant {
    fn default() -> Self {
        Self {
            qkv_bias: false,
            output_bias: false,
            mlp_bias: false,
            rotary_dim: None,
            layers: Vec::new(),
            local_rope: None,
            score_scale: None,
            score_cap: 0.0,
            logit_cap: 0.0,
            logit_scale: 1.0,
            embedding_scale: 1.0,
            residual_scale: 1.0,
            experts: None,
        }
    }
}

impl LayerAttention {
    /// Sees everything, rotated as configured.
    pub const FULL: Self = Self {
        window: usize::MAX,
        rotary: Rotary::Main,
    };
}

impl Config {
    /// How layer `l` attends.
    pub fn attention(&self, l: usize) -> LayerAttention {
        let layers = &self.variant.layers;
        layers.get(l).copied().unwrap_or(LayerAttention::FULL)
    }

    /// What scores of attention are multiplied by.
    pub fn score_scale(&self) -> f32 {
        let values = self.head_dim / self.blueprint().reals();
        let usual = (values as f64).powf(-0.5) as f32;
        self.variant.score_scale.unwrap_or(usual)
    }

    /// Values of a head that are rotated.
    pub fn rotary_dim(&self) -> usize {
        self.variant.rotary_dim.unwrap_or(self.head_dim)
    }

    /// Whether what is added to the residual stream is normalized or multiplied before.
    pub(crate) fn adds_branches(&self) -> bool {
        let stacks = self.blueprint().stacks;
        self.variant.residual_scale != 1.0 || stacks.iter().any(|stack| stack.after.is_some())
    }

    /// Whether logits are multiplied or capped.
    pub(crate) fn caps_logits(&self) -> bool {
        self.variant.logit_scale != 1.0 || self.variant.logit_cap != 0.0
    }

    /// Values of the widest activation of an MLP or an expert.
    pub(crate) fn widest_gate(&self) -> usize {
        let experts = self.variant.experts.as_ref();
        let width = experts.map_or(0, |experts| experts.width);
        width.max(self.intermediate)
    }

    /// The experts of block `l`, where it has some.
    pub fn experts(&self, l: usize) -> Option<&Experts> {
        let experts = self.variant.experts.as_ref()?;
        (!experts.dense_layers.contains(&l)).then_some(experts)
    }
}
