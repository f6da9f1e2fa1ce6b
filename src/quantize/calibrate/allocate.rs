//! Stages for a number of bits: more of them where they are worth most.

use super::sensitivity::Sensitivity;
use crate::error::{Error, Result};
use crate::model::config::LinearShape;
use crate::model::{Config, Form, Method, Mixed, Packed, Recipe};

/// Most stages of a layer.
const MOST: usize = 4;

/// Mean bits of the weights that `recipe` quantizes, scales and padding included.
pub fn bits_per_weight(config: &Config, recipe: &Recipe) -> f64 {
    let layers = recipe.layers(config);
    let words = |l: &LinearShape| words(l, recipe.method.of(&l.prefix), recipe);
    let words: usize = layers.iter().map(words).sum();
    32.0 * words as f64 / weights(&layers) as f64
}

/// The most stages that all layers can have within `bits` for each weight: an allocation begins with those.
///
/// # Errors
/// [`Error::Usage`] where not even one stage fits.
pub fn fewest(config: &Config, recipe: &Recipe, bits: f64) -> Result<usize> {
    let all = |stages| bits_per_weight(config, &uniform(recipe, stages));
    let fits = (1..=MOST).rev().find(|&stages| all(stages) <= bits);
    fits.ok_or_else(|| {
        Error::usage(
            format!(
                "{bits} bits per weight: one stage everywhere takes {:.3} with its scales",
                all(1)
            ),
            "allow more bits, or let more weights share their scales",
        )
    })
}

/// `recipe` with stages that keep the mean below `bits` for each weight: `fewest` everywhere, and then one more, again
/// and again, for the stack whose divergence falls most for each bit that it costs.
///
/// The divergence is taken to follow the squared error of the stack's outputs, and the error to fall by the same factor
/// with each stage.
pub fn allocate(
    config: &Config,
    recipe: &Recipe,
    bits: f64,
    (fewest, stacks): (usize, &[Sensitivity]),
) -> Result<Mixed> {
    let layers = recipe.layers(config);
    let budget = (bits * weights(&layers) as f64 / 32.0).floor() as usize;
    let cost = |stack: usize, stages: usize| -> usize {
        let each = stacks[stack].layers.iter();
        each.map(|l| words(l, Method::Phase { stages }, recipe))
            .sum()
    };
    let mut stages = vec![fewest; stacks.len()];
    let mut spent: usize = (0..stacks.len()).map(|i| cost(i, fewest)).sum();
    loop {
        let step = |i: usize| cost(i, stages[i] + 1) - cost(i, stages[i]);
        let gain = |i: usize| stacks[i].gain(stages[i] - fewest) / step(i) as f64;
        let possible = (0..stacks.len()).filter(|&i| stages[i] < MOST && spent + step(i) <= budget);
        // Among equal gains the first stack wins.
        let best = possible.rev().max_by(|&a, &b| gain(a).total_cmp(&gain(b)));
        let Some(best) = best else {
            break;
        };
        spent += step(best);
        stages[best] += 1;
    }
    let mut mixed = Mixed::from(fewest as u8);
    for (stack, stages) in stacks.iter().zip(stages) {
        mixed = stacked(mixed, &stack.layers, stages)?;
    }
    Ok(mixed.simplified(config.layers))
}

impl Sensitivity {
    /// How much the divergence falls with one more stage than the fewest and `more`.
    fn gain(&self, more: usize) -> f64 {
        let [fewest, next] = self.errors;
        if fewest <= 0.0 {
            return 0.0;
        }
        let factor = (next / fewest).clamp(0.0, 1.0);
        self.divergence.max(0.0) * factor.powi(more as i32) * (1.0 - factor)
    }
}

