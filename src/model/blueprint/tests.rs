//! What holds for every family.

use super::*;
use crate::model::{Rope, RopeScaling, Variant};

fn config() -> Config {
    Config {
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
        variant: Variant::default(),
    }
}

/// Every norm of a family is read somewhere, and as wide as what goes through it.
#[test]
fn norms_are_read_and_fit() {
    let config = config();
    for family in FAMILIES {
        let mut read = vec![0; family.norms.len()];
        let mut through = |norm: Option<usize>, widths: &[usize], of: &str| {
            let Some(norm) = norm else { return };
            read[norm] += 1;
            let width = (family.norms[norm].width)(&config);
            assert!(widths.contains(&width), "{}: {of}", family.names.blocks);
        };
        for stack in family.stacks {
            through(stack.norm, &[(stack.inputs)(&config)], stack.name);
            through(stack.after, &[config.hidden], stack.name);
            assert!(!stack.layers.is_empty(), "{}", stack.name);
            assert!(stack.after.is_none() || stack.output == Output::Residual);
        }
        if let Some(norms) = family.head_norms {
            through(Some(norms.q), &[config.head_dim, config.queries()], "q");
            through(Some(norms.k), &[config.head_dim, config.keys()], "k");
        }
        assert!(read.iter().all(|&times| times > 0), "{read:?}");
    }
}

#[test]
fn stacks_read_what_is_there() {
    for family in FAMILIES {
        for (s, stack) in family.stacks.iter().enumerate() {
            let before = || family.stacks[..s].iter().map(|stack| stack.output);
            match stack.input {
                // a product cannot read the stream and add to it at once
                Input::Residual => assert!(
                    stack.norm.is_some() || stack.output != Output::Residual,
                    "{}",
                    stack.name
                ),
                Input::Attention => assert!(before().any(|o| o == Output::Attention)),
                Input::Activation => assert!(before().any(|o| o == Output::Gated)),
            }
        }
        let last = family.stacks.last().map(|stack| stack.output);
        assert_eq!(last, Some(Output::Residual));
    }
}

#[test]
fn tensors_are_met_in_forward_order() {
    use BlockTensor::{Bias, Layer, Norm};
    let mut config = config();
    let qkvo = [Layer(0, 0), Layer(0, 1), Layer(0, 2), Layer(1, 0)];
    let mlp = [Layer(2, 0), Layer(2, 1), Layer(3, 0)];
    let all = [&[Norm(0)], &qkvo[..], &[Norm(1)], &mlp[..]].concat();
    assert_eq!(LLAMA.tensors(&config, 0), all);
    let last = LLAMA.index(&config, Layer(3, 0));
    assert_eq!((LLAMA.n_tensors(&config), last), (9, 8));
    assert_eq!((LLAMA.additions(0), LLAMA.additions(3)), (0, 1));
    config.variant.output_bias = true;
    assert_eq!(LLAMA.tensors(&config, 0)[5], Bias(1, 0));
}
