//! Methods of Python's strings, lists and dicts.

use super::args::{Args, flag, integer, string, type_error};
use super::text::{is_space, type_name};
use minijinja::value::{Tuple, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

/// What minijinja calls for a method that it does not know, which are all of these types.
pub(super) fn method(
    state: &mut State,
    value: &Value,
    name: &str,
    args: &[Value],
) -> Result<Value, Error> {
    let args = Args::new(name, args)?;
    match value.kind() {
        ValueKind::String => {
            super::strings::method(state, value.as_str().unwrap_or_default(), name, &args)
        }
        ValueKind::Map => of_map(value, name, &args),
        ValueKind::Seq | ValueKind::Iterable => of_sequence(value, name, &args),
        _ => Err(ErrorKind::UnknownMethod.into()),
    }
}

fn of_map(value: &Value, name: &str, args: &Args) -> Result<Value, Error> {
    match name {
        "get" => {
            let [key, default] = args.bind(["key", "default"], 1)?;
            let found = value.get_item(&key.unwrap_or_default())?;
            let default = default.unwrap_or(Value::from(()));
            Ok(if found.is_undefined() { default } else { found })
        }
        "keys" => {
            args.bind([], 0)?;
            Ok(value.try_iter()?.collect())
        }
        "values" => {
            args.bind([], 0)?;
            value.try_iter()?.map(|key| value.get_item(&key)).collect()
        }
        "items" => {
            args.bind([], 0)?;
            let pair = |key: Value| {
                Ok(Value::from(Tuple::from([
                    key.clone(),
                    value.get_item(&key)?,
                ])))
            };
            value.try_iter()?.map(pair).collect()
        }
        "copy" => {
            args.bind([], 0)?;
            Ok(value.clone())
        }
        _ => Err(ErrorKind::UnknownMethod.into()),
    }
}

fn of_sequence(value: &Value, name: &str, args: &Args) -> Result<Value, Error> {
    match name {
        "count" => {
            let [item] = args.bind(["value"], 1)?;
            let same = value
                .try_iter()?
                .filter(|other| Some(other) == item.as_ref());
            Ok(Value::from(same.count()))
        }
        "index" => {
            let [item] = args.bind(["value"], 1)?;
            let at = value.try_iter()?.position(|other| Some(other) == item);
            at.map(Value::from)
                .ok_or_else(|| type_error("the value is not in the list".to_owned()))
        }
        "copy" if !value.is_tuple() => {
            args.bind([], 0)?;
            Ok(value.clone())
        }
        _ => Err(ErrorKind::UnknownMethod.into()),
    }
}

/// Pieces of a string between separators, or between runs of white space.
pub(super) fn split(text: &str, args: &Args, from_right: bool) -> Result<Value, Error> {
    let [separator, most] = args.bind(["sep", "maxsplit"], 0)?;
    let most = integer(&most)?.and_then(|most| usize::try_from(most).ok());
    let parts = most.map_or(usize::MAX, |most| most.saturating_add(1));
    let mut pieces: Vec<&str> = match string(&separator, "sep")? {
        Some("") => return Err(type_error("empty separator".to_owned())),
        Some(separator) if from_right => text.rsplitn(parts, separator).collect(),
        Some(separator) => text.splitn(parts, separator).collect(),
        None => at_spaces(text, parts, from_right),
    };
    if from_right {
        pieces.reverse();
    }
    Ok(pieces.into_iter().map(Value::from).collect())
}

fn at_spaces(text: &str, parts: usize, from_right: bool) -> Vec<&str> {
    let mut rest = if from_right {
        text.trim_end_matches(is_space)
    } else {
        text.trim_start_matches(is_space)
    };
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        let at = if from_right {
            rest.rfind(is_space)
        } else {
            rest.find(is_space)
        };
        let Some(at) = at.filter(|_| pieces.len() + 1 < parts) else {
            pieces.push(rest);
            break;
        };
        let width = rest[at..].chars().next().map_or(1, char::len_utf8);
        if from_right {
            pieces.push(&rest[at + width..]);
            rest = rest[..at].trim_end_matches(is_space);
        } else {
            pieces.push(&rest[..at]);
            rest = rest[at..].trim_start_matches(is_space);
        }
    }
    pieces
}

/// Lines of a string, at all line ends that Python knows.
pub(super) fn lines(text: &str, args: &Args) -> Result<Value, Error> {
    let [keep] = args.bind(["keepends"], 0)?;
    let keep = flag(&keep);
    let ends = |c: char| {
        matches!(
            c,
            '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    let (mut lines, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.find(ends) {
        let end = rest[at..].chars().next().map_or(1, char::len_utf8);
        let end = if rest[at..].starts_with("\r\n") {
            2
        } else {
            end
        };
        lines.push(Value::from(&rest[..if keep { at + end } else { at }]));
        rest = &rest[at + end..];
    }
    if !rest.is_empty() {
        lines.push(Value::from(rest));
    }
    Ok(Value::from(lines))
}

/// Whether a string begins or ends with another one, or with one of a tuple; within `start` and `end` if given.
pub(super) fn has_end(text: &str, args: &Args, at_start: bool) -> Result<Value, Error> {
    let [fix, start, end] = args.bind(["prefix", "start", "end"], 1)?;
    let fix = fix.unwrap_or_default();
    let Some(text) = part(text, integer(&start)?, integer(&end)?) else {
        return Ok(Value::from(false));
    };
    let name = if at_start { "startswith" } else { "endswith" };
    let one = |fix: &Value| match fix.as_str() {
        Some(fix) => Ok(if at_start {
            text.starts_with(fix)
        } else {
            text.ends_with(fix)
        }),
        None => Err(type_error(format!(
            "{name} first arg must be str or a tuple of str, not {}",
            type_name(fix)
        ))),
    };
    if !fix.is_tuple() {
        return one(&fix).map(Value::from);
    }
    for fix in fix.try_iter()? {
        if one(&fix)? {
            return Ok(Value::from(true));
        }
    }
    Ok(Value::from(false))
}

/// The characters from `start` to `end`, which count from behind where they are negative; `None` where the start lies
/// behind the end.
pub(super) fn part(text: &str, start: Option<i64>, end: Option<i64>) -> Option<&str> {
    if start.is_none() && end.is_none() {
        return Some(text);
    }
    let length = text.chars().count() as i64;
    let place = |at: i64| if at < 0 { (at + length).max(0) } else { at };
    let (start, end) = (
        place(start.unwrap_or(0)),
        place(end.unwrap_or(length)).min(length),
    );
    let byte = |at: i64| {
        text.char_indices()
            .nth(at as usize)
            .map_or(text.len(), |(byte, _)| byte)
    };
    (start <= end && start <= length).then(|| &text[byte(start)..byte(end)])
}
