//! Families of models as data: which norms and linear layers a block has, what they are called, how large they are, and in
//! which order they work.
//!
//! A family is one file beside this one and one entry of [`FAMILIES`]. Everything else walks the description: names and
//! shapes of tensors ([`Config::weights`]), planning of bytes, loading, the forward pass, training forward and back,
//! calibration and analysis. None of them knows how many norms a block has, or which layers read the same input.
//!
//! A block is a list of [`Stack`]s in forward order. A stack reads one [`Input`], multiplies it by all its layers in one
//! product, and has one [`Output`]; a block of LLaMA is
//!
//! | stack | reads | becomes |
//! |---|---|---|
//! | q, k, v | the residual stream through norm 0 | attention |
//! | o | attention | an addition to the residual stream |
//! | gate, up | the residual stream through norm 1 | the activation `silu(gate) * up` |
//! | down | the activation | an addition to the residual stream |
//!
//! All layers of all stacks are quantized, and the head is unless a recipe skips it; norms and the embedding never are.

mod llama;
mod shapes;

pub use llama::LLAMA;
pub use shapes::WeightShape;

use super::config::Config;

/// All families.
pub static FAMILIES: [&Blueprint; 1] = [&LLAMA];

/// A size that follows from a configuration.
pub type Width = fn(&Config) -> usize;

/// A family of models.
#[derive(Debug)]
pub struct Blueprint {
    /// Names in `architectures` and `model_type` of Hugging Face's configurations that mean this family.
    pub architectures: &'static [(&'static str, &'static str)],
    /// The norms of a block.
    pub norms: &'static [Norm],
    /// The linear layers of a block, in forward order.
    pub stacks: &'static [Stack],
}

/// An RMS norm of a block.
#[derive(Debug)]
pub struct Norm {
    /// Name of its tensor behind that of the block, without `.weight`.
    pub name: &'static str,
    /// How many values it has.
    pub width: Width,
}

/// Linear layers that read the same input and run as one product.
#[derive(Debug)]
pub struct Stack {
    /// What numbers of stages call its layers together.
    pub name: &'static str,
    /// What it reads.
    pub input: Input,
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
    /// Rows of its weight.
    pub outputs: Width,
}

/// What a stack reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// The residual stream through the norm of this index.
    Norm(usize),
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
    /// They are a gate and what it gates, of the same width: `silu(gate) * up`.
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
            stack
                .norm()
                .map(BlockTensor::Norm)
                .into_iter()
                .chain(layers)
        })
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
    /// The index of the norm that it reads through, if it does.
    pub fn norm(&self) -> Option<usize> {
        match self.input {
            Input::Norm(norm) => Some(norm),
            Input::Attention | Input::Activation => None,
        }
    }

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

    #[test]
    fn stacks_read_what_is_there() {
        for family in FAMILIES {
            let mut read = vec![0; family.norms.len()];
            for (s, stack) in family.stacks.iter().enumerate() {
                let before = family.stacks[..s].last().map(|stack| stack.output);
                match stack.input {
                    Input::Norm(norm) => read[norm] += 1,
                    Input::Attention => assert_eq!(before, Some(Output::Attention)),
                    Input::Activation => assert_eq!(before, Some(Output::Gated)),
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
