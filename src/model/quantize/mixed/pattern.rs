//! Numbers of stages as text, read and written.

use super::{IN_BLOCK, Kind, MAX_STAGES, Mixed, STACKS, block_of, kinds, stack_name};
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// Numbers of stages on their way: layers of one product may still differ.
pub(super) struct Draft {
    base: u8,
    /// Of each kind in blocks that are not named; the head is the last.
    kinds: Vec<u8>,
    /// Of each kind but the head in each block.
    blocks: Vec<Vec<u8>>,
}

impl From<Mixed> for Draft {
    fn from(mixed: Mixed) -> Self {
        let of = |block| {
            let kinds = kinds().filter(|kind| kind.stack < IN_BLOCK);
            kinds.map(|kind| mixed.at(block, kind.stack)).collect()
        };
        Self {
            base: mixed.base,
            kinds: kinds().map(|kind| mixed.stacks[kind.stack]).collect(),
            blocks: (0..Mixed::BLOCKS).map(of).collect(),
        }
    }
}

impl Draft {
    /// A part of the text: what is in front of `=`, and the number behind it. `blocks` is how many the model has, where
    /// that is known.
    pub(super) fn part(
        &mut self,
        name: &str,
        stages: u8,
        blocks: Option<usize>,
    ) -> Result<(), String> {
        let (kind, list) = match name.split_once('@') {
            Some((kind, list)) => (Some(kind), Some(list)),
            None if is_list(name) => (None, Some(name)),
            None => (Some(name), None),
        };
        let head = self.head();
        let kinds = kind.map_or_else(|| Ok((0..head).collect()), named)?;
        let Some(list) = list else {
            kinds.into_iter().for_each(|kind| self.kind(kind, stages));
            return Ok(());
        };
        if kinds.contains(&head) {
            return Err(format!("`{name}`: the head is in no block"));
        }
        for range in list.split('+') {
            for block in range_of(range, blocks)? {
                kinds.iter().for_each(|&k| self.blocks[block][k] = stages);
            }
        }
        Ok(())
    }

    /// A kind of layers by the ending of their names.
    pub(super) fn ending(&mut self, name: &str, stages: u8) -> Result<(), String> {
        let kind = kinds().position(|kind| kind.ending() == name);
        let kind = kind.ok_or_else(|| format!("`{name}` is no kind of layer"))?;
        self.kind(kind, stages);
        Ok(())
    }

    /// A layer by its whole name.
    pub(super) fn layer(&mut self, name: &str, stages: u8) -> Result<(), String> {
        let index = block_of(name).and_then(|block| {
            let kind = kinds().position(|kind| kind.in_block(block) == name)?;
            (block < Mixed::BLOCKS && kind < self.head()).then_some((block, kind))
        });
        let (block, kind) = index.ok_or_else(|| format!("`{name}` is no layer"))?;
        self.blocks[block][kind] = stages;
        Ok(())
    }

    /// Index of the head among the kinds.
    fn head(&self) -> usize {
        self.kinds.len() - 1
    }

    fn kind(&mut self, kind: usize, stages: u8) {
        self.kinds[kind] = stages;
        if kind < self.head() {
            self.blocks.iter_mut().for_each(|b| b[kind] = stages);
        }
    }

    /// The numbers, if layers of one product have the same.
    pub(super) fn finish(self) -> Result<Mixed, String> {
        let mut mixed = Mixed::from(self.base);
        for stack in 0..STACKS {
            let of_stack = || kinds().enumerate().filter(move |(_, k)| k.stack == stack);
            let one = |of: &[u8], of_block: &str| {
                let mut numbers = of_stack().map(|(i, _)| of[i]);
                let first = numbers.next().unwrap_or(self.base);
                if numbers.all(|number| number == first) {
                    return Ok(first);
                }
                let words: Vec<_> = of_stack().map(|(_, kind)| kind.word).collect();
                let words = words.join(", ");
                Err(format!(
                    "{words}{of_block} run as one product: give them the same stages"
                ))
            };
            mixed.set_stack(stack, one(&self.kinds, "")?);
            let blocks = self.blocks.iter().enumerate();
            for (block, of) in blocks.take_while(|_| stack < IN_BLOCK) {
                mixed.set(block, stack, one(of, &format!(" of block {block}"))?);
            }
        }
        Ok(mixed)
    }
}

