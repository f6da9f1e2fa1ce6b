//! Python's `%` on strings.

use super::args::type_error;
use super::text::{float, text, type_name};
use minijinja::formatting::FormatStyle;
use minijinja::value::ValueKind;
use minijinja::{Error, Value};

/// Widest field.
const WIDEST: usize = 1 << 16;

/// Formats `values` by a pattern: one after the other, or by the names of the one dict that they are.
pub(super) fn format(pattern: &str, values: &[Value]) -> Result<String, Error> {
    let (mut out, mut rest, mut next) = (String::with_capacity(pattern.len()), pattern, 0);
    let mut named = false;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let mut spec = &rest[at + 1..];
        if let Some(after) = spec.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let mut name = None;
        if let Some(inside) = spec.strip_prefix('(') {
            let incomplete = || type_error("incomplete format key".to_owned());
            let (key, after) = inside.split_once(')').ok_or_else(incomplete)?;
            (name, spec) = (Some(key), after);
        }
        let end = spec.find(|c: char| c.is_ascii_alphabetic() || c == '%');
        let Some(end) = end else {
            return Err(type_error("incomplete format".to_owned()));
        };
        let value = match name {
            Some(key) => {
                named = true;
                let dict = values
                    .first()
                    .filter(|value| value.kind() == ValueKind::Map);
                let dict =
                    dict.ok_or_else(|| type_error("format requires a mapping".to_owned()))?;
                dict.get_attr(key)?
            }
            None => {
                next += 1;
                let missing = || type_error("not enough arguments for format string".to_owned());
                values.get(next - 1).cloned().ok_or_else(missing)?
            }
        };
        out.push_str(&field(&spec[..end], &spec[end..end + 1], &value)?);
        rest = &spec[end + 1..];
    }
    out.push_str(rest);
    let dict = matches!(values, [one] if one.kind() == ValueKind::Map);
    if !named && next < values.len() && !dict {
        return Err(type_error(
            "not all arguments converted during string formatting".to_owned(),
        ));
    }
    Ok(out)
}

/// One field: its flags, width and precision, and what it converts to.
fn field(flags: &str, conversion: &str, value: &Value) -> Result<String, Error> {
    let numbers = flags
        .split(|c: char| !c.is_ascii_digit())
        .filter(|n| !n.is_empty());
    let too_wide = |n: &str| n.parse::<usize>().map_or(true, |n| n > WIDEST);
    if numbers.into_iter().any(too_wide) {
        return Err(type_error(format!(
            "a field of `%{flags}{conversion}` is too wide"
        )));
    }
    let (value, conversion) = match conversion {
        "s" | "r" | "a" => {
            let shown = match (conversion, value.as_str()) {
                ("s", _) | (_, None) => text(value)?,
                // Quoted as it is within a list.
                _ => {
                    let list = text(&Value::from(vec![value.clone()]))?;
                    list[1..list.len() - 1].to_owned()
                }
            };
            (Value::from(shown), "s")
        }
        "d" | "i" | "u" => match (float(value), value.kind()) {
            (Some(number), _) => (Value::from(number.trunc() as i64), "d"),
            (None, ValueKind::Number | ValueKind::Bool) => (value.clone(), "d"),
            _ => {
                let name = type_name(value);
                return Err(type_error(format!(
                    "%{conversion} format: a real number is required, not {name}"
                )));
            }
        },
        other => (value.clone(), other),
    };
    minijinja::formatting::format(
        FormatStyle::Printf,
        &format!("%{flags}{conversion}"),
        &[value],
    )
}
