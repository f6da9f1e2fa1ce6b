//! Numbers of stages that differ from layer to layer.

mod pattern;

use crate::model::Config;
use crate::model::blueprint::LLAMA;
use crate::ops::quantize::MAX_STAGES;

/// A kind of layers: those of a name in all blocks, or the head.
#[derive(Clone, Copy)]
struct Kind {
    /// What the text calls it.
    word: &'static str,
    /// Its name in a block, or the head's.
    name: &'static str,
    /// The stack that it is in.
    stack: usize,
}

impl Kind {
    /// How the names of its layers end.
    fn ending(self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or(self.name)
    }

    /// The name of its layer in a block, as LLaMA has it: recipes call layers so in every family.
    fn in_block(self, block: usize) -> String {
        format!("{}{block}.{}", LLAMA.names.blocks, self.name)
    }
}

/// Stacks of a block. Numbers of stages are given without knowing the model: every family calls its layers as LLaMA does.
const IN_BLOCK: usize = LLAMA.stacks.len();

/// Those of a block and the head, which is the last.
const STACKS: usize = IN_BLOCK + 1;

/// What the text calls the head.
const HEAD: &str = "head";

/// What the text calls a stack: its layers run as one product and so have the same number of stages.
fn stack_name(stack: usize) -> &'static str {
    LLAMA.stacks.get(stack).map_or(HEAD, |stack| stack.name)
}

/// All kinds, stack by stack, the head last.
fn kinds() -> impl Iterator<Item = Kind> {
    let stacks = LLAMA.stacks.iter().enumerate();
    let kinds = stacks.flat_map(|(stack, of)| {
        of.layers.iter().map(move |layer| Kind {
            word: layer.kind,
            name: layer.name,
            stack,
        })
    });
    kinds.chain([Kind {
        word: HEAD,
        name: Config::HEAD,
        stack: IN_BLOCK,
    }])
}

/// Residual stages that differ by the kind of a layer, by its block, or by both.
///
/// As text it is a list of numbers; later ones win over earlier ones:
///
/// | part | stages of |
/// |---|---|
/// | `2` | all layers; only as the first part, 2 without it |
/// | `down=3` | a kind: `q`, `k`, `v`, `o`, `gate`, `up`, `down`, `head`, also `qkv` and `gateup` |
/// | `0-1+7=3` | whole blocks, counted from 0: 0, 1 and 7; `last` is the last one |
/// | `down@0-3=3` | a kind in some blocks |
///
/// `q`, `k` and `v` of a block run as one product and have the same number; so do `gate` and `up`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mixed {
    /// Of what is not named.
    base: u8,
    /// Of each stack in blocks that are not named, and of the head.
    stacks: [u8; STACKS],
    /// Of each stack in each block: two bits, and 0 means one stage. A recipe is copied freely, so this is a table of a
    /// fixed size.
    blocks: [u8; Mixed::BLOCKS],
}

impl From<u8> for Mixed {
    /// The same for all layers.
    fn from(base: u8) -> Self {
        let mut mixed = Self {
            base,
            stacks: [base; STACKS],
            blocks: [0; Self::BLOCKS],
        };
        (0..IN_BLOCK).for_each(|stack| mixed.set_stack(stack, base));
        mixed
    }
}

impl Mixed {
    /// How many blocks can have their own numbers: the first ones of a model.
    pub const BLOCKS: usize = 128;

    /// Stages of layers that are not named.
    pub fn base(self) -> usize {
        self.base.into()
    }

    /// Whether all layers have the same number, [`Mixed::base`].
    pub fn is_uniform(self) -> bool {
        self == Self::from(self.base)
    }

    /// Stages of the layer that has most of them.
    pub fn most(self) -> usize {
        let single = self
            .exceptional()
            .map(|(block, stack)| self.at(block, stack));
        let all = self.stacks.into_iter().chain(single).chain([self.base]);
        all.max().unwrap_or(self.base).into()
    }

    /// With no more than `stages` stages in any layer.
    #[must_use]
    pub fn at_most(self, stages: u8) -> Self {
        let mut fewer = Self::from(self.base.min(stages));
        for (stack, own) in self.stacks.into_iter().enumerate() {
            fewer.set_stack(stack, own.min(stages));
        }
        for (block, stack) in self.exceptional() {
            fewer.set(block, stack, self.at(block, stack).min(stages));
        }
        fewer
    }