impl Mixed {
    /// From text, as [`Mixed`] describes it, for a model of `blocks` blocks.
    ///
    /// # Errors
    /// What is wrong with the text, in words; also a block that the model does not have, and `last` without knowing the
    /// model.
    pub fn parse(text: &str, blocks: Option<usize>) -> Result<Self, String> {
        let number = |text: &str| {
            let stages = text.parse().ok().and_then(|n| count(n).ok());
            stages.ok_or_else(|| format!("`{text}` is not a number of stages from 1 to 4"))
        };
        let mut draft = Draft::from(Self::from(2));
        for (i, part) in text.split(',').enumerate() {
            match part.split_once('=') {
                None if i == 0 => draft = Draft::from(Self::from(number(part)?)),
                None => return Err("give the stages of all layers first".to_owned()),
                Some((name, stages)) => draft.part(name, number(stages)?, blocks)?,
            }
        }
        draft.finish()
    }
}

/// From text, as [`Mixed`] describes it, for no model in particular.
impl FromStr for Mixed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text, None)
    }
}

/// The text that is read as these numbers: `2`, `2,down=3,head=3`, `2,qkv@0+7-9=3`.
impl fmt::Display for Mixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.base)?;
        for (stack, &stages) in self.stacks.iter().enumerate() {
            if stages != self.base {
                write!(f, ",{}={stages}", stack_name(stack))?;
            }
        }
        let stages = || 1..=MAX_STAGES as u8;
        let is = |b: usize, s: usize, t: u8| self.at(b, s) == t && self.stacks[s] != t;
        let whole = |b: usize| stages().find(|&t| (0..IN_BLOCK).all(|s| is(b, s, t)));
        for t in stages() {
            let list = list(|b| whole(b) == Some(t));
            if !list.is_empty() {
                write!(f, ",{list}={t}")?;
            }
        }
        for stack in 0..IN_BLOCK {
            for t in stages() {
                let list = list(|b| is(b, stack, t) && whole(b).is_none());
                if !list.is_empty() {
                    write!(f, ",{}@{list}={t}", stack_name(stack))?;
                }
            }
        }
        Ok(())
    }
}

/// A number of stages.
pub(super) fn count(stages: usize) -> Result<u8, String> {
    match u8::try_from(stages) {
        Ok(count) if (1..=MAX_STAGES).contains(&stages) => Ok(count),
        _ => Err(format!("{stages} is not a number of stages from 1 to 4")),
    }
}

/// Whether a name is one of blocks.
fn is_list(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_digit()) || name.starts_with("last")
}

/// Indices of the kinds that have this name, or that of their stack.
fn named(name: &str) -> Result<Vec<usize>, String> {
    let such = |is: &dyn Fn(Kind) -> bool| -> Vec<usize> {
        let all = kinds().enumerate().filter(|&(_, kind)| is(kind));
        all.map(|(i, _)| i).collect()
    };
    let by_stack = such(&|kind| stack_name(kind.stack) == name);
    if !by_stack.is_empty() {
        return Ok(by_stack);
    }
    let by_kind = such(&|kind| kind.word == name || kind.ending() == name);
    if !by_kind.is_empty() {
        return Ok(by_kind);
    }
    let words: Vec<_> = kinds().map(|kind| kind.word).collect();
    let words = words.join(", ");
    Err(format!(
        "`{name}` is no kind of layer ({words}, qkv, gateup) and no list of blocks (0-3+7, last)"
    ))
}

