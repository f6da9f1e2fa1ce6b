//! What a chat is asked for.

use super::messages;
use crate::cli::serve::common::{Bounds, Common};
use crate::cli::serve::error::{Answered, ApiError};
use crate::cli::serve::fields::{Fields, shown};
use crate::files::chat_template::ChatInput;
use crate::generate::scheduler::MAX_LOGPROBS;
use serde_json::{Map, Value};

/// A request to `/v1/chat/completions`.
#[derive(Debug, Clone)]
pub(super) struct ChatRequest {
    pub input: ChatInput,
    pub common: Common,
    pub logprobs: Option<usize>,
    pub format: Format,
}

/// What an answer has to be.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Format {
    Text,
    JsonObject,
    JsonSchema(Value),
}

impl ChatRequest {
    /// Reads a request for a model of these bounds.
    ///
    /// # Errors
    /// 400 with the name of the field that makes no sense or is not supported.
    pub(super) fn read(object: &Map<String, Value>, bounds: &Bounds) -> Answered<Self> {
        let fields = Fields::new(object);
        for name in ["prompt", "suffix", "chat_template"] {
            fields.refuse(name, |_| false)?;
        }
        for name in ["echo", "continue_final_message"] {
            fields.refuse(name, |value| value == false)?;
        }
        fields.refuse("modalities", |value| *value == serde_json::json!(["text"]))?;
        let lengths = ["max_completion_tokens", "max_tokens", "n_predict"];
        let common = Common::read(&fields, bounds, &lengths)?;
        if common.n > bounds.choices {
            let what = format!(
                "is {}; this server makes {} together",
                common.n, bounds.choices
            );
            return Err(fields.wrong("n", what));
        }
        Ok(Self {
            input: input(&fields)?,
            logprobs: logprobs(&fields)?,
            format: format(&fields)?,
            common,
        })
    }
}

/// What the template is given.
///
/// # Errors
/// 400 with the name of the field.
pub(super) fn input(fields: &Fields<'_>) -> Answered<ChatInput> {
    let variables = fields.object("chat_template_kwargs")?.cloned();
    let documents = fields.list("documents")?.map(<[Value]>::to_vec);
    let generation = fields.boolean("add_generation_prompt")?.unwrap_or(true);
    let messages = match fields.list("messages")? {
        Some(messages) => messages::read(messages)?,
        None => return Err(fields.wrong("messages", "is missing; give a list of messages")),
    };
    Ok(ChatInput {
        messages,
        tools: tools(fields)?,
        documents,
        add_generation_prompt: generation,
        variables: variables.unwrap_or_default(),
        now: Some(super::now()),
    })
}

/// The functions that the template tells the model of.
fn tools(fields: &Fields<'_>) -> Answered<Option<Vec<Value>>> {
    let tools = fields.list("tools")?.filter(|tools| !tools.is_empty());
    for (index, tool) in tools.unwrap_or_default().iter().enumerate() {
        if !tool["function"]["name"].is_string() {
            let what = format!(
                "is {}; give {{\"type\": \"function\", \"function\": {{\"name\": ...}}}}",
                shown(tool)
            );
            return Err(fields.wrong(&format!("tools[{index}]"), what));
        }
    }
    let told = match fields.get("tool_choice") {
        None => true,
        Some(Value::String(word)) if word == "auto" => true,
        Some(Value::String(word)) if word == "none" => false,
        Some(_) => return Err(ApiError::unsupported("tool_choice")),
    };
    Ok(tools.filter(|_| told).map(<[Value]>::to_vec))
}

fn logprobs(fields: &Fields<'_>) -> Answered<Option<usize>> {
    let wanted = fields.boolean("logprobs")?.unwrap_or(false);
    let top = fields.count("top_logprobs", MAX_LOGPROBS)?;
    match (wanted, top) {
        (false, Some(1..)) => Err(fields.wrong(
            "top_logprobs",
            "needs `logprobs`; say `\"logprobs\": true` as well",
        )),
        (false, _) => Ok(None),
        (true, top) => Ok(Some(top.unwrap_or(0))),
    }
}

