//! `chat`: talk to a model.

use super::args::{ActivationName, BatchArgs, DeviceArgs, PathArgs, RecipeArgs};
use super::generate::SamplingArgs;
use super::source::{self, ModelArgs};
use super::{device, out};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::generate::{ModelFiles, Options};
use crate::model::{Recipe, Sampler};
use std::path::PathBuf;

mod command;
mod conversation;
mod input;
mod interrupt;

use self::command::Command;
use self::conversation::Conversation;
use self::input::{Input, Line};

/// Talk to a model.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fairy2i-gpu chat -m llama-folder
  fairy2i-gpu chat -m packed-folder --system \"Answer in one sentence.\" --temp 0
  printf 'Hello\\nWho are you?\\n' | fairy2i-gpu chat -m llama-folder      one message a line, answers only

A line that ends with \\ goes on in the next one; \"\"\" begins and ends a block of lines. Lines that begin with / are
commands, of which /help tells; // begins a message with /. Ctrl-C stops an answer, Ctrl-D ends the program.
Answers go to standard output, everything else to standard error.")]
pub(super) struct Chat {
    #[command(flatten)]
    pub(super) model: ModelArgs,
    /// What the model is told before the first message
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Most tokens of an answer; -1 is what the context leaves
    #[arg(short, long, visible_alias = "predict", value_name = "N", default_value_t = -1, allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(-1..))]
    n_predict: i64,
    /// Most tokens of the whole conversation [default: the model's context]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    ctx_size: Option<u64>,
    #[command(flatten)]
    batch: BatchArgs,
    /// End an answer before this string, however tokens cut it; may be given several times
    #[arg(long, value_name = "STRING")]
    stop: Vec<String>,
    /// A variable for the chat template, as JSON: `enable_thinking=false`; may be given several times
    #[arg(long = "template-arg", value_name = "NAME=VALUE", value_parser = variable)]
    template_args: Vec<(String, serde_json::Value)>,
    /// File for the lines that were typed, or `off` [default: chat_history in the user's state folder]
    #[arg(long, env = "FAIRY2I_CHAT_HISTORY", value_name = "FILE")]
    history: Option<PathBuf>,
    /// How activations enter quantized layers
    #[arg(long, value_enum, default_value = "16")]
    activations: ActivationName,
    #[command(flatten)]
    paths: PathArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    recipe: RecipeArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

/// `NAME=VALUE`; what is no JSON is text.
fn variable(text: &str) -> Result<(String, serde_json::Value), String> {
    let (name, value) = text.split_once('=').ok_or("give NAME=VALUE")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    Ok((name.to_owned(), value))
}

impl Chat {
    /// Talks until there is nothing more to say.
    pub(super) fn run(self) -> Result<()> {
        let sampling = self.sampling.sampling();
        Sampler::new(sampling)?; // what makes no sense is said before anything is loaded
        if self.stop.iter().any(String::is_empty) {
            let hint = "give the string that ends an answer";
            return Err(Error::usage("--stop is empty", hint));
        }
        let opened = source::open(self.model.model.as_deref())?;
        let recipe = source::recipe(&opened, &self.recipe)?;
        let files = ModelFiles::from(opened);
        let template = files.chat_template().ok_or_else(|| {
            let name = source::name(self.model.model.as_deref());
            Error::usage(
                format!("{name} has no tokenizer"),
                "copy it from where the model came from",
            )
        })?;
        let origin = template.family().map(|_| template.origin());
        let options = self.options(recipe, files.config().context);
        let mut input = Input::open(self.history.as_deref())?;
        let device = device::open(&self.device)?;
        let model = device::load(files, &device, options, None, input.is_person())?;
        if let Some(origin) = origin {
            out::note(&format!("note: {origin}"));
        }
        if input.is_person() {
            let name = source::name(self.model.model.as_deref());
            out::note(&format!(
                "{name} on {}; /help tells what can be typed",
                device.name()
            ));
        }
        let generate = crate::Generate {
            max_tokens: usize::try_from(self.n_predict).ok(),
            stop: self.stop,
            sampling,
            ..crate::Generate::default()
        };
        let variables = self.template_args.into_iter().collect();
        let mut conversation = Conversation::new(&model, self.system, variables, generate)?;
        talk(&mut input, &mut conversation)?;
        device::report_check(&device);
        Ok(())
    }

    /// How the model is loaded.
    fn options(&self, recipe: Recipe, model_context: usize) -> Options {
        let context = self.ctx_size.map(|n| (n as usize).min(model_context));
        Options {
            recipe: Some(recipe),
            activations: self.activations.into(),
            context,
            batch: self.batch.at_once(),
            kv: self.paths.kv.into(),
            swa_full: self.paths.swa_full,
            exact: self.paths.exact,
            allow_nonfinite: self.recipe.allow_nonfinite,
            ..Options::default()
        }
    }
}

/// Reads lines and does what they say. What a line says wrong does not end the conversation, unless nobody is there to
/// say it better.
fn talk(input: &mut Input, conversation: &mut Conversation<'_>) -> Result<()> {
    loop {
        let done = match input.read()? {
            Line::End => return Ok(()),
            Line::Text(text) => match Command::parse(&text) {
                Ok(Some(Command::Exit)) => return Ok(()),
                Ok(Some(command)) => conversation.obey(command),
                Ok(None) => conversation.say(
                    text.strip_prefix("//")
                        .map_or(text.clone(), |rest| format!("/{rest}")),
                ),
                Err(error) => Err(error),
            },
        };
        match done {
            Err(error) if input.is_person() && error.exit_code() == 2 => {
                let line = super::remedy::line(&error);
                out::note(&format!("error: {line}"));
            }
            done => done?,
        }
    }
}
