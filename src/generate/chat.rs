//! A conversation: each answer begins behind what is the same as in the one before.

use super::generator::Generator;
use super::model::{Model, ModelFiles};
use super::options::{Generate, Prompt};
use crate::backend::Device;
use crate::error::{Error, Result};
use crate::files::chat_template::ChatInput;
use crate::files::{ChatTemplate, Tokenizer};
use crate::model::Session;

impl ModelFiles {
    /// How chats are written for this model, if it has a tokenizer.
    pub fn chat_template(&self) -> Option<&ChatTemplate> {
        self.opened.chat_template.as_ref()
    }
}

impl Model {
    /// How chats are written for this model, if it has a tokenizer.
    pub fn chat_template(&self) -> Option<&ChatTemplate> {
        self.chat_template.as_ref()
    }

    /// A conversation with this model.
    ///
    /// # Errors
    /// [`Error::File`] for a model without a tokenizer.
    pub fn chat(&self) -> Result<Chat<'_>> {
        let (Some(tokenizer), Some(template)) = (&self.tokenizer, &self.chat_template) else {
            let hint = "copy it from where the model came from";
            return Err(Error::file(&self.place, "is missing", hint));
        };
        let mut eos = self.config().eos.clone();
        eos.extend(template.end_tokens(tokenizer));
        Ok(Chat {
            model: self,
            tokenizer,
            template,
            eos,
            session: None,
            seen: Vec::new(),
        })
    }

    /// Most tokens of a prompt and its continuation together, as the model was loaded.
    pub fn context(&self) -> usize {
        self.inner.options().context
    }
}

/// A conversation whose keys and values stay on the device between its answers.
///
/// ```no_run
/// use fairy2i_gpu::files::chat_template::ChatInput;
/// use fairy2i_gpu::{Device, Generate, Model, Options};
/// let device = Device::auto()?;
/// let model = Model::open("folder")?.load(&device, Options::default())?;
/// let mut chat = model.chat()?;
/// let mut input = ChatInput { add_generation_prompt: true, ..ChatInput::default() };
/// input.messages.push(serde_json::json!({"role": "user", "content": "Hello"}));
/// let mut answer = chat.answer(&input, Generate::greedy())?;
/// for piece in &mut answer {
///     print!("{}", piece?);
/// }
/// chat.keep(answer); // the next answer begins where this one ended
/// # Ok::<(), fairy2i_gpu::Error>(())
/// ```
pub struct Chat<'m> {
    model: &'m Model,
    tokenizer: &'m Tokenizer,
    template: &'m ChatTemplate,
    /// End tokens of the model and of its template.
    eos: Vec<u32>,
    session: Option<Session<'m, Device>>,
    /// Ids that the session has seen.
    seen: Vec<u32>,
}

impl<'m> Chat<'m> {
    /// The answer to the messages of `input`. Give it back by [`Chat::keep`], when it has ended or before, so that the
    /// next one need not compute again what they have in common.
    ///
    /// # Errors
    /// As [`ChatTemplate::encode`] and [`Model::generate`].
    #[cfg(feature = "blocking")]
    pub fn answer(&mut self, input: &ChatInput, options: Generate) -> Result<Generator<'m>> {
        let device = self.model.device();
        crate::backend::block_on(device, self.answer_async(input, options))
    }

    /// [`Chat::answer`] for those who must not block.
    ///
    /// # Errors
    /// As there.
    pub async fn answer_async(
        &mut self,
        input: &ChatInput,
        mut options: Generate,
    ) -> Result<Generator<'m>> {
        let model = self.model;
        let ids = self.encode(input)?;
        options.stop.extend(self.template.stops());
        let mut sequence = model.sequence(Prompt::Ids(ids), &options)?;
        sequence.eos.clone_from(&self.eos);
        let mut session = match self.session.take() {
            Some(session) => session,
            None => {
                self.seen.clear();
                model.inner.sessions_of(1, model.context())?
            }
        };
        let pairs = self.seen.iter().zip(&sequence.prompt_ids);
        let same = pairs.take_while(|(seen, id)| seen == id).count();
        // Logits come with a token that is processed: the last one always is.
        session.rewind(same.min(sequence.prompt_ids.len().saturating_sub(1)));
        Generator::new(session, sequence, &options, None).await
    }

    /// The ids of the messages of `input`, as [`Chat::answer`] takes them.
    ///
    /// # Errors
    /// As [`ChatTemplate::encode`].
    pub fn encode(&self, input: &ChatInput) -> Result<Vec<u32>> {
        self.template.encode(self.tokenizer, input)
    }

    /// Keeps what `answer` has computed for the next one.
    pub fn keep(&mut self, answer: Generator<'m>) {
        if let Some((session, seen)) = answer.into_session() {
            self.session = Some(session);
            self.seen = seen;
        }
    }
}