/// `mixed` with `stages` stages of these layers.
fn stacked(mixed: Mixed, layers: &[LinearShape], stages: usize) -> Result<Mixed> {
    if mixed.of(&layers[0].prefix) == stages {
        return Ok(mixed);
    }
    let names = layers.iter().map(|l| (l.prefix.as_str(), stages));
    mixed.with_exceptions(names).map_err(|what| {
        Error::usage(
            format!("stages of single layers: {what}"),
            "give stages by kind instead",
        )
    })
}

fn uniform(recipe: &Recipe, stages: usize) -> Recipe {
    Recipe {
        method: Method::Phase { stages },
        ..*recipe
    }
}

fn weights(layers: &[LinearShape]) -> usize {
    layers.iter().map(|l| l.out_features * l.in_features).sum()
}

/// Words of a layer's codes and scales.
fn words(layer: &LinearShape, method: Method, recipe: &Recipe) -> usize {
    let size = (layer.out_features, layer.in_features);
    let (codes, scales) = Packed::shapes(
        method,
        Form::WidelyLinear,
        recipe.granularity,
        size.0,
        size.1,
    );
    codes.iter().product::<usize>() + scales.iter().product::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Granularity, Rope, RopeScaling};

    /// Two blocks and a head.
    fn config() -> Config {
        Config {
            architecture: "LlamaForCausalLM".to_owned(),
            vocab: 1024,
            hidden: 256,
            intermediate: 512,
            layers: 2,
            heads: 4,
            kv_heads: 4,
            head_dim: 64,
            context: 128,
            rope: Rope {
                theta: 10_000.0,
                scaling: RopeScaling::None,
            },
            norm_eps: 1e-5,
            tied: false,
            bos: None,
            eos: Vec::new(),
            variant: Default::default(),
        }
    }

    const TENSORS: Recipe = Recipe {
        method: Method::Phase { stages: 2 },
        granularity: Granularity::Tensor,
        skip_head: false,
        rotated: false,
    };

    fn stacks(config: &Config, divergence: impl Fn(usize) -> f64) -> Vec<Sensitivity> {
        let blocks = (0..config.layers).flat_map(|l| config.stacks(l));
        let stacks = blocks.chain([vec![config.head()]]);
        let one = |(i, layers)| Sensitivity {
            layers,
            divergence: divergence(i),
            errors: [4.0, 1.0],
        };
        stacks.enumerate().map(one).collect()
    }

    #[test]
    fn stages_go_where_they_are_worth_most_and_stay_within_the_bits() {
        let config = config();
        // The layer down of the first block suffers by far the most, and the head is next.
        let stacks = stacks(&config, |i| {
            [1.0, 1.0, 1.0, 90.0, 1.0, 1.0, 1.0, 1.0, 30.0][i]
        });
        // The layer down is a twelfth of the weights, the head a sixth, the smallest stack a twenty-fourth.
        for (bits, stages) in [
            (2.01, Some("2")),
            (2.1, Some("2,down@0=3")),
            (2.17, Some("2,down@0=4")),
            (2.34, Some("2,head=3,down@0=4")),
            (1.5, None),
            (2.6, None),
            (3.7, None),
            (9.0, Some("4")),
        ] {
            let fewest = fewest(&config, &TENSORS, bits).expect("room");
            let mixed = allocate(&config, &TENSORS, bits, (fewest, &stacks)).expect("stages");
            let recipe = Recipe {
                method: Method::phase(mixed),
                ..TENSORS
            };
            let spent = bits_per_weight(&config, &recipe);
            assert!(spent <= bits, "{mixed}: {spent} of {bits}");
            assert!(spent > bits.min(4.0) - 0.09, "{mixed}: {spent} of {bits}");
            assert_eq!(stages.unwrap_or(&mixed.to_string()), mixed.to_string());
        }
    }

    #[test]
    fn too_few_bits_are_refused() {
        let refused = fewest(&config(), &TENSORS, 1.0).expect_err("one stage takes more");
        assert!(refused.to_string().contains("one stage"), "{refused}");
        assert_eq!(refused.exit_code(), 2);
    }
}