    /// Stages of the layer `prefix`.
    pub fn of(self, prefix: &str) -> usize {
        let Some(Kind { stack, .. }) = kinds().find(|k| prefix.ends_with(k.ending())) else {
            return self.base.into();
        };
        let stages = match block_of(prefix) {
            Some(block) if block < Self::BLOCKS && stack < IN_BLOCK => self.at(block, stack),
            _ => self.stacks[stack],
        };
        stages.into()
    }

    /// Names of layers, and their stages where those are not [`Mixed::base`]: endings of names first, which stand for
    /// a kind of layers, then whole names, which win over their endings.
    pub fn exceptions(self) -> Vec<(String, usize)> {
        let mut all = Vec::new();
        for kind in kinds() {
            let stages = self.stacks[kind.stack];
            if stages != self.base {
                all.push((kind.ending().to_owned(), stages.into()));
            }
        }
        for (block, stack) in self.exceptional() {
            let stages = self.at(block, stack).into();
            let kinds = kinds().filter(|kind| kind.stack == stack);
            all.extend(kinds.map(|kind| (kind.in_block(block), stages)));
        }
        all
    }

    /// With `stages` for what `name` says, as in the text: `down`, `0-1`, `down@0-3`.
    ///
    /// # Errors
    /// What is wrong with the name or the number, in words.
    pub fn with(self, name: &str, stages: usize) -> Result<Self, String> {
        let mut draft = pattern::Draft::from(self);
        draft.part(name, pattern::count(stages)?, None)?;
        draft.finish()
    }

    /// With the stages of [`Mixed::exceptions`], in any order.
    ///
    /// # Errors
    /// A name of no layer, a number that is not from 1 to 4, or layers of one product that differ, in words.
    pub fn with_exceptions<'a>(
        self,
        all: impl Iterator<Item = (&'a str, usize)> + Clone,
    ) -> Result<Self, String> {
        let mut draft = pattern::Draft::from(self);
        let whole = |name: &str| block_of(name).is_some();
        for (name, stages) in all.clone().filter(|(name, _)| !whole(name)) {
            draft.ending(name, pattern::count(stages)?)?;
        }
        for (name, stages) in all.filter(|(name, _)| whole(name)) {
            draft.layer(name, pattern::count(stages)?)?;
        }
        draft.finish()
    }

    /// The first block with a number of its own that a model of `blocks` blocks does not have.
    pub fn beyond(self, blocks: usize) -> Option<usize> {
        let mut named = self.exceptional().map(|(block, _)| block);
        named.find(|&block| block >= blocks)
    }

    /// The least numbers that name the stages of a model of `blocks` blocks: kinds have the number that most of their
    /// blocks have.
    #[must_use]
    pub fn simplified(self, blocks: usize) -> Self {
        let mut simple = Self::from(self.base);
        simple.stacks[IN_BLOCK] = self.stacks[IN_BLOCK];
        let blocks = blocks.min(Self::BLOCKS);
        for stack in 0..IN_BLOCK {
            let count = |t: u8| (0..blocks).filter(|&b| self.at(b, stack) == t).count();
            // Among equal counts the base wins, and then the smaller number.
            let order = |&t: &u8| (count(t), t == self.base, MAX_STAGES as u8 - t);
            let most = (1..=MAX_STAGES as u8).max_by_key(order);
            simple.set_stack(stack, most.unwrap_or(self.base));
            (0..blocks).for_each(|b| simple.set(b, stack, self.at(b, stack)));
        }
        simple
    }

    /// Blocks and stacks that are not as others of their kind.
    fn exceptional(&self) -> impl Iterator<Item = (usize, usize)> {
        let all = (0..Self::BLOCKS).flat_map(|b| (0..IN_BLOCK).map(move |s| (b, s)));
        all.filter(|&(b, s)| self.at(b, s) != self.stacks[s])
    }

    fn at(&self, block: usize, stack: usize) -> u8 {
        1 + (self.blocks[block] >> (2 * stack) & 3)
    }

    fn set(&mut self, block: usize, stack: usize, stages: u8) {
        let word = &mut self.blocks[block];
        *word = *word & !(3 << (2 * stack)) | ((stages - 1) & 3) << (2 * stack);
    }

    /// A number for a stack in all blocks.
    fn set_stack(&mut self, stack: usize, stages: u8) {
        self.stacks[stack] = stages;
        if stack < IN_BLOCK {
            (0..Self::BLOCKS).for_each(|block| self.set(block, stack, stages));
        }
    }
}

/// The block that a layer is in: the number in its name.
fn block_of(prefix: &str) -> Option<usize> {
    let mut parts = prefix.split('.');
    parts.find_map(|part| part.parse().ok())
}
