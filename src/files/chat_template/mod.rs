//! Chat templates: how messages become the text that a model was trained on.
//!
//! A template is Jinja, as transformers has it: `chat_template.jinja`, or `chat_template` of `tokenizer_config.json`.
//! [`ChatTemplate::render`] gives the text, [`ChatTemplate::encode`] its ids, in which tokens that stand in messages are
//! text and never control tokens. A model without a template gets the form that its vocabulary is made for
//! ([`Family`]).

mod args;
mod bounds;
mod checks;
mod clock;
mod engine;
mod families;
mod filters;
mod json;
mod layout;
mod marks;
mod methods;
mod percent;
mod rewrite;
mod strings;
mod text;

pub use self::clock::Moment;
pub use self::families::Family;

use self::engine::{Engine, Failure};
use super::config::object;
use super::tokenizer::TOKENIZER_CONFIG;
use super::{LONGEST_CONFIG, Source, Tokenizer};
use crate::error::{Error, Result};
use serde_json::{Map, Value};

/// Name of the file that holds a template and nothing else.
pub const CHAT_TEMPLATE: &str = "chat_template.jinja";
/// Name of the file with special tokens, where the settings have none.
const SPECIAL_TOKENS: &str = "special_tokens_map.json";
/// Special tokens that templates know by these names.
const NAMED: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];
/// Tokens that end a turn in the templates of published models, beside the end tokens of their configurations.
const TURN_ENDS: [&str; 12] = [
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<end_of_turn>",
    "<|end|>",
    "<|end_of_text|>",
    "<|endoftext|>",
    "<|END_OF_TURN_TOKEN|>",
    "<|end_of_role|>",
    "<｜end▁of▁sentence｜>",
    "<|return|>",
    "<|call|>",
];

/// What a template is given.
#[derive(Debug, Clone, Default)]
pub struct ChatInput {
    /// The messages: objects with `role`, `content` and what else the template knows. The order of keys is kept.
    pub messages: Vec<Value>,
    /// Functions that the model may call, as JSON schemas.
    pub tools: Option<Vec<Value>>,
    /// Documents to answer from.
    pub documents: Option<Vec<Value>>,
    /// Whether the text ends where an answer begins.
    pub add_generation_prompt: bool,
    /// Further variables (`enable_thinking`, `date_string`), which may also replace those above and the special tokens.
    pub variables: Map<String, Value>,
    /// The time that templates may ask for; without it those that ask fail.
    pub now: Option<Moment>,
}

/// The template of a model.
pub struct ChatTemplate {
    default: Parsed,
    /// The one for messages with tools, if there are two.
    tool_use: Option<Parsed>,
    /// Where they came from; `None` where a usual form stands in for them.
    family: Option<Family>,
    /// Special tokens by the names that templates know.
    specials: Vec<(String, String)>,
}

/// A template, or why it cannot be used.
struct Parsed {
    place: String,
    source: String,
    engine: Result<Engine, String>,
}

impl Parsed {
    fn new(place: &str, source: &str) -> Self {
        Self {
            place: place.to_owned(),
            source: source.to_owned(),
            engine: Engine::new(source),
        }
    }

    /// One that is not even text.
    fn wrong(place: &str, what: &str) -> Self {
        Self {
            place: place.to_owned(),
            source: String::new(),
            engine: Err(what.to_owned()),
        }
    }
}

impl ChatTemplate {
    /// The template in the files of `source`, or else the usual form for `tokenizer`. A template that does not parse is
    /// an error only when it is used.
    ///
    /// # Errors
    /// Failures to read the files, and [`Error::File`] for settings that are no JSON object.
    pub fn open(source: &Source, tokenizer: &Tokenizer) -> Result<Self> {
        let read = |name: &str| -> Result<Option<Map<String, Value>>> {
            let bytes = source.read_optional(name, LONGEST_CONFIG)?;
            bytes
                .map(|bytes| object(&source.place(name), &bytes))
                .transpose()
        };
        let settings = read(TOKENIZER_CONFIG)?.unwrap_or_default();
        let map = read(SPECIAL_TOKENS)?.unwrap_or_default();
        let special = |name: &&str| {
            let value = settings.get(*name).or_else(|| map.get(*name))?;
            Some((
                (*name).to_owned(),
                super::tokenizer::content(value)?.to_owned(),
            ))
        };
        let specials: Vec<_> = NAMED.iter().filter_map(special).collect();
        let place = source.place(CHAT_TEMPLATE);
        let (default, tool_use) = match source.read_optional(CHAT_TEMPLATE, LONGEST_CONFIG)? {
            Some(bytes) => {
                let text = std::str::from_utf8(&bytes);
                let parsed = text.map_or_else(
                    |_| Parsed::wrong(&place, "is not UTF-8"),
                    |text| Parsed::new(&place, text),
                );
                (Some(parsed), None)
            }
            None => named(
                &source.place(TOKENIZER_CONFIG),
                settings.get("chat_template"),
            ),
        };
        Ok(match default {
            Some(default) => Self {
                default,
                tool_use,
                family: None,
                specials,
            },
            None => Self::of_family(Family::of(tokenizer), tokenizer, specials),
        })
    }

    /// A template that is at hand. `place` stands for its file in messages, `specials` are special tokens by the names
    /// that templates know: `bos_token`, `eos_token`.
    pub fn new(place: &str, source: &str, specials: Vec<(String, String)>) -> Self {
        Self {
            default: Parsed::new(place, source),
            tool_use: None,
            family: None,
            specials,
        }
    }

