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

mod ifairy;
mod llama;
mod shapes;

pub use ifairy::IFAIRY;
pub use llama::LLAMA;
pub use shapes::WeightShape;

use super::Form;
use super::config::Config;
use crate::ops::activation::Gate;

/// All families.
pub static FAMILIES: [&Blueprint; 2] = [&LLAMA, &IFAIRY];

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

/// Linear layers that read the same input and run as one product.
#[derive(Debug)]
pub struct Stack {
    /// What numbers of stages call its layers together.
    pub name: &'static str,
    /// What it reads.
    pub input: Input,
    /// The index of the norm through which it reads that, if there is one.
    pub norm: Option<usize>,
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
    pub fn tensors(&self) -> impl Iterator<Item = BlockTensor> {
        self.stacks.iter().enumerate().flat_map(|(s, stack)| {
            let layers = (0..stack.layers.len()).map(move |l| BlockTensor::Layer(s, l));
            stack.norm.map(BlockTensor::Norm).into_iter().chain(layers)
        })
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

    /// How many tensors a block has.
    pub fn n_tensors(&self) -> usize {
        self.tensors().count()
    }

    /// The index of a tensor among [`Blueprint::tensors`]; their number, where a block has no such tensor.
    pub fn index(&self, tensor: BlockTensor) -> usize {
        self.tensors().take_while(|&t| t != tensor).count()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::config::{Rope, RopeScaling};

    #[test]
    fn stacks_read_what_is_there() {
        let config = Config {
            architecture: String::new(),
            vocab: 5,
            hidden: 48,
            intermediate: 80,
            layers: 1,
            heads: 6,
            kv_heads: 2,
            head_dim: 16,
            context: 8,
            rope: Rope {
                theta: 1e4,
                scaling: RopeScaling::None,
            },
            norm_eps: 1e-5,
            tied: false,
            bos: None,
            eos: vec![],
        };
        for family in FAMILIES {
            let mut read = vec![0; family.norms.len()];
            for (s, stack) in family.stacks.iter().enumerate() {
                let before = family.stacks[..s].last().map(|stack| stack.output);
                match stack.input {
                    // a product cannot read the stream and add to it at once
                    Input::Residual => assert!(
                        stack.norm.is_some() || stack.output != Output::Residual,
                        "{}",
                        stack.name
                    ),
                    Input::Attention => assert_eq!(before, Some(Output::Attention)),
                    Input::Activation => assert_eq!(before, Some(Output::Gated)),
                }
                if let Some(norm) = stack.norm {
                    read[norm] += 1;
                    let widths = [family.norms[norm].width, stack.inputs];
                    let [norm, inputs] = widths.map(|width| width(&config));
                    assert_eq!(norm, inputs, "{}", stack.name);
                }
                assert!(!stack.layers.is_empty(), "{}", stack.name);
            }
            assert!(read.iter().all(|&times| times == 1), "{read:?}");
            let last = family.stacks.last().map(|stack| stack.output);
            assert_eq!(last, Some(Output::Residual));
        }
    }

    #[test]
    fn tensors_are_met_in_forward_order() {
        use BlockTensor::{Layer, Norm};
        let qkvo = [Layer(0, 0), Layer(0, 1), Layer(0, 2), Layer(1, 0)];
        let mlp = [Layer(2, 0), Layer(2, 1), Layer(3, 0)];
        let all = [&[Norm(0)], &qkvo[..], &[Norm(1)], &mlp[..]].concat();
        assert_eq!(LLAMA.tensors().collect::<Vec<_>>(), all);
        assert_eq!((LLAMA.n_tensors(), LLAMA.index(Layer(3, 0))), (9, 8));
        assert_eq!((LLAMA.additions(0), LLAMA.additions(3)), (0, 1));
    }
}
