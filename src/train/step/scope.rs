//! What of a model a trainer holds: all of it, one block, the head, or the scales and norms of codes that stay.

use super::Trainer;
use super::options::{SIZE, TrainOptions};
use super::parameters::{EMBED, Held, Kind, Parameter, final_norm, of_block, parameters, place};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::model::Config;

/// What of a model is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All of it.
    Whole,
    /// One block by itself, from residual streams to residual streams ([`crate::train::step::Trainer::step_towards`]). The head is no
    /// part of it: the recipe says that it is skipped.
    Block(usize),
    /// The final norm and a quantized head, from residual streams to losses.
    Head,
    /// Scales and norms of the whole model. Codes are those that the trainer is told to hold
    /// ([`crate::train::step::Trainer::hold`]), all other weights are as they are loaded.
    Scales,
}

/// What a trainer has of a parameter on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holding {
    /// Value, gradient and moments.
    Trained,
    /// The value.
    Used,
    /// Nothing.
    Absent,
}

impl Scope {
    /// The part as a model by itself: of a block one of one block, with as few tokens as products allow and no head of its
    /// own, for neither end is looked at; of the head one without blocks.
    fn config(self, config: &Config) -> Config {
        let whole = config.clone();
        match self {
            Self::Whole | Self::Scales => whole,
            Self::Block(_) => Config {
                layers: 1,
                vocab: SIZE,
                tied: true,
                ..whole
            },
            Self::Head => Config { layers: 0, ..whole },
        }
    }

    /// Refuses options that do not go with it.
    pub(super) fn check(self, options: &TrainOptions, config: &Config) -> Result<()> {
        let skip = options.recipe.skip_head;
        let wrong = match self {
            Self::Whole => None,
            Self::Block(l) if l >= config.layers => {
                Some(format!("block {l} of a model with {}", config.layers))
            }
            Self::Block(_) => (!skip).then(|| "a block with a head".to_owned()),
            Self::Head => skip.then(|| "a head that is not quantized".to_owned()),
            Self::Scales => {
                let learned = options.learned_scales;
                (!learned).then(|| "scales that are not learned".to_owned())
            }
        };
        match wrong {
            Some(what) => Err(Error::usage(
                format!("training of {what}"),
                "train another part of the model",
            )),
            None => Ok(()),
        }
    }
}

impl TrainOptions {
    /// The same for a part of the model.
    pub fn within(mut self, scope: Scope) -> Self {
        self.recipe.skip_head |= matches!(scope, Scope::Block(_));
        Self { scope, ..self }
    }

    /// The part that is trained as a model by itself, its head as [`TrainOptions::untied`] has it.
    pub(super) fn part(&self, config: &Config) -> Config {
        self.scope.config(&self.untied(config))
    }

    /// Parameters of [`TrainOptions::part`], with the names that they have in the whole model.
    pub(super) fn parameters(&self, part: &Config) -> Vec<Parameter> {
        let mut all = parameters(part);
        if let Scope::Block(l) = self.scope {
            let (first, last) = (of_block(0, 0), of_block(0, place::DOWN));
            for parameter in &mut all[first..=last] {
                let here = format!("model.layers.{l}.");
                parameter.name = parameter.name.replacen("model.layers.0.", &here, 1);
            }
        }
        all
    }

    /// What is on the device of parameter `index` of [`TrainOptions::part`].
    pub(super) fn holding(&self, part: &Config, index: usize, parameter: &Parameter) -> Holding {
        let dense_head = self.recipe.skip_head && index > final_norm(part);
        match (self.scope, parameter.kind) {
            (Scope::Whole, _) | (_, Kind::Scales) => Holding::Trained,
            (Scope::Block(_), _) if index == EMBED || index >= final_norm(part) => Holding::Absent,
            (Scope::Head, Kind::Embedding) => Holding::Absent,
            (Scope::Block(_) | Scope::Head, _) | (Scope::Scales, Kind::Norm) => Holding::Trained,
            (Scope::Scales, Kind::Linear) if !dense_head => Holding::Absent,
            (Scope::Scales, _) => Holding::Used,
        }
    }
}

impl<B: Backend> Trainer<B> {
    /// The parameters that are trained.
    pub(super) fn trained(&self) -> impl Iterator<Item = (&Parameter, &Held<B>)> {
        let all = self.list.iter().zip(&self.held);
        all.filter(|(_, held)| held.formats.moments.is_some())
    }
}