    /// The usual form of a family, for a model with this tokenizer.
    fn of_family(
        family: Family,
        tokenizer: &Tokenizer,
        mut specials: Vec<(String, String)>,
    ) -> Self {
        let begins = |bos: &u32| {
            tokenizer
                .encode("a", true)
                .is_ok_and(|ids| ids.first() == Some(bos))
        };
        let bos = tokenizer
            .bos()
            .filter(|bos| family != Family::Plain || begins(bos));
        specials.retain(|(name, _)| name != "bos_token");
        specials.extend(bos.and_then(|bos| Some(("bos_token".to_owned(), tokenizer.token(bos)?))));
        Self {
            family: Some(family),
            ..Self::new(family.name(), &family.template(), specials)
        }
    }

    /// The usual form that stands in for a template, if the model brings none.
    pub fn family(&self) -> Option<Family> {
        self.family
    }

    /// Where the template came from, in words: its file, or the family that stands in for it.
    pub fn origin(&self) -> String {
        match self.family {
            Some(family) => format!(
                "the model has no chat template; the form taken is {}",
                family.name()
            ),
            None => self.default.place.clone(),
        }
    }

    /// The template's text; with `tools` the one for messages with tools.
    pub fn source(&self, tools: bool) -> &str {
        &self.chosen(tools).source
    }

    /// Tokens that end an answer in this template, beside the end tokens of the model's configuration.
    pub fn end_tokens(&self, tokenizer: &Tokenizer) -> Vec<u32> {
        let written = |token: &&&str| self.default.source.contains(**token);
        TURN_ENDS
            .iter()
            .filter(written)
            .filter_map(|token| tokenizer.id(token))
            .collect()
    }

    /// Strings that end an answer where no token does.
    pub fn stops(&self) -> Vec<String> {
        let stops = self.family.map_or(&[][..], Family::stops);
        stops.iter().map(|&stop| stop.to_owned()).collect()
    }

    fn chosen(&self, tools: bool) -> &Parsed {
        self.tool_use
            .as_ref()
            .filter(|_| tools)
            .unwrap_or(&self.default)
    }

    /// The text of a chat.
    ///
    /// # Errors
    /// [`Error::Usage`] for what the template refuses with a message of its own, [`Error::File`] for a template that
    /// does not parse or that fails.
    pub fn render(&self, input: &ChatInput) -> Result<String> {
        let variables = self.variables(input);
        self.render_variables(&variables, input)
    }

    /// The ids of a chat. Control tokens are those that the template itself writes: the same strings in messages, tools
    /// and documents are text. Nothing is added to what the template writes, no begin token either.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`] and [`Tokenizer::encode`].
    pub fn encode(&self, tokenizer: &Tokenizer, input: &ChatInput) -> Result<Vec<u32>> {
        marks::encode(self, tokenizer, input)
    }

    /// All variables of a template, by name.
    fn variables(&self, input: &ChatInput) -> Map<String, Value> {
        let list = |list: &Option<Vec<Value>>| list.clone().map_or(Value::Null, Value::Array);
        let mut variables = Map::new();
        for (name, token) in &self.specials {
            variables.insert(name.clone(), token.as_str().into());
        }
        variables.insert("messages".to_owned(), Value::Array(input.messages.clone()));
        variables.insert("tools".to_owned(), list(&input.tools));
        variables.insert("documents".to_owned(), list(&input.documents));
        variables.insert(
            "add_generation_prompt".to_owned(),
            input.add_generation_prompt.into(),
        );
        variables.extend(input.variables.clone());
        variables
    }

    fn render_variables(
        &self,
        variables: &Map<String, Value>,
        input: &ChatInput,
    ) -> Result<String> {
        let tools = input.tools.as_ref().is_some_and(|tools| !tools.is_empty());
        let chosen = self.chosen(tools);
        let bad =
            |what: String| Error::file(&chosen.place, what, "give the model another chat template");
        let engine = chosen.engine.as_ref().map_err(|what| bad(what.clone()))?;
        engine
            .render(variables, input.now)
            .map_err(|failure| match failure {
                Failure::Raised(message) => {
                    let message = super::json::show(&message);
                    Error::usage(
                        format!("the chat template says: {message}"),
                        "change the messages",
                    )
                }
                Failure::Input(what) => Error::usage(what, "change the messages"),
                Failure::Template(what) => bad(format!(
                    "does not work with these messages: {}",
                    super::json::show(&what)
                )),
            })
    }
}

/// The templates in a field of the settings: one, or a list of named ones.
fn named(place: &str, field: Option<&Value>) -> (Option<Parsed>, Option<Parsed>) {
    let wrong = || {
        (
            Some(Parsed::wrong(
                place,
                "`chat_template` is neither a text nor a list of named texts",
            )),
            None,
        )
    };
    match field {
        None | Some(Value::Null) => (None, None),
        Some(Value::String(text)) => (Some(Parsed::new(place, text)), None),
        Some(Value::Array(all)) => {
            let find = |name: &str| {
                let named = all
                    .iter()
                    .find(|one| one.get("name").and_then(Value::as_str) == Some(name));
                Some(Parsed::new(place, named?.get("template")?.as_str()?))
            };
            let tool_use = find("tool_use");
            match (find("default"), tool_use) {
                (None, None) => wrong(),
                (None, tool_use) => (tool_use, None),
                (default, tool_use) => (default, tool_use),
            }
        }
        Some(_) => wrong(),
    }
}