/// The blocks of `7`, `0-3`, `last` or `9-last`.
fn range_of(text: &str, blocks: Option<usize>) -> Result<RangeInclusive<usize>, String> {
    let block = |word: &str| {
        let block = match (word, blocks) {
            ("last", None) => return Err("which block is the last depends on the model".to_owned()),
            ("last", Some(blocks)) => blocks.checked_sub(1),
            (digits, _) => digits.parse().ok(),
        };
        let block = block.ok_or_else(|| format!("`{word}` is no block"))?;
        match blocks {
            Some(blocks) if block >= blocks => Err(format!(
                "there is no block {block}: the model has {blocks}, counted from 0"
            )),
            _ if block >= Mixed::BLOCKS => Err(format!(
                "only the first {} blocks have stages of their own, and {block} is not one of them",
                Mixed::BLOCKS
            )),
            _ => Ok(block),
        }
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (block(first)?, block(last)?);
    match first <= last {
        true => Ok(first..=last),
        false => Err(format!("`{text}` has no blocks")),
    }
}

/// Blocks as text: `0-3+7`.
fn list(has: impl Fn(usize) -> bool) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for block in (0..Mixed::BLOCKS).filter(|&b| has(b)) {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == block => *last = block,
            _ => runs.push((block, block)),
        }
    }
    let text = |&(first, last): &(usize, usize)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    runs.iter().map(text).collect::<Vec<_>>().join("+")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOWN: &str = "mlp.down_proj";

    fn of(mixed: Mixed, block: usize, layer: &str) -> usize {
        mixed.of(&format!("model.layers.{block}.{layer}"))
    }

    #[test]
    fn kinds_have_their_stages() {
        let mixed: Mixed = "down=3,head=4".parse().expect("stages");
        assert_eq!(of(mixed, 3, DOWN), 3);
        assert_eq!(of(mixed, 1000, DOWN), 3);
        assert_eq!(mixed.of("lm_head"), 4);
        assert_eq!(of(mixed, 3, "self_attn.q_proj"), 2);
        assert_eq!(mixed.to_string(), "2,down=3,head=4");
        assert!(Mixed::from(3).is_uniform() && !mixed.is_uniform());
        assert_eq!((mixed.most(), Mixed::from(3).most()), (4, 3));
        assert_eq!(mixed.at_most(3).to_string(), "2,down=3,head=3");
        assert_eq!(mixed.at_most(1), Mixed::from(1));
        let single = Mixed::parse("1,down@2=4", Some(12)).expect("stages");
        assert_eq!((single.most(), single.at_most(2).most()), (4, 2));
        assert_eq!("1".parse(), Ok(Mixed::from(1)));
        assert_eq!("3,down=3".parse(), Ok(Mixed::from(3)));
        assert_eq!(
            mixed,
            Mixed::from(2)
                .with("down", 3)
                .unwrap()
                .with("head", 4)
                .unwrap()
        );
        assert_eq!("q=3,k=3,v=3".parse::<Mixed>(), "qkv=3".parse());
    }

    #[test]
    fn blocks_have_their_stages_and_later_parts_win() {
        let mixed = Mixed::parse("2,0-1+last=3,down@2=4,o=1,gateup@1=1", Some(12)).expect("stages");
        let layers = ["self_attn.k_proj", "self_attn.o_proj", "mlp.up_proj", DOWN];
        let all = |block| layers.map(|layer| of(mixed, block, layer));
        assert_eq!(all(0), [3, 1, 3, 3]);
        assert_eq!(all(1), [3, 1, 1, 3]);
        assert_eq!(all(2), [2, 1, 2, 4]);
        assert_eq!(all(11), [3, 1, 3, 3]);
        assert_eq!((all(10), mixed.of("lm_head")), ([2, 1, 2, 2], 2));
        assert_eq!("down@3=3,down=4".parse(), "down=4".parse::<Mixed>());
        assert_eq!((mixed.beyond(12), mixed.beyond(11)), (None, Some(11)));
    }

    #[test]
    fn texts_and_names_are_read_as_they_are_written() {
        for text in [
            "2",
            "1,qkv=3,head=4",
            "2,0-1+7=3",
            "2,down=3,0-1+7=1,o@3=4,down@4-6+127=2",
            "3,gateup@0=1,gateup@1=2,down@0+2=4",
        ] {
            let mixed: Mixed = text.parse().expect("stages");
            assert_eq!(mixed.to_string(), text);
            let names = mixed.exceptions();
            let back = names.iter().rev().map(|(name, t)| (name.as_str(), *t));
            let base = Mixed::from(mixed.base() as u8);
            assert_eq!(base.with_exceptions(back), Ok(mixed), "{text}");
        }
    }

    #[test]
    fn simple_names_mean_the_same() {
        let mixed = Mixed::parse("2,down@0-9=3,0=4,o@3=1", Some(12)).expect("stages");
        let simple = mixed.simplified(12);
        assert_eq!(simple.to_string(), "2,down=3,0=4,o@3=1,down@10-11=2");
        for block in 0..12 {
            for kind in kinds().filter(|kind| kind.stack < IN_BLOCK) {
                let layer = kind.in_block(block);
                assert_eq!(simple.of(&layer), mixed.of(&layer));
            }
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            "0",
            "5",
            "",
            "down",
            "down=0",
            "knee=2",
            "down=3,2",
            "v=3",
            "gate=1",
            "2;3",
            "v@3=3",
            "128=3",
            "3-1=3",
            "last=3",
            "head@0=3",
            "down@=3",
            "down@x=3",
            "0-=3",
            "0+=3",
            "@0=3",
            "0-1-2=3",
            "lastly=3",
            "99999999999999999999999=3",
        ] {
            assert!(bad.parse::<Mixed>().is_err(), "{bad}");
        }
        for bad in ["12=3", "0-12=3", "down@12=3"] {
            let what = Mixed::parse(bad, Some(12)).expect_err(bad);
            assert!(what.contains("12"), "{what}");
        }
        for bad in [
            "knee_proj",
            "model.layers.3.mlp.q_proj",
            "model.layers.03.mlp.down_proj",
        ] {
            let one = [(bad, 3)];
            assert!(
                Mixed::from(2).with_exceptions(one.into_iter()).is_err(),
                "{bad}"
            );
        }
    }
}
