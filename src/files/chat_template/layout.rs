//! Filters that lay out text.

use super::args::{Args, flag, integer, string};
use super::text::text;
use minijinja::value::ValueKind;
use minijinja::{Error, State, Value};

/// Widest indentation or padding.
const WIDEST: i64 = 1 << 16;

pub(super) fn indent(state: &mut State, args: &Args) -> Result<Value, Error> {
    let [value, width, first, blank] = args.bind(["s", "width", "first", "blank"], 1)?;
    let value = text(&value.unwrap_or_default())?;
    let indentation = match width.as_ref().and_then(Value::as_str) {
        Some(text) => text.to_owned(),
        None => " ".repeat(integer(&width)?.unwrap_or(4).clamp(0, WIDEST) as usize),
    };
    let lines = value.matches('\n').count() + 1;
    state.consume_fuel((lines.saturating_mul(indentation.len()) / 64) as u64)?;
    let mut out = String::with_capacity(value.len());
    for (index, line) in value.split('\n').enumerate() {
        out.push_str(if index > 0 { "\n" } else { "" });
        let indents = if index == 0 {
            flag(&first)
        } else {
            flag(&blank) || !line.is_empty()
        };
        out.push_str(if indents { &indentation } else { "" });
        out.push_str(line);
    }
    Ok(Value::from(out))
}

pub(super) fn truncate(_: &mut State, args: &Args) -> Result<Value, Error> {
    let [value, length, cut_words, end, leeway] =
        args.bind(["s", "length", "killwords", "end", "leeway"], 1)?;
    let value = text(&value.unwrap_or_default())?;
    let size = |value: &Option<Value>, usual: usize| {
        integer(value).map(|n| n.map_or(usual, |n| n.clamp(0, i64::MAX) as usize))
    };
    let (length, leeway) = (size(&length, 255)?, size(&leeway, 5)?);
    let end = string(&end, "end")?.unwrap_or("...");
    if value.chars().count() <= length.saturating_add(leeway) {
        return Ok(Value::from(value));
    }
    let kept: String = value
        .chars()
        .take(length.saturating_sub(end.chars().count()))
        .collect();
    let kept = match (flag(&cut_words), kept.rsplit_once(' ')) {
        (false, Some((words, _))) => words,
        _ => &kept,
    };
    Ok(Value::from(format!("{kept}{end}")))
}

pub(super) fn wordwrap(state: &mut State, args: &Args) -> Result<Value, Error> {
    let [value, width, breaks, separator] =
        args.bind(["s", "width", "break_long_words", "wrapstring"], 1)?;
    let value = text(&value.unwrap_or_default())?;
    let width = integer(&width)?.unwrap_or(79).clamp(1, WIDEST) as usize;
    let breaks = breaks.is_none_or(|breaks| breaks.is_true());
    let separator = string(&separator, "wrapstring")?.unwrap_or("\n");
    state.consume_fuel(value.len() as u64 / 16)?;
    let mut lines: Vec<String> = Vec::new();
    for paragraph in value.lines() {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            let mut word: Vec<char> = word.chars().collect();
            let used = line.chars().count();
            if used > 0 && used + 1 + word.len() > width {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            while breaks && word.len() > width {
                lines.push(word.drain(..width).collect());
            }
            line.extend(word);
        }
        lines.push(line);
    }
    Ok(Value::from(lines.join(separator)))
}

pub(super) fn wordcount(_: &mut State, args: &Args) -> Result<Value, Error> {
    let [value] = args.bind(["s"], 1)?;
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let value = text(&value.unwrap_or_default())?;
    Ok(Value::from(
        value
            .split(|c| !word(c))
            .filter(|word| !word.is_empty())
            .count(),
    ))
}

pub(super) fn center(_: &mut State, args: &Args) -> Result<Value, Error> {
    let [value, width] = args.bind(["value", "width"], 1)?;
    let value = text(&value.unwrap_or_default())?;
    let width = integer(&width)?.unwrap_or(80).clamp(0, WIDEST) as usize;
    let missing = width.saturating_sub(value.chars().count());
    let left = missing / 2 + (missing & width & 1);
    Ok(Value::from(format!(
        "{}{value}{}",
        " ".repeat(left),
        " ".repeat(missing - left)
    )))
}

/// Percent encoding, of a text, or of the pairs of a dict as a query.
pub(super) fn urlencode(_: &mut State, args: &Args) -> Result<Value, Error> {
    let [value] = args.bind(["value"], 1)?;
    let value = value.unwrap_or_default();
    if value.kind() != ValueKind::Map {
        return Ok(Value::from(percent(&text(&value)?, false)));
    }
    let pair = |key: Value| {
        Ok(format!(
            "{}={}",
            percent(&text(&key)?, true),
            percent(&text(&value.get_item(&key)?)?, true)
        ))
    };
    let pairs: Vec<String> = value.try_iter()?.map(pair).collect::<Result<_, Error>>()?;
    Ok(Value::from(pairs.join("&")))
}

fn percent(text: &str, query: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' if query => out.push('+'),
            b'/' if !query => out.push('/'),
            b'_' | b'.' | b'-' | b'~' => out.push(byte.into()),
            byte if byte.is_ascii_alphanumeric() => out.push(byte.into()),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
