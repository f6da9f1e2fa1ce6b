//! A model as a caller has it: first its files, then on a device.

use super::batch::Batch;
use super::generator::Generator;
use super::options::{Generate, Prompt};
use super::sequence::Sequence;
use crate::backend::Device;
use crate::error::{Error, Result};
#[cfg(feature = "templates")]
use crate::files::ChatTemplate;
use crate::files::tokenizer::TOKENIZER;
use crate::files::{self, ModelFolder, Source, Tokenizer};
use crate::model::{self, Config, Recipe};
use std::path::Path;

/// New tokens where a caller names no number and the context has room.
const DEFAULT_NEW: usize = 128;

/// The files of a model, opened and checked against each other, and not on a device yet.
pub struct ModelFiles {
    pub(super) opened: ModelFolder,
}

/// A model on a device, with its tokenizer.
///
/// ```
/// use fairy2i_gpu::{Device, Generate, Model, Options};
/// let device = Device::auto()?; // a GPU if there is one, else the CPU
/// let model = Model::builtin()?.load(&device, Options::default())?; // or Model::open("folder")
/// for piece in model.generate("Once upon a time", Generate { max_tokens: Some(4), ..Generate::greedy() })? {
///     print!("{}", piece?);
/// }
/// # Ok::<(), fairy2i_gpu::Error>(())
/// ```
pub struct Model {
    pub(super) inner: model::Model<Device>,
    /// The reading that drafts.
    pub(super) draft: Option<model::Model<Device>>,
    pub(super) tokenizer: Option<Tokenizer>,
    #[cfg(feature = "templates")]
    pub(super) chat_template: Option<ChatTemplate>,
    /// Where its tokenizer should be, for messages.
    pub(super) place: String,
    pub(super) recipe: Recipe,
}

impl Model {
    /// Opens the model in the folder `path`: a Hugging Face checkpoint, in full precision or packed by this crate.
    ///
    /// # Errors
    /// One line that names the file, field or tensors that are not as they must be.
    pub fn open(path: impl AsRef<Path>) -> Result<ModelFiles> {
        Ok(files::open(path)?.into())
    }

    /// [`Model::open`] for files that are in memory, or read piece by piece: their names and contents. `name` stands for the folder in
    /// messages.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn from_bytes<C: Into<files::Contents>>(
        name: &str,
        files: impl IntoIterator<Item = (String, C)>,
    ) -> Result<ModelFiles> {
        Ok(files::open_source(Source::memory(name, files))?.into())
    }

    /// The model of 12.6 million parameters that is part of this crate.
    ///
    /// # Errors
    /// None, unless the crate itself is damaged.
    pub fn builtin() -> Result<ModelFiles> {
        Ok(files::open_source(crate::builtin::source())?.into())
    }
}

impl From<ModelFolder> for ModelFiles {
    fn from(opened: ModelFolder) -> Self {
        Self { opened }
    }
}

impl ModelFiles {
    /// Shapes and constants.
    pub fn config(&self) -> &Config {
        &self.opened.config
    }

    /// How linear layers are packed; `None` for a full-precision checkpoint.
    pub fn recipe(&self) -> Option<Recipe> {
        self.opened.recipe
    }

    /// Refuses a packed model where the original weights are needed.
    ///
    /// # Errors
    /// [`Error::Usage`] when linear layers are packed.
    pub fn require_full_precision(&self) -> Result<()> {
        match &self.opened.recipe {
            Some(packed) => Err(Error::usage(
                format!("{} is packed already ({packed})", self.opened.source.name()),
                "start from the full-precision folder",
            )),
            None => Ok(()),
        }
    }

    /// The tokenizer, if the files have one.
    pub fn tokenizer(&self) -> Option<&Tokenizer> {
        self.opened.tokenizer.as_ref()
    }

    /// What was ignored in the files, one line each.
    pub fn notes(&self) -> &[String] {
        &self.opened.notes
    }

    /// The files as the rooms below have them.
    pub fn opened(&self) -> &ModelFolder {
        &self.opened
    }

    /// The ids of `prompt`; of an empty text the begin token, if the model has one.
    ///
    /// # Errors
    /// [`Error::Usage`] for an empty prompt of a model without a begin token, [`Error::File`] without a tokenizer.
    pub fn encode(&self, prompt: impl Into<Prompt>) -> Result<Vec<u32>> {
        let place = self.opened.source.place(TOKENIZER);
        let tokenizer = self.opened.tokenizer.as_ref();
        encode(tokenizer, &place, prompt.into())
    }
}

impl Model {
    /// Shapes and constants.
    pub fn config(&self) -> &Config {
        self.inner.config()
    }

