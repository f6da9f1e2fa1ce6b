//! Stacks that many families have.

use super::{Config, Input, Layer, Norm, Output, Stack, Width};
use crate::model::Form;

const DOWN: [Layer; 1] = [layer("down", "mlp.down_proj", hidden, mlp_bias)];

const GATE_UP: [Layer; 2] = [
    layer("gate", "mlp.gate_proj", intermediate, mlp_bias),
    layer("up", "mlp.up_proj", intermediate, mlp_bias),
];

const O: [Layer; 1] = [layer("o", "self_attn.o_proj", hidden, output_bias)];

const QKV: [Layer; 3] = [
    layer("q", "self_attn.q_proj", Config::queries, qkv_bias),
    layer("k", "self_attn.k_proj", Config::keys, qkv_bias),
    layer("v", "self_attn.v_proj", Config::keys, qkv_bias),
];

/// q, k and v of the residual stream through norm `norm`.
pub(super) const fn qkv(norm: Option<usize>) -> Stack {
    Stack {
        name: "qkv",
        input: Input::Residual,
        norm,
        after: None,
        inputs: hidden,
        layers: &QKV,
        output: Output::Attention,
    }
}

/// o, added to the residual stream, through norm `after` if there is one.
pub(super) const fn o(after: Option<usize>) -> Stack {
    Stack {
        name: "o",
        input: Input::Attention,
        norm: None,
        after,
        inputs: Config::queries,
        layers: &O,
        output: Output::Residual,
    }
}

/// Gate and up of the residual stream through norm `norm`.
pub(super) const fn gateup(norm: Option<usize>) -> Stack {
    Stack {
        name: "gateup",
        input: Input::Residual,
        norm,
        after: None,
        inputs: hidden,
        layers: &GATE_UP,
        output: Output::Gated,
    }
}

/// down, added to the residual stream, through norm `after` if there is one.
pub(super) const fn down(after: Option<usize>) -> Stack {
    Stack {
        name: "down",
        input: Input::Activation,
        norm: None,
        after,
        inputs: intermediate,
        layers: &DOWN,
        output: Output::Residual,
    }
}

/// A layer whose weight is real.
pub(super) const fn layer(
    kind: &'static str,
    name: &'static str,
    outputs: Width,
    bias: fn(&Config) -> bool,
) -> Layer {
    Layer {
        kind,
        name,
        form: Form::WidelyLinear,
        outputs,
        bias,
    }
}

pub(super) const fn norm(name: &'static str, width: Width) -> Norm {
    Norm { name, width }
}

pub(super) fn hidden(config: &Config) -> usize {
    config.hidden
}

pub(super) fn intermediate(config: &Config) -> usize {
    config.intermediate
}

pub(super) fn head(config: &Config) -> usize {
    config.head_dim
}

pub(super) fn unbiased(_: &Config) -> bool {
    false
}

pub(super) fn qkv_bias(config: &Config) -> bool {
    config.variant.qkv_bias
}

pub(super) fn output_bias(config: &Config) -> bool {
    config.variant.output_bias
}

pub(super) fn mlp_bias(config: &Config) -> bool {
    config.variant.mlp_bias
}
