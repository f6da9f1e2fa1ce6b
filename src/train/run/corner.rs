//! Decays of the schedule `wsd` as they are written in settings.

use crate::error::{Error, Result};
use crate::train::step::schedule::Decay;

/// `FROM:STEPS:FACTOR`.
pub(super) fn corner(text: &str) -> Result<Decay> {
    let mut parts = text.split(':');
    let mut next = || parts.next().unwrap_or_default();
    let (from, steps, to) = (next().parse(), next().parse(), next().parse());
    match (from, steps, to) {
        (Ok(from), Ok(steps), Ok(to)) => Ok(Decay { from, steps, to }),
        _ => Err(Error::usage(
            format!("`{text}` is no decay"),
            "write FROM:STEPS:FACTOR, like 8000:2000:0.1667",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corners_are_three_numbers() {
        let decay = corner("8000:2000:0.1667").expect("a decay");
        assert_eq!((decay.from, decay.steps, decay.to), (8000, 2000, 0.1667));
        assert!(corner("8000:2000").is_err());
    }
}