    /// How its linear layers are represented.
    pub fn recipe(&self) -> Recipe {
        self.recipe
    }

    /// Its tokenizer, if the files had one.
    pub fn tokenizer(&self) -> Option<&Tokenizer> {
        self.tokenizer.as_ref()
    }

    /// The device it lives on.
    pub fn device(&self) -> &Device {
        self.inner.backend()
    }

    /// The model as the rooms below have it: sessions, logits, steps.
    pub fn inner(&self) -> &model::Model<Device> {
        &self.inner
    }

    /// Continues `prompt`: an iterator of pieces of text.
    ///
    /// # Errors
    /// [`Error::Context`] when prompt and new tokens do not fit, [`Error::Usage`] for options that make no sense or
    /// an empty prompt of a model without a begin token, failures of the device.
    #[cfg(feature = "blocking")]
    pub fn generate(&self, prompt: impl Into<Prompt>, options: Generate) -> Result<Generator<'_>> {
        crate::backend::block_on(self.device(), self.continued(prompt.into(), options))
    }

    /// [`Model::generate`] for those who must not block; go on with [`Generator::next_piece`].
    ///
    /// # Errors
    /// As [`Model::generate`].
    pub async fn generate_async(
        &self,
        prompt: impl Into<Prompt>,
        options: Generate,
    ) -> Result<Generator<'_>> {
        self.continued(prompt.into(), options).await
    }

    /// The same without a type of the caller's, so that it is compiled with the library and not with everything that calls it.
    async fn continued(&self, prompt: Prompt, options: Generate) -> Result<Generator<'_>> {
        let sequence = self.sequence(prompt, &options)?;
        let session = self.inner.sessions_of(1, sequence.longest())?;
        Generator::new(session, sequence, &options, self.draft.as_ref()).await
    }

    /// Continues several prompts together, of any lengths: a token of all of them takes one pass over the weights.
    ///
    /// # Errors
    /// As [`Model::generate`].
    pub fn batch<P: Into<Prompt>>(
        &self,
        prompts: impl IntoIterator<Item = P>,
        options: Generate,
    ) -> Result<Batch<'_>> {
        let sequences = prompts
            .into_iter()
            .map(|prompt| self.sequence(prompt.into(), &options))
            .collect::<Result<_>>()?;
        if options.speculate > 0 {
            return Err(Error::usage(
                "drafts of several sequences at once",
                "draft for one sequence, or draft none",
            ));
        }
        #[cfg(feature = "grammar")]
        if options.grammar.is_some() {
            return Err(Error::usage(
                "a schema for several sequences at once",
                "hold one sequence to it",
            ));
        }
        Batch::new(&self.inner, sequences, options)
    }

    /// A sequence that has not begun.
    pub(super) fn sequence(&self, prompt: Prompt, options: &Generate) -> Result<Sequence<'_>> {
        let config = self.inner.config();
        options.check(config.vocab)?;
        let ids = encode(self.tokenizer.as_ref(), &self.place, prompt)?;
        let new = new_tokens(ids.len(), self.inner.options().context, options.max_tokens)?;
        let (tokenizer, stop) = (self.tokenizer.as_ref(), options.stop.clone());
        Sequence::new(tokenizer, config.eos.clone(), ids, new, stop)
    }
}

/// How many tokens may follow a prompt of `prompt` tokens where `asked` are wanted.
pub(crate) fn new_tokens(prompt: usize, context: usize, asked: Option<usize>) -> Result<usize> {
    let room = context.checked_sub(prompt);
    let new = asked.unwrap_or_else(|| DEFAULT_NEW.min(room.unwrap_or(1).max(1)));
    match room {
        Some(room) if new <= room => Ok(new),
        _ => Err(Error::Context {
            prompt,
            new,
            context,
        }),
    }
}

/// The ids of `prompt`; of an empty text the begin token, if there is one.
pub(crate) fn encode(
    tokenizer: Option<&Tokenizer>,
    place: &str,
    prompt: Prompt,
) -> Result<Vec<u32>> {
    let ids = match prompt {
        Prompt::Ids(ids) => ids,
        Prompt::Text(text) => {
            let hint = "copy it from where the model came from";
            let missing = || Error::file(place, "is missing", hint);
            tokenizer.ok_or_else(missing)?.encode(&text, true)?
        }
    };
    if !ids.is_empty() {
        return Ok(ids);
    }
    let bos = tokenizer.and_then(Tokenizer::bos);
    bos.map(|id| vec![id]).ok_or_else(|| {
        Error::usage(
            "the prompt is empty and the model has no begin token",
            "give it some text to continue",
        )
    })
}
