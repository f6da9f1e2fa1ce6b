//! Families of models as data: which norms and linear layers a block has, what they are called, how large they are, and in
//! which order they work.
//!
//! A family is one file beside this one and one entry of [`FAMILIES`]. Everything else walks the description: names and
//! shapes of tensors ([`Config::weights`]), planning of bytes, loading, the forward pass, training forward and back,
//! calibration and analysis. None of them knows how many norms a block has, or which layers read the same input.
//!
//! A block is a list of [`Stack`]s in forward order. A stack reads one [`Input`], through a norm or as it is, multiplies it by
//! all its layers in one product, and has one [`Output`]; a block of LLaMA is
//!
//! | stack | reads | becomes |
//! |---|---|---|
//! | q, k, v | the residual stream through norm 0 | attention |
//! | o | attention | an addition to the residual stream |
//! | gate, up | the residual stream through norm 1 | the activation `silu(gate) * up` |
//! | down | the activation | an addition to the residual stream |
//!
//! All layers of all stacks are quantized, and the head is unless a recipe skips it; norms and the embedding never are.

mod cohere2;
mod fields;
mod gemma2;
mod gemma3;
mod granite;
mod ifairy;
mod llama;
mod mistral;
mod mixtral;
mod olmo2;
mod parts;
mod phi3;
mod qwen2;
mod qwen3;
mod shapes;
mod smollm3;
#[cfg(test)]
mod tests;

pub use fields::{Biased, Fields, Rotaries, Windows};
pub use ifairy::IFAIRY;
pub use llama::LLAMA;
pub use shapes::WeightShape;

use super::Form;
use super::config::Config;
use crate::ops::activation::Gate;
use crate::ops::attention::Pairs;

/// All families.
pub static FAMILIES: [&Blueprint; 14] = [
    &LLAMA,
    &mistral::MISTRAL,
    &qwen2::QWEN2,
    &qwen3::QWEN3,
    &qwen3::QWEN3_MOE,
    &phi3::PHI3,
    &smollm3::SMOLLM3,
    &olmo2::OLMO2,
    &granite::GRANITE,
    &gemma2::GEMMA2,
    &gemma3::GEMMA3,
    &cohere2::COHERE2,
    &mixtral::MIXTRAL,
    &IFAIRY,
];

/// A size that follows from a configuration.
pub type Width = fn(&Config) -> usize;

/// A family of models.
#[derive(Debug)]
pub struct Blueprint {
    /// Names in `architectures` and `model_type` of Hugging Face's configurations that mean this family.
    pub architectures: &'static [(&'static str, &'static str)],
    /// Whether its vectors are complex: halves `[re | im]` of real vectors, each head of queries, keys and values by itself.
    pub complex: bool,
    /// What a gated stack does with its outputs.
    pub gate: Gate,
    /// Names that Hugging Face's configurations give its activation function, the usual one first.
    pub hidden_act: &'static [&'static str],
    /// Epsilon of its norms where a configuration says nothing.
    pub norm_eps: f64,
    /// What is added to the stored weights of its norms.
    pub norm_offset: f32,
    /// Whether its norms subtract the mean of a token first.
    pub centered: bool,
    /// By which pairs values of a head are rotated.
    pub pairs: Pairs,
    /// Norms of queries and keys before they are rotated, if it has them.
    pub head_norms: Option<HeadNorms>,
    /// Names of a mixture of experts that takes the place of the last two stacks, if it has one.
    pub experts: Option<ExpertNames>,
    /// What its configurations may say.
    pub fields: Fields,
    /// Whether the head stays dense in a quantized model.
    pub dense_head: bool,
    /// Residual stages where nothing is said.
    pub stages: u8,
    /// Names of its tensors outside of blocks, and of what is around those of a block.
    pub names: Names,
    /// The norms of a block.
    pub norms: &'static [Norm],
    /// The linear layers of a block, in forward order.
    pub stacks: &'static [Stack],
}

/// How a family calls its tensors; a layer or norm in a block is called after [`Layer::name`] or [`Norm::name`].
#[derive(Debug)]
pub struct Names {
    /// The embedding matrix, without `.weight`.
    pub embed: &'static str,
    /// The norm before the head, without `.weight`.
    pub norm: &'static str,
    /// What the names of all tensors of blocks begin with; the number of the block follows.
    pub blocks: &'static str,
}

/// An RMS norm of a block.
#[derive(Debug)]
pub struct Norm {
    /// Name of its tensor behind that of the block, without `.weight`.
    pub name: &'static str,
    /// How many values it has: as many as the stack that reads through it has inputs.
    pub width: Width,
}

/// Norms of queries and keys before they are rotated, by their indices among those of the block. Each normalizes its heads one
/// by one where it has as many values as a head, and all of them together otherwise.
#[derive(Debug, Clone, Copy)]
pub struct HeadNorms {
    /// That of queries.
    pub q: usize,
    /// That of keys.
    pub k: usize,
}