fn format(fields: &Fields<'_>) -> Answered<Format> {
    let Some(value) = fields.get("response_format") else {
        return Ok(Format::Text);
    };
    let format = Fields::inside(value, "response_format.")?;
    match format.string("type")? {
        Some("text") => Ok(Format::Text),
        Some("json_object") => Ok(match format.get("schema") {
            Some(schema) => Format::JsonSchema(schema.clone()), // as llama-server has it
            None => Format::JsonObject,
        }),
        Some("json_schema") => {
            let inside = format.get("json_schema").unwrap_or(&Value::Null);
            let inside = Fields::inside(inside, "response_format.json_schema.")?;
            match inside.get("schema") {
                Some(schema @ (Value::Object(_) | Value::Bool(_))) => {
                    Ok(Format::JsonSchema(schema.clone()))
                }
                _ => Err(inside.wrong("schema", "is missing; give a JSON schema")),
            }
        }
        _ => Err(format.wrong(
            "type",
            "is not known; give text, json_object or json_schema",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const BOUNDS: Bounds = Bounds {
        vocab: 100,
        context: 64,
        choices: 8,
    };

    fn read(mut value: Value) -> Answered<ChatRequest> {
        let object = value.as_object_mut().expect("an object");
        object
            .entry("messages")
            .or_insert_with(|| json!([{"role": "user", "content": "Hi"}]));
        ChatRequest::read(object, &BOUNDS)
    }

    fn good(value: Value) -> ChatRequest {
        read(value).expect("a good request")
    }

    #[test]
    fn the_newer_name_of_a_length_counts() {
        let most = |value| good(value).common.max_tokens;
        assert_eq!(most(json!({})), None);
        assert_eq!(most(json!({"max_tokens": 5})), Some(5));
        assert_eq!(
            most(json!({"max_tokens": 5, "max_completion_tokens": 6})),
            Some(6)
        );
    }

    #[test]
    fn formats() {
        let format = |value| good(json!({"response_format": value})).format;
        assert_eq!(format(json!(null)), Format::Text);
        assert_eq!(format(json!({"type": "text"})), Format::Text);
        assert_eq!(format(json!({"type": "json_object"})), Format::JsonObject);
        let schema = json!({"type": "object"});
        let asked = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}});
        assert_eq!(format(asked), Format::JsonSchema(schema));
    }

    #[test]
    fn tools_are_told_of_or_not() {
        let tool = json!({"type": "function", "function": {"name": "f"}});
        let tools = |choice: Value| {
            good(json!({"tools": [tool], "tool_choice": choice}))
                .input
                .tools
        };
        assert_eq!(tools(json!("auto")), Some(vec![tool.clone()]));
        assert_eq!(tools(json!(null)), Some(vec![tool.clone()]));
        assert_eq!(tools(json!("none")), None);
    }

    #[test]
    fn log_probabilities() {
        let logprobs = |value| good(value).logprobs;
        assert_eq!(logprobs(json!({})), None);
        assert_eq!(
            logprobs(json!({"logprobs": false, "top_logprobs": 0})),
            None
        );
        assert_eq!(logprobs(json!({"logprobs": true})), Some(0));
        assert_eq!(
            logprobs(json!({"logprobs": true, "top_logprobs": 20})),
            Some(20)
        );
    }

    #[test]
    fn fields_that_make_no_sense_are_refused_by_name() {
        let image = json!({"type": "image_url", "image_url": {"url": "x"}});
        for (value, param) in [
            (json!({"messages": null}), "messages"),
            (json!({"messages": []}), "messages"),
            (json!({"messages": "Hi"}), "messages"),
            (json!({"messages": [3]}), "messages[0]"),
            (json!({"messages": [{"content": "x"}]}), "messages[0].role"),
            (
                json!({"messages": [{"role": "user"}]}),
                "messages[0].content",
            ),
            (
                json!({"messages": [{"role": "user", "content": 3}]}),
                "messages[0].content",
            ),
            (
                json!({"messages": [{"role": "user", "content": [image]}]}),
                "messages[0].content[0].type",
            ),
            (json!({"logprobs": 3}), "logprobs"),
            (json!({"top_logprobs": 2}), "top_logprobs"),
            (
                json!({"logprobs": true, "top_logprobs": 21}),
                "top_logprobs",
            ),
            (json!({"response_format": "json"}), "response_format"),
            (
                json!({"response_format": {"type": "xml"}}),
                "response_format.type",
            ),
            (
                json!({"response_format": {"type": "json_schema"}}),
                "response_format.json_schema",
            ),
            (
                json!({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}),
                "response_format.json_schema.schema",
            ),
            (json!({"tool_choice": "required"}), "tool_choice"),
            (json!({"tool_choice": {"type": "function"}}), "tool_choice"),
            (json!({"tools": [{"type": "function"}]}), "tools[0]"),
            (json!({"modalities": ["text", "audio"]}), "modalities"),
            (json!({"functions": [{}]}), "functions"),
            (json!({"prompt": "x"}), "prompt"),
            (json!({"chat_template_kwargs": 3}), "chat_template_kwargs"),
            (json!({"n": 9}), "n"),
        ] {
            let error = read(value).expect_err(param).json();
            assert_eq!(error["error"]["param"], param, "{error}");
        }
    }
}
