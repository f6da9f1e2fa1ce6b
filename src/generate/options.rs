//! What a caller may ask for, with defaults for everything.

use crate::error::{Error, Result};
use crate::model::{Recipe, Sampling};
use crate::ops::Kv;
use crate::ops::quantize::Activations;

/// How a model is put onto a device.
///
/// ```
/// use fairy2i_gpu::Options;
/// let options = Options { context: Some(512), ..Options::default() };
/// # let _ = options;
/// ```
#[derive(Debug, Clone)]
pub struct Options {
    /// How linear layers are represented. `None` takes them as they are stored; anything else quantizes a
    /// full-precision checkpoint while it is loaded, by rounding alone.
    pub recipe: Option<Recipe>,
    /// How many first stages of each layer are read, of a recipe that has more: fewer bits of the same files, as good as
    /// they were made to be by themselves. `None` reads all of them.
    pub stages: Option<usize>,
    /// How many first stages a second reading of the model has, which drafts what [`Generate::speculate`] asks for. It takes
    /// memory for those stages and for an embedding of its own.
    pub draft: Option<usize>,
    /// How activations enter quantized layers. Integers make their sums exact.
    pub activations: Activations,
    /// Most tokens of a prompt and its continuation together; `None` is what the model was trained for,
    /// or half of it, a quarter and so on where the device has no room for that. Caches are allocated for a sequence when it
    /// begins, no longer than it can become.
    pub context: Option<usize>,
    /// Most tokens of a prompt that are processed at once, and most sequences that decode at once. Scratch memory grows
    /// with it.
    pub batch: usize,
    /// How keys and values are cached; `None` is what suits the device.
    pub kv: Option<Kv>,
    /// Whether layers with a window cache the keys and values of all positions, not only of those that later tokens may see:
    /// more memory, and every beginning of a sequence can be taken up again.
    pub swa_full: bool,
    /// Integer sums for prompts too, where cooperative matrices would be faster: the bits do not depend on the
    /// device, nor on what is processed together.
    pub exact: bool,
    /// Go on when weights are NaN or infinite.
    pub allow_nonfinite: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            recipe: None,
            stages: None,
            draft: None,
            activations: Activations::Int16,
            context: None,
            batch: 256,
            kv: None,
            swa_full: false,
            exact: false,
            allow_nonfinite: false,
        }
    }
}

/// How a sequence goes on and when it ends.
#[derive(Debug, Clone, Default)]
pub struct Generate {
    /// Most new tokens. `None` is 128, or what the context leaves if that is less; a number that does not fit is an
    /// error.
    pub max_tokens: Option<usize>,
    /// The sequence ends before the first of these strings, however tokens cut it. None of them may be empty.
    pub stop: Vec<String>,
    /// How tokens are chosen. Equal seeds give equal sequences on the same device.
    pub sampling: Sampling,
    /// Numbers that are added to the logits of tokens, (id, number), before penalties and everything else; minus infinity
    /// forbids a token.
    pub logit_bias: Vec<(u32, f32)>,
    /// What the text is held to. Its tokens are chosen on the host, one after the other.
    #[cfg(feature = "grammar")]
    pub grammar: Option<super::Grammar>,
    /// How many tokens the reading that [`Options::draft`] names drafts at once, at most
    /// [`MAX_DRAFTED`](crate::model::MAX_DRAFTED), for the whole model to check together. The tokens are the same, in another
    /// time. With 0 none are drafted.
    pub speculate: usize,
    /// How many tokens are drafted at once from the text itself, at most [`MAX_DRAFTED`](crate::model::MAX_DRAFTED): what
    /// followed the last time that the same few tokens stood there. The tokens are the same, in another time. With 0 none are
    /// drafted.
    pub lookup: usize,
}

impl Generate {
    /// Whether stop strings and biases make sense with a vocabulary of this size.
    pub(super) fn check(&self, vocab: usize) -> Result<()> {
        if self.stop.iter().any(String::is_empty) {
            let hint = "give the string that ends the text";
            return Err(Error::usage("a stop string is empty", hint));
        }
        let beyond = |bias: &&(u32, f32)| bias.0 as usize >= vocab;
        match self.logit_bias.iter().find(beyond) {
            None => Ok(()),
            Some((id, _)) => Err(Error::usage(
                format!("a logit bias of token {id}, beyond the vocabulary of {vocab}"),
                "use ids of the model's tokenizer",
            )),
        }
    }

    /// The most likely token each time.
    pub fn greedy() -> Self {
        Self {
            sampling: Sampling {
                temperature: 0.0,
                ..Sampling::default()
            },
            ..Self::default()
        }
    }

    /// Whether the text is held to a grammar.
    pub(super) fn is_held(&self) -> bool {
        #[cfg(feature = "grammar")]
        {
            self.grammar.is_some()
        }
        #[cfg(not(feature = "grammar"))]
        {
            false
        }
    }
}

/// What a sequence begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// Text; the model's tokenizer adds the begin token if the model has one.
    Text(String),
    /// Token ids, taken as they are.
    Ids(Vec<u32>),
}

impl From<&str> for Prompt {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Prompt {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Vec<u32>> for Prompt {
    fn from(ids: Vec<u32>) -> Self {
        Self::Ids(ids)
    }
}
