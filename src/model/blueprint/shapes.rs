//! Names and shapes of a model's tensors: what its family's blueprint makes of its configuration.

use super::{BlockTensor, Blueprint, FAMILIES, HeadNorms, LLAMA, Output, Stack};
use crate::model::Form;
use crate::model::config::{Config, LinearShape};
use crate::ops::norm::{Rms, RmsNormHeads};

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
    /// A matrix that is never quantized: the layer that scores experts.
    Router {
        /// Name of the tensor.
        name: String,
        /// Experts, and values of a token.
        shape: [usize; 2],
    },
    /// The bias of a linear layer.
    Bias {
        /// Name of the tensor.
        name: String,
        /// How many values it has.
        width: usize,
    },
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
            biased: (layer.bias)(self),
        });
        layers.collect()
    }

    /// The layers of all stacks of block `l`, in the order of [`Blueprint::stacks`]; those before the MLP alone, where that is a
    /// mixture of experts.
    pub fn stacks(&self, l: usize) -> Vec<Vec<LinearShape>> {
        let stacks = self.blueprint().stacks.iter();
        let experts = self.experts(l).is_some();
        let stacks = stacks.take_while(|stack| !(experts && stack.output == Output::Gated));
        stacks.map(|stack| self.stack(l, stack)).collect()
    }

    /// The layers of the experts of block `l`: gate, up and down of each.
    pub fn expert_linears(&self, l: usize) -> Vec<[LinearShape; 3]> {
        let (Some(experts), Some(names)) = (self.experts(l), self.blueprint().experts) else {
            return Vec::new();
        };
        let block = self.block_name(l);
        let layer = |e: usize, i: usize| {
            let (wide, narrow) = (self.hidden, experts.width);
            LinearShape {
                prefix: format!("{block}.{}{e}.{}", names.expert, names.layers[i]),
                form: Form::WidelyLinear,
                out_features: if i == 2 { wide } else { narrow },
                in_features: if i == 2 { narrow } else { wide },
                biased: false,
            }
        };
        (0..experts.count)
            .map(|e| [0, 1, 2].map(|i| layer(e, i)))
            .collect()
    }

    /// Name of the matrix that scores the experts of block `l`.
    pub fn router_name(&self, l: usize) -> String {
        let names = self.blueprint().experts;
        let router = names.map_or("", |names| names.router);
        format!("{}.{router}.weight", self.block_name(l))
    }

    /// All linear layers of block `l` in forward order.
    pub fn block_linears(&self, l: usize) -> Vec<LinearShape> {
        let experts = self.expert_linears(l).into_iter().flatten();
        self.stacks(l)
            .into_iter()
            .flatten()
            .chain(experts)
            .collect()
    }

    /// The output head.
    pub fn head(&self) -> LinearShape {
        LinearShape {
            prefix: Self::HEAD.to_owned(),
            form: Form::WidelyLinear,
            out_features: self.vocab,
            in_features: self.hidden,
            biased: false,
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
            let experts = self.expert_linears(l);
            all.extend(
                blueprint
                    .tensors(self, l)
                    .into_iter()
                    .map(|tensor| match tensor {
                        BlockTensor::Norm(i) => WeightShape::Norm {
                            name: names[i].clone(),
                            width: (blueprint.norms[i].width)(self),
                        },
                        BlockTensor::Layer(stack, i) => {
                            WeightShape::Linear(stacks[stack][i].clone())
                        }
                        BlockTensor::Router => WeightShape::Router {
                            name: self.router_name(l),
                            shape: [experts.len(), self.hidden],
                        },
                        BlockTensor::Expert(e, i) => WeightShape::Linear(experts[e][i].clone()),
                        BlockTensor::Bias(stack, i) => WeightShape::Bias {
                            name: stacks[stack][i].bias(),
                            width: stacks[stack][i].out_features,
                        },
                    }),
            );
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
            WeightShape::Linear(_) | WeightShape::Bias { .. } | WeightShape::Router { .. } => None,
        };
        self.weights().into_iter().filter_map(norm).collect()
    }

    /// Number of parameters (a tied head counted once).
    pub fn parameters(&self) -> usize {
        let count = |weight: WeightShape| match weight {
            WeightShape::Norm { width, .. } | WeightShape::Bias { width, .. } => width,
            WeightShape::Router { shape, .. } => shape[0] * shape[1],
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
        widths.fold(self.hidden, usize::max).max(self.widest_gate())
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

    /// Whether queries and keys are normalized head by head.
    pub(crate) fn norms_each_head(&self) -> bool {
        let blueprint = self.blueprint();
        let width = |norm: usize| (blueprint.norms[norm].width)(self);
        let each = |norms: HeadNorms| [norms.q, norms.k].map(width) == [self.head_dim; 2];
        blueprint.head_norms.is_some_and(each)
    }

    /// The norms of queries and keys of `tokens` tokens.
    pub(crate) fn head_norms(&self, norms: HeadNorms, tokens: usize) -> RmsNormHeads {
        let all = self.blueprint().norms;
        let widths = [norms.q, norms.k].map(|norm| (all[norm].width)(self));
        RmsNormHeads {
            tokens,
            offset: 0,
            row: self.queries() + 2 * self.keys(),
            groups: [self.queries() / widths[0], self.keys() / widths[1]],
            widths,
            rms: self.rms(),
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
