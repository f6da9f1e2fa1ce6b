//! Messages as OpenAI's interface has them, made into what templates know.

use crate::cli::serve::error::{Answered, ApiError};
use crate::cli::serve::fields::shown;
use crate::cli::serve::limits;
use serde_json::{Map, Value};

/// The messages of a chat.
///
/// # Errors
/// 400 with the place of the message that makes no sense.
pub(super) fn read(messages: &[Value]) -> Answered<Vec<Value>> {
    if !(1..=limits::MESSAGES).contains(&messages.len()) {
        let what = format!(
            "has {} messages; give 1 to {}",
            messages.len(),
            limits::MESSAGES
        );
        return Err(ApiError::field("messages", what));
    }
    let numbered = messages.iter().enumerate();
    numbered
        .map(|(index, message)| one(index, message))
        .collect()
}

fn one(index: usize, message: &Value) -> Answered<Value> {
    let place = |field: &str| format!("messages[{index}]{field}");
    let Value::Object(message) = message else {
        let what = format!(
            "is {}; give an object with `role` and `content`",
            shown(message)
        );
        return Err(ApiError::field(place(""), what));
    };
    // what is null is absent: templates ask whether a key is there
    let present = message.iter().filter(|(_, value)| !value.is_null());
    let mut message: Map<_, _> = present
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let role = match message.get("role") {
        Some(Value::String(role)) if !role.is_empty() => role.clone(),
        _ => {
            let what = "is missing; give system, user, assistant or tool";
            return Err(ApiError::field(place(".role"), what));
        }
    };
    if role == "developer" {
        // the newer word of OpenAI's interface, which templates do not know
        message.insert("role".to_owned(), "system".into());
    }
    let calls = message.contains_key("tool_calls");
    if let Some(calls) = message.get_mut("tool_calls") {
        read_calls(calls);
    }
    match message.get("content") {
        Some(Value::String(_)) => {}
        Some(Value::Array(parts)) => {
            let text = text(&place(".content"), parts)?;
            message.insert("content".to_owned(), text.into());
        }
        // OpenAI's interface has null beside calls of functions, for which templates look
        None if calls => {
            message.insert("content".to_owned(), Value::Null);
        }
        other => {
            let is = other.map_or_else(|| "missing".to_owned(), shown);
            let what = format!("is {is}; give a string or a list of text parts");
            return Err(ApiError::field(place(".content"), what));
        }
    }
    Ok(Value::Object(message))
}

/// The text of a list of parts, each in a line of its own.
fn text(place: &str, parts: &[Value]) -> Answered<String> {
    let part = |(index, part): (usize, &Value)| {
        let field = |name: &str| format!("{place}[{index}].{name}");
        match part["type"].as_str() {
            Some("text") => match part["text"].as_str() {
                Some(text) => Ok(text.to_owned()),
                None => Err(ApiError::field(field("text"), "is missing; give a string")),
            },
            _ => {
                let what = format!("is {}; only text is understood here", shown(&part["type"]));
                Err(ApiError::field(field("type"), what))
            }
        }
    };
    let texts: Vec<_> = parts
        .iter()
        .enumerate()
        .map(part)
        .collect::<Answered<_>>()?;
    Ok(texts.join("\n"))
}

/// Arguments of calls are JSON in a string in OpenAI's interface, and objects in templates.
fn read_calls(calls: &mut Value) {
    for call in calls.as_array_mut().into_iter().flatten() {
        let Some(arguments) = call.pointer_mut("/function/arguments") else {
            continue;
        };
        let read = arguments.as_str().map(serde_json::from_str);
        if let Some(Ok(read @ Value::Object(_))) = read {
            *arguments = read;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn messages_are_as_templates_know_them() {
        let read = |value: Value| read(&[value]).expect("a message").remove(0);
        let parts = json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]);
        assert_eq!(
            read(json!({"role": "developer", "content": parts, "name": null})),
            json!({"role": "system", "content": "a\nb"})
        );
        let call = |arguments: Value| json!([{"id": "1", "function": {"name": "f", "arguments": arguments}}]);
        assert_eq!(
            read(
                json!({"role": "assistant", "content": null, "tool_calls": call(json!("{\"a\": 1}"))})
            ),
            json!({"role": "assistant", "tool_calls": call(json!({"a": 1})), "content": null})
        );
        let broken = call(json!("{"));
        let message = read(json!({"role": "assistant", "content": "", "tool_calls": broken}));
        assert_eq!(message["tool_calls"], broken);
    }

    #[test]
    fn too_many_messages_are_refused() {
        let many = vec![json!({"role": "user", "content": "x"}); limits::MESSAGES + 1];
        assert!(read(&many).is_err());
        assert!(read(&many[1..]).is_ok());
    }
}