/// How a mixture of experts calls its tensors in a block.
#[derive(Debug, Clone, Copy)]
pub struct ExpertNames {
    /// The layer that scores experts, without `.weight`. It is never quantized.
    pub router: &'static str,
    /// What the names of the layers of an expert begin with; its number follows, and a dot.
    pub expert: &'static str,
    /// Gate, up and down behind that.
    pub layers: [&'static str; 3],
    /// How many experts there are, and through how many a token runs, where the configuration does not say.
    pub usual: [usize; 2],
    /// The field that says how wide each is, and its value where it is missing.
    pub width: (&'static str, Option<usize>),
    /// The field that says whether the weights of the chosen ones are divided by their sum, which they are not where it is
    /// missing; `None` where they always are.
    pub normalized: Option<&'static str>,
}

/// Linear layers that read the same input and run as one product.
#[derive(Debug)]
pub struct Stack {
    /// What numbers of stages call its layers together.
    pub name: &'static str,
    /// What it reads.
    pub input: Input,
    /// The index of the norm through which it reads that, if there is one. Two stacks may share one.
    pub norm: Option<usize>,
    /// The index of the norm through which its outputs go before they are added to the residual stream, if there is one.
    pub after: Option<usize>,
    /// Columns of its weights.
    pub inputs: Width,
    /// Its layers; their outputs stand beside each other in this order.
    pub layers: &'static [Layer],
    /// What becomes of its outputs.
    pub output: Output,
}

/// A linear layer of a block.
#[derive(Debug)]
pub struct Layer {
    /// What numbers of stages, tables and plots call it.
    pub kind: &'static str,
    /// Name of its tensor behind that of the block, without `.weight`.
    pub name: &'static str,
    /// Which matrices it has where it is quantized.
    pub form: Form,
    /// Its real outputs.
    pub outputs: Width,
    /// Whether it has a bias.
    pub bias: fn(&Config) -> bool,
}

/// What a stack reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// The residual stream.
    Residual,
    /// What attention gives, of the last stack before this one whose output is [`Output::Attention`].
    Attention,
    /// What the activation gives, of the last stack before this one whose output is [`Output::Gated`].
    Activation,
}

/// What becomes of the outputs of a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// They are queries, keys and values: positions are rotated into them, the cache takes keys and values, and attention
    /// reads it.
    Attention,
    /// They are a gate and what it gates, of the same width: [`Blueprint::gate`] says what comes of them.
    Gated,
    /// They are added to the residual stream.
    Residual,
}

/// A tensor of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockTensor {
    /// The norm of this index.
    Norm(usize),
    /// The layer of the second index in the stack of the first.
    Layer(usize, usize),
    /// The bias of that layer.
    Bias(usize, usize),
    /// The layer that scores experts.
    Router,
    /// A layer of an expert, the first index: gate, up and down.
    Expert(usize, usize),
}

/// A stack of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StackIndex {
    /// A stack of a block.
    Block {
        /// Index of the block.
        block: usize,
        /// Index of the stack in [`Blueprint::stacks`].
        stack: usize,
    },
    /// The output head.
    Head,
}

impl Blueprint {
    /// The tensors of a block in the order in which the forward pass meets them: files hold them in this order.
    ///
    /// A block with experts has them where others have an MLP.
    pub fn tensors(&self, config: &Config, l: usize) -> Vec<BlockTensor> {
        let mut all = Vec::new();
        let experts = config.experts(l);
        let put_norm = |all: &mut Vec<_>, norm: Option<usize>| {
            let norm = norm.map(BlockTensor::Norm);
            all.extend(norm.filter(|norm| !all.contains(norm)));
        };
        for (s, stack) in self.stacks.iter().enumerate() {
            put_norm(&mut all, stack.norm);
            if let Some(experts) = experts.filter(|_| stack.output == Output::Gated) {
                all.push(BlockTensor::Router);
                let layers = |e| [0, 1, 2].map(|layer| BlockTensor::Expert(e, layer));
                all.extend((0..experts.count).flat_map(layers));
                break;
            }
            for (l, layer) in stack.layers.iter().enumerate() {
                all.push(BlockTensor::Layer(s, l));
                all.extend((layer.bias)(config).then_some(BlockTensor::Bias(s, l)));
            }
            if stack.output == Output::Attention
                && let Some(norms) = self.head_norms
            {
                put_norm(&mut all, Some(norms.q));
                put_norm(&mut all, Some(norms.k));
            }
            put_norm(&mut all, stack.after);
        }
        all
    }

    /// Real numbers of a value, which configurations of files count once.
    pub fn reals(&self) -> usize {
        if self.complex { 2 } else { 1 }
    }

    /// Most scales with which a layer rounds a token.
    pub fn token_scales(&self) -> usize {
        let layers = self.stacks.iter().flat_map(|stack| stack.layers);
        let scales = layers.map(|layer| layer.form.token_scales());
        scales.max().unwrap_or(1)
    }

    /// How many tensors a block has, of models without experts.
    pub fn n_tensors(&self, config: &Config) -> usize {
        self.tensors(config, 0).len()
    }

    /// The index of a tensor among [`Blueprint::tensors`] of models without experts; their number, where a block has no such tensor.
    pub fn index(&self, config: &Config, tensor: BlockTensor) -> usize {
        let all = self.tensors(config, 0);
        all.iter().position(|&t| t == tensor).unwrap_or(all.len())
    }

    /// Whether its MLP reads the residual stream that attention reads, before that adds to it.
    pub fn is_parallel(&self) -> bool {
        let first = |output| self.stacks.iter().position(|stack| stack.output == output);
        first(Output::Gated) < first(Output::Residual)
    }

    /// How many stacks before stack `stack` add to the residual stream.
    pub fn additions(&self, stack: usize) -> usize {
        let adds = |stack: &&Stack| stack.output == Output::Residual;
        self.stacks[..stack].iter().filter(adds).count()
    }
}

impl Stack {
    /// Outputs of all its layers together.
    pub fn outputs(&self, config: &Config) -> usize {
        self.layers
            .iter()
            .map(|layer| (layer.outputs)(config))
            .sum()
    }
}
