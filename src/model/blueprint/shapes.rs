//! Names and shapes of a model's tensors: what its family's blueprint makes of its configuration.

use super::{BlockTensor, Blueprint, FAMILIES, LLAMA, Output, Stack};
use crate::model::Form;
use crate::model::config::{Config, LinearShape};
use crate::ops::norm::Rms;

/// A tensor of a model beside its embedding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WeightShape {
    /// The weight of a norm.
    Norm {
        /// Name of the tensor.
        name: String,
        /// How many values it has.
        width: usize,
    },
    /// The weight of a linear layer.
    Linear(LinearShape),
}

impl Config {
    /// The description of its family; LLaMA's for an architecture that is none of Hugging Face's names.
    pub fn blueprint(&self) -> &'static Blueprint {
        let is = |family: &&&Blueprint| {
            let mut names = family.architectures.iter();
            names.any(|(architecture, _)| *architecture == self.architecture)
        };
        FAMILIES.iter().find(is).copied().unwrap_or(&LLAMA)
    }

    /// What its norms divide by.
    pub fn rms(&self) -> Rms {
        Rms {
            eps: self.norm_eps,
            complex: self.blueprint().complex,
        }
    }

    /// What the names of all tensors of block `l` begin with, before a dot.
    pub fn block_name(&self, l: usize) -> String {
        format!("{}{l}", self.blueprint().names.blocks)
    }

    /// The layers of a stack of block `l`.
    fn stack(&self, l: usize, stack: &Stack) -> Vec<LinearShape> {
        let block = self.block_name(l);
        let layers = stack.layers.iter().map(|layer| LinearShape {
            prefix: format!("{block}.{}", layer.name),
            form: layer.form,
            out_features: (layer.outputs)(self),
            in_features: (stack.inputs)(self),
        });
        layers.collect()
    }

    /// The layers of all stacks of block `l`, in the order of [`Blueprint::stacks`].
    pub fn stacks(&self, l: usize) -> Vec<Vec<LinearShape>> {
        let stacks = self.blueprint().stacks.iter();
        stacks.map(|stack| self.stack(l, stack)).collect()
    }

    /// All linear layers of block `l` in forward order.
    pub fn block_linears(&self, l: usize) -> Vec<LinearShape> {
        self.stacks(l).concat()
    }

    /// The output head.
    pub fn head(&self) -> LinearShape {
        LinearShape {
            prefix: Self::HEAD.to_owned(),
            form: Form::WidelyLinear,
            out_features: self.vocab,
            in_features: self.hidden,
        }
    }

    /// All linear layers in forward order, the head last.
    pub fn linears(&self) -> Vec<LinearShape> {
        let blocks = (0..self.layers).flat_map(|l| self.block_linears(l));
        blocks.chain([self.head()]).collect()
    }

    /// Names of the norms of block `l`, in the order of [`Blueprint::norms`].
    pub fn block_norms(&self, l: usize) -> Vec<String> {
        let block = self.block_name(l);
        let norms = self.blueprint().norms.iter();
        norms
            .map(|norm| format!("{block}.{}.weight", norm.name))
            .collect()
    }

    /// All tensors but the embedding in the order in which the forward pass meets them; the head is the last, tied or not.
    pub fn weights(&self) -> Vec<WeightShape> {
        let blueprint = self.blueprint();
        let mut all = Vec::new();
        for l in 0..self.layers {
            let (names, stacks) = (self.block_norms(l), self.stacks(l));
            all.extend(blueprint.tensors().map(|tensor| match tensor {
                BlockTensor::Norm(i) => WeightShape::Norm {
                    name: names[i].clone(),
                    width: (blueprint.norms[i].width)(self),
                },
                BlockTensor::Layer(stack, i) => WeightShape::Linear(stacks[stack][i].clone()),
            }));
        }
        all.push(WeightShape::Norm {
            name: self.norm_name(),
            width: self.hidden,
        });
        all.push(WeightShape::Linear(self.head()));
        all
    }

    /// Names of all norm weights in forward order.
    pub fn norms(&self) -> Vec<String> {
        let norm = |weight: WeightShape| match weight {
            WeightShape::Norm { name, .. } => Some(name),
            WeightShape::Linear(_) => None,
        };
        self.weights().into_iter().filter_map(norm).collect()
    }

    /// Number of parameters (a tied head counted once).
    pub fn parameters(&self) -> usize {
        let count = |weight: WeightShape| match weight {
            WeightShape::Norm { width, .. } => width,
            WeightShape::Linear(l) if self.tied && l.prefix == Self::HEAD => 0,
            WeightShape::Linear(l) => l.out_features * l.columns(),
        };
        let weights: usize = self.weights().into_iter().map(count).sum();
        weights + self.vocab * self.hidden
    }

    /// Columns of the widest linear layer.
    pub fn widest_input(&self) -> usize {
        let stacks = self.blueprint().stacks.iter();
        let widths = stacks.map(|stack| (stack.inputs)(self));
        widths.fold(self.hidden, usize::max)
    }

    /// Values of the widest norm, the one before the head included.
    pub fn widest_norm(&self) -> usize {
        let norms = self.blueprint().norms.iter();
        let widths = norms.map(|norm| (norm.width)(self));
        widths.fold(self.hidden, usize::max)
    }

    /// How many complex rows of a stack have their outputs together ([`PhaseShape`](crate::ops::phase::PhaseShape)): those of a
    /// head, so that attention of complex heads is that of real ones with halves; 0 where real parts of a layer come first.
    pub fn half_run(&self, stack: &Stack) -> usize {
        match stack.output {
            Output::Attention if self.blueprint().complex => self.head_dim / 2,
            _ => 0,
        }
    }

    /// Outputs of the widest stack of a block.
    pub fn widest_output(&self) -> usize {
        let stacks = self.blueprint().stacks.iter();
        stacks.map(|stack| stack.outputs(self)).max().unwrap_or(0)
    }

    /// Outputs of the widest stack of a block whose outputs become this.
    pub fn outputs(&self, output: Output) -> usize {
        let stacks = self.blueprint().stacks.iter();
        let such = stacks.filter(|stack| stack.output == output);
        such.map(|stack| stack.outputs(self)).max().unwrap_or(0)
    }
}
