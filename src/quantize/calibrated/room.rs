//! How a tuning fits the memory that there is: fewer sequences at once, and fewer bits of moments.

use super::tuning::Tuning;
use crate::backend::{Backend, Device};
use crate::error::Result;
use crate::model::{Config, Recipe};
use crate::train::step::{Memory, Moments, TrainOptions};

/// How the trainer is told, but for what depends on the device.
pub(super) fn told(recipe: Recipe, tuning: &Tuning, length: usize) -> TrainOptions {
    TrainOptions {
        distill: tuning.distill,
        learned_scales: true,
        nested: tuning.nested,
        masters: tuning.masters,
        ..TrainOptions::new(recipe, tuning.batch, length)
    }
}

/// Tokens of a micro-batch below which matrix units have too little to do: moments have fewer bits instead.
const LEAST_ROWS: usize = 4096;

/// How the trainer is told, with the most bits of moments that the device has room for beside a micro-batch that is worth
/// it, and with as many sequences at once as it has room for.
pub(super) fn options(
    device: &Device,
    config: &Config,
    recipe: Recipe,
    tuning: &Tuning,
    length: usize,
) -> Result<TrainOptions> {
    let told = told(recipe, tuning, length);
    if let Some(moments) = tuning.moments {
        return fitting(device, config, 1, TrainOptions { moments, ..told });
    }
    let mut last = None;
    for least in [LEAST_ROWS.min(told.n_tokens()), 1] {
        for moments in Moments::ALL {
            match fitting(device, config, least, TrainOptions { moments, ..told }) {
                Ok(options) => return Ok(options),
                Err(error) => last = Some(error),
            }
        }
    }
    last.map_or(Ok(told), Err)
}

/// The same options with as many sequences at once as the device has room for, and with at least `least` tokens.
pub(super) fn fitting(
    device: &Device,
    config: &Config,
    least: usize,
    options: TrainOptions,
) -> Result<TrainOptions> {
    let facts = device.facts();
    let fits = |options: &TrainOptions| {
        let memory = Memory::of(config, options, facts.features, facts.max_words);
        memory.check(device)
    };
    fewer_texts(options, least, fits)
}

/// The same options with half of the sequences, and half again, until they are `fitting`: with at least `least` tokens.
fn fewer_texts(
    mut options: TrainOptions,
    least: usize,
    fitting: impl Fn(&TrainOptions) -> Result<()>,
) -> Result<TrainOptions> {
    loop {
        let fits = fitting(&options);
        if fits.is_ok() || !options.n_seqs.is_multiple_of(2) || options.n_tokens() / 2 < least {
            return fits.map(|()| options);
        }
        options.n_seqs /= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn texts_are_halved_down_to_what_is_worth_it() {
        let options = TrainOptions::new(Recipe::FULL, 24, 512);
        let most = |texts: usize| {
            move |o: &TrainOptions| match o.n_seqs <= texts {
                true => Ok(()),
                false => Err(Error::device("no room", "none")),
            }
        };
        let texts = |room, least| fewer_texts(options, least, most(room)).map(|o| o.n_seqs);
        assert_eq!(texts(24, 1).expect("all"), 24);
        assert_eq!(texts(11, 1).expect("a quarter"), 6);
        assert!(texts(11, 4096).is_err(), "6 x 512 are too few");
        assert!(texts(2, 1).is_err(), "3 is odd");
    }
}
