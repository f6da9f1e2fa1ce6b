//! What a model is: shapes and constants, independent of any file format.

/// Hyper-parameters of a LLaMA-family model.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `LlamaForCausalLM` or `MistralForCausalLM`.
    pub architecture: String,
    /// Tokens in the vocabulary.
    pub vocab: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width inside the MLP.
    pub intermediate: usize,
    /// Transformer blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads; divides `heads`.
    pub kv_heads: usize,
    /// Values per head; even.
    pub head_dim: usize,
    /// Longest context the model was made for.
    pub context: usize,
    /// Rotary embedding.
    pub rope: Rope,
    /// Epsilon inside the RMS norms.
    pub norm_eps: f32,
    /// Whether the head is the embedding matrix.
    pub tied: bool,
    /// Begin-of-sequence token.
    pub bos: Option<u32>,
    /// Tokens that end a text.
    pub eos: Vec<u32>,
}

/// Rotary embedding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f64,
    /// Stretching of the positions.
    pub scaling: RopeScaling,
}

/// `rope_scaling` of Hugging Face configurations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RopeScaling {
    /// Plain.
    None,
    /// Positions divided by `factor`.
    Linear {
        /// How many times longer the context becomes.
        factor: f64,
    },
    /// LLaMA 3's interpolation by wavelength.
    Llama3 {
        /// Divides the frequencies of long wavelengths.
        factor: f64,
        /// Wavelengths longer than `original_context` over this are divided by `factor`.
        low_freq_factor: f64,
        /// Wavelengths shorter than `original_context` over this stay; those between are interpolated.
        high_freq_factor: f64,
        /// Tokens of the context that the model was first trained with.
        original_context: f64,
    },
}

/// A linear layer's place: `prefix` is the tensor name without `.weight`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinearShape {
    /// E.g. `model.layers.0.self_attn.q_proj`, `lm_head`.
    pub prefix: String,
    /// Rows of the weight.
    pub out_features: usize,
    /// Columns of the weight.
    pub in_features: usize,
}

impl Config {
    /// Name of the embedding matrix.
    pub const EMBED: &str = "model.embed_tokens.weight";
    /// Prefix of the output head.
    pub const HEAD: &str = "lm_head";

    /// Name of the weight of a dense head that is not tied.
    pub const HEAD_WEIGHT: &str = "lm_head.weight";

    /// All linear layers in forward order, the head last.
    pub fn linears(&self) -> Vec<LinearShape> {
        let (h, q, kv) = (
            self.hidden,
            self.heads * self.head_dim,
            self.kv_heads * self.head_dim,
        );
        let mut all = Vec::new();
        let mut add = |prefix: String, out_features, in_features| {
            all.push(LinearShape {
                prefix,
                out_features,
                in_features,
            });
        };
        for l in 0..self.layers {
            let p = format!("model.layers.{l}");
            add(format!("{p}.self_attn.q_proj"), q, h);
            add(format!("{p}.self_attn.k_proj"), kv, h);
            add(format!("{p}.self_attn.v_proj"), kv, h);
            add(format!("{p}.self_attn.o_proj"), h, q);
            add(format!("{p}.mlp.gate_proj"), self.intermediate, h);
            add(format!("{p}.mlp.up_proj"), self.intermediate, h);
            add(format!("{p}.mlp.down_proj"), h, self.intermediate);
        }
        add(Self::HEAD.to_owned(), self.vocab, h);
        all
    }

    /// Name of the dense weight of the linear layer `prefix`: the embedding, for a tied head.
    pub fn dense_name(&self, prefix: &str) -> String {
        if self.tied && prefix == Self::HEAD {
            return Self::EMBED.to_owned();
        }
        format!("{prefix}.weight")
    }

    /// Names of all norm weights (each `[hidden]`), in forward order.
    pub fn norms(&self) -> Vec<String> {
        let mut all = Vec::new();
        for l in 0..self.layers {
            all.push(format!("model.layers.{l}.input_layernorm.weight"));
            all.push(format!("model.layers.{l}.post_attention_layernorm.weight"));
        }
        all.push("model.norm.weight".to_owned());
        all
    }

    /// Number of parameters (a tied head counted once).
    pub fn parameters(&self) -> usize {
        let linears: usize = self
            .linears()
            .iter()
            .filter(|l| !(self.tied && l.prefix == Self::HEAD))
            .map(|l| l.out_features * l.in_features)
            .sum();
        linears + self.vocab * self.hidden + self.norms().len() * self.hidden
    }
}
