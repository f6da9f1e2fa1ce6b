//! What of a model a trainer holds: all of it, one block, the head, or the scales and norms of codes that stay.

use crate::error::{Error, Result};
use crate::model::{Config, Variant};

/// Layers and heads whose products are in half precision have sizes that are multiples of this.
pub(super) const SIZE: usize = 64;

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
    pub(super) fn config(self, config: &Config) -> Config {
        let whole = config.clone();
        match self {
            Self::Whole | Self::Scales => whole,
            Self::Block(l) => Config {
                layers: 1,
                vocab: SIZE,
                tied: true,
                variant: Variant {
                    layers: vec![config.attention(l)],
                    ..whole.variant.clone()
                },
                ..whole
            },
            Self::Head => Config { layers: 0, ..whole },
        }
    }

    /// Refuses options that do not go with it: whether the head is skipped (`skip`), and whether scales are `learned`.
    pub(super) fn check(self, config: &Config, skip: bool, learned: bool) -> Result<()> {
        let wrong = match self {
            Self::Whole => None,
            Self::Block(l) if l >= config.layers => {
                Some(format!("block {l} of a model with {}", config.layers))
            }
            Self::Block(_) => (!skip).then(|| "a block with a head".to_owned()),
            Self::Head => skip.then(|| "a head that is not quantized".to_owned()),
            Self::Scales => (!learned).then(|| "scales that are not learned".to_owned()),
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
