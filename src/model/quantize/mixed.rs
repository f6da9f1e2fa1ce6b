//! Numbers of stages that differ from layer to layer.

use crate::model::Config;
use crate::ops::quantizer::MAX_STAGES;
use std::fmt;
use std::str::FromStr;

/// Kinds of layers: how they are called on the command line, and how their names end.
const KINDS: [(&str, &str); 8] = [
    ("q", "q_proj"),
    ("k", "k_proj"),
    ("v", "v_proj"),
    ("o", "o_proj"),
    ("gate", "gate_proj"),
    ("up", "up_proj"),
    ("down", "down_proj"),
    ("head", Config::HEAD),
];

/// Kinds that run as one product, and so have the same number of stages.
const TOGETHER: [&[usize]; 2] = [&[0, 1, 2], &[4, 5]];

/// Residual stages by the kind of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mixed {
    /// Of kinds that are not named.
    base: u8,
    /// Of each kind; 0: as all others, and never the same number.
    kinds: [u8; KINDS.len()],
}

impl From<u8> for Mixed {
    /// The same for all layers.
    fn from(base: u8) -> Self {
        Self {
            base,
            kinds: [0; KINDS.len()],
        }
    }
}

impl Mixed {
    /// Stages of kinds that are not named.
    pub fn base(self) -> usize {
        self.base.into()
    }

    /// Whether all layers have the same number.
    pub fn is_uniform(self) -> bool {
        self.kinds.iter().all(|&k| k == 0)
    }

    /// Stages of the layer `prefix`.
    pub fn of(self, prefix: &str) -> usize {
        let kind = KINDS
            .iter()
            .position(|(_, ending)| prefix.ends_with(ending));
        match kind.map(|kind| self.kinds[kind]) {
            None | Some(0) => self.base.into(),
            Some(stages) => stages.into(),
        }
    }

    /// Endings of names of layers, and their stages where those are not [`Mixed::base`].
    pub fn exceptions(self) -> impl Iterator<Item = (&'static str, usize)> {
        let all = KINDS.iter().zip(self.kinds);
        all.filter(|&(_, stages)| stages != 0)
            .map(|(&(_, ending), stages)| (ending, stages.into()))
    }

    /// With `stages` for the kind that is called `name`, or whose layers' names end so. `None` for what is no kind or no
    /// number of stages.
    pub fn with(mut self, name: &str, stages: usize) -> Option<Self> {
        let kind = KINDS.iter().position(|k| k.0 == name || k.1 == name)?;
        let count = stage_count(stages)?;
        self.kinds[kind] = if count == self.base { 0 } else { count };
        Some(self)
    }

    /// Whether kinds that run as one product have the same number of stages; otherwise the names of the first that have
    /// not.
    pub fn check(self) -> Result<(), String> {
        for kinds in TOGETHER {
            let first = self.of(KINDS[kinds[0]].1);
            if kinds.iter().any(|&k| self.of(KINDS[k].1) != first) {
                let names: Vec<_> = kinds.iter().map(|&k| KINDS[k].0).collect();
                let names = names.join(", ");
                return Err(format!(
                    "{names} run as one product: give them the same stages"
                ));
            }
        }
        Ok(())
    }
}

fn stage_count(stages: usize) -> Option<u8> {
    let count = u8::try_from(stages).ok()?;
    (1..=MAX_STAGES).contains(&stages).then_some(count)
}

/// `2`, or `2, down 3, head 3`.
impl fmt::Display for Mixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.base)?;
        for ((name, _), stages) in KINDS.iter().zip(self.kinds) {
            if stages != 0 {
                write!(f, ", {name} {stages}")?;
            }
        }
        Ok(())
    }
}

/// From `2`, `down=3,head=3` (all others 2) or `1,head=2`.
impl FromStr for Mixed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| {
            let count = text.parse().ok().and_then(stage_count);
            count.ok_or_else(|| format!("`{text}` is not a number of stages from 1 to 4"))
        };
        let mut mixed = Self::from(2);
        for (i, part) in text.split(',').enumerate() {
            match part.split_once('=') {
                None if i == 0 => mixed.base = number(part)?,
                None => return Err("give the stages of all layers first".to_owned()),
                Some((name, stages)) => {
                    let names: Vec<_> = KINDS.iter().map(|k| k.0).collect();
                    let known = || format!("`{name}` is no kind of layer: {}", names.join(", "));
                    let stages = number(stages)?.into();
                    mixed = mixed.with(name, stages).ok_or_else(known)?;
                }
            }
        }
        mixed.check()?;
        Ok(mixed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_their_stages() {
        let mixed: Mixed = "down=3,head=4".parse().expect("stages");
        assert_eq!(mixed.of("model.layers.3.mlp.down_proj"), 3);
        assert_eq!(mixed.of("lm_head"), 4);
        assert_eq!(mixed.of("model.layers.3.self_attn.q_proj"), 2);
        assert_eq!(mixed.to_string(), "2, down 3, head 4");
        let again = mixed
            .exceptions()
            .try_fold(Mixed::from(2), |m, (name, t)| m.with(name, t));
        assert_eq!(again, Some(mixed));
        assert!(Mixed::from(3).is_uniform() && !mixed.is_uniform());
        assert_eq!("1".parse(), Ok(Mixed::from(1)));
        assert_eq!("3,down=3".parse(), Ok(Mixed::from(3)));
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            "0", "5", "", "down", "down=0", "knee=2", "down=3,2", "v=3", "gate=1", "2;3",
        ] {
            assert!(bad.parse::<Mixed>().is_err(), "{bad}");
        }
        assert!("q=3,k=3,v=3".parse::<Mixed>().is_ok());
    }
}
