//! Methods of Python's strings.

use super::args::{Args, integer, string, type_error};
use super::methods::{has_end, lines, part, split};
use super::text::{is_space, type_name};
use minijinja::formatting::{FormatStyle, format};
use minijinja::value::Tuple;
use minijinja::{Error, ErrorKind, State, Value};

/// Longest string that padding makes.
const WIDEST: i64 = 1 << 20;

pub(super) fn method(state: &State, text: &str, name: &str, args: &Args) -> Result<Value, Error> {
    let plain = |made: &dyn Fn(&str) -> String| {
        args.bind([], 0)?;
        Ok(Value::from(made(text)))
    };
    match name {
        "upper" => plain(&str::to_uppercase),
        "lower" | "casefold" => plain(&str::to_lowercase),
        "title" => plain(&title),
        "capitalize" => plain(&capitalize),
        "swapcase" => plain(&swap_case),
        "strip" => strip(text, args, true, true),
        "lstrip" => strip(text, args, true, false),
        "rstrip" => strip(text, args, false, true),
        "split" => split(text, args, false),
        "rsplit" => split(text, args, true),
        "splitlines" => lines(text, args),
        "partition" | "rpartition" => partition(text, name, args),
        "startswith" => has_end(text, args, true),
        "endswith" => has_end(text, args, false),
        "removeprefix" | "removesuffix" => remove(text, name, args),
        "replace" => replace(state, text, args),
        "join" => join(state, text, args),
        "count" | "find" | "rfind" | "index" | "rindex" => search(text, name, args),
        "ljust" | "rjust" | "center" | "zfill" => pad(text, name, args),
        "expandtabs" => expand_tabs(text, args),
        "format" => format(FormatStyle::StrFormat, text, &args.values()).map(Value::from),
        _ if name.starts_with("is") => is(text, name, args),
        _ => Err(ErrorKind::UnknownMethod.into()),
    }
}

/// Upper case behind everything that has no case, lower case elsewhere.
pub(super) fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        match inside {
            true => out.extend(c.to_lowercase()),
            false => out.extend(c.to_uppercase()),
        }
        inside = c.is_lowercase() || c.is_uppercase();
    }
    out
}

pub(super) fn capitalize(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().into_iter().flat_map(char::to_uppercase);
    first.chain(chars.as_str().to_lowercase().chars()).collect()
}

fn swap_case(text: &str) -> String {
    let swapped = text.chars().map(|c| match c.is_uppercase() {
        true => c.to_lowercase().collect::<String>(),
        false => c.to_uppercase().collect(),
    });
    swapped.collect()
}

/// `text` without the given characters, or white space, at its ends.
pub(super) fn strip(text: &str, args: &Args, start: bool, end: bool) -> Result<Value, Error> {
    let [chars] = args.bind(["chars"], 0)?;
    let chars = string(&chars, "strip arg")?;
    let strips = |c: char| chars.map_or_else(|| is_space(c), |chars| chars.contains(c));
    let text = if start {
        text.trim_start_matches(strips)
    } else {
        text
    };
    Ok(Value::from(if end {
        text.trim_end_matches(strips)
    } else {
        text
    }))
}

fn partition(text: &str, name: &str, args: &Args) -> Result<Value, Error> {
    let [separator] = args.bind(["sep"], 1)?;
    let separator = string(&separator, "sep")?.unwrap_or_default();
    if separator.is_empty() {
        return Err(type_error("empty separator".to_owned()));
    }
    let parts = match (
        name,
        text.split_once(separator),
        text.rsplit_once(separator),
    ) {
        ("partition", Some((before, after)), _) | ("rpartition", _, Some((before, after))) => {
            [before, separator, after]
        }
        ("partition", ..) => [text, "", ""],
        _ => ["", "", text],
    };
    Ok(Value::from(Tuple::from(parts.map(Value::from))))
}

fn remove(text: &str, name: &str, args: &Args) -> Result<Value, Error> {
    let [fix] = args.bind(["prefix"], 1)?;
    let fix = string(&fix, "the argument")?.unwrap_or_default();
    let rest = match name {
        "removeprefix" => text.strip_prefix(fix),
        _ => text.strip_suffix(fix),
    };
    Ok(Value::from(rest.unwrap_or(text)))
}

fn replace(state: &State, text: &str, args: &Args) -> Result<Value, Error> {
    let [old, new, count] = args.bind(["old", "new", "count"], 2)?;
    let (old, new) = (
        string(&old, "old")?.unwrap_or_default(),
        string(&new, "new")?.unwrap_or_default(),
    );
    let most = integer(&count)?
        .and_then(|count| usize::try_from(count).ok())
        .unwrap_or(usize::MAX);
    // The text can grow a lot, so it is paid for before it is there.
    let places = (text.len() / old.len().max(1) + 1).min(most);
    state.consume_fuel((places.saturating_mul(new.len()) / 64) as u64)?;
    Ok(Value::from(text.replacen(old, new, most)))
}

fn join(state: &State, separator: &str, args: &Args) -> Result<Value, Error> {
    let [items] = args.bind(["iterable"], 1)?;
    let mut out = String::new();
    for (index, item) in items.unwrap_or_default().try_iter()?.enumerate() {
        let Some(item) = item.as_str() else {
            let name = type_name(&item);
            return Err(type_error(format!(
                "sequence item {index}: expected str instance, {name} found"
            )));
        };
        state.consume_fuel(1 + (separator.len() + item.len()) as u64 / 64)?;
        out.push_str(if index > 0 { separator } else { "" });
        out.push_str(item);
    }
    Ok(Value::from(out))
}

fn search(text: &str, name: &str, args: &Args) -> Result<Value, Error> {
    let [what, start, end] = args.bind(["sub", "start", "end"], 1)?;
    let what = what.unwrap_or_default();
    let Some(what) = what.as_str() else {
        return Err(type_error(format!("must be str, not {}", type_name(&what))));
    };
    let inside = part(text, integer(&start)?, integer(&end)?);
    if name == "count" {
        return Ok(Value::from(
            inside.map_or(0, |inside| inside.matches(what).count()),
        ));
    }
    let found = inside.and_then(|inside| {
        let at = if name.starts_with('r') {
            inside.rfind(what)
        } else {
            inside.find(what)
        };
        let before = inside.as_ptr() as usize - text.as_ptr() as usize;
        at.map(|at| text[..before + at].chars().count() as i64)
    });
    match found {
        None if name.ends_with("index") => Err(type_error("substring not found".to_owned())),
        found => Ok(Value::from(found.unwrap_or(-1))),
    }
}

fn pad(text: &str, name: &str, args: &Args) -> Result<Value, Error> {
    let [width, fill] = args.bind(["width", "fillchar"], 1)?;
    let fill = match name {
        "zfill" => "0",
        _ => string(&fill, "the fill character")?.unwrap_or(" "),
    };
    if fill.chars().count() != 1 {
        return Err(type_error(
            "The fill character must be exactly one character long".to_owned(),
        ));
    }
    let width = integer(&width)?.unwrap_or(0);
    if width > WIDEST {
        return Err(type_error(format!("a width of {width} is too large")));
    }
    let missing = usize::try_from(width - text.chars().count() as i64).unwrap_or(0);
    let fills = |n: usize| fill.repeat(n);
    Ok(Value::from(match name {
        "ljust" => format!("{text}{}", fills(missing)),
        "rjust" => format!("{}{text}", fills(missing)),
        "center" => {
            // As Python does: the odd one goes to the left where the width is odd.
            let left = missing / 2 + (missing & width as usize & 1);
            format!("{}{text}{}", fills(left), fills(missing - left))
        }
        _ => {
            let (sign, digits) = text.split_at(usize::from(text.starts_with(['+', '-'])));
            format!("{sign}{}{digits}", fills(missing))
        }
    }))
}

fn expand_tabs(text: &str, args: &Args) -> Result<Value, Error> {
    let [size] = args.bind(["tabsize"], 0)?;
    let size = integer(&size)?.unwrap_or(8).clamp(0, 64) as usize;
    let (mut out, mut column) = (String::with_capacity(text.len()), 0);
    for c in text.chars() {
        if c == '\t' {
            let spaces = if size == 0 { 0 } else { size - column % size };
            out.extend(std::iter::repeat_n(' ', spaces));
            column += spaces;
        } else {
            out.push(c);
            column = if matches!(c, '\n' | '\r') {
                0
            } else {
                column + 1
            };
        }
    }
    Ok(Value::from(out))
}

/// Zeros of the scripts whose digits count as decimal, beside ASCII's.
const ZEROS: [u32; 20] = [
    0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xe50,
    0xed0, 0xf20, 0x1040, 0x17e0, 0x1810, 0xa620, 0xff10,
];

fn is_decimal(c: char) -> bool {
    let within = |zero: &u32| (*zero..zero + 10).contains(&u32::from(c));
    c.is_ascii_digit() || ZEROS.iter().any(within)
}

/// The questions that strings answer about all of their characters.
fn is(text: &str, name: &str, args: &Args) -> Result<Value, Error> {
    args.bind([], 0)?;
    let all = |test: &dyn Fn(char) -> bool| !text.is_empty() && text.chars().all(test);
    let cased = |wanted: &dyn Fn(char) -> bool, other: &dyn Fn(char) -> bool| {
        text.chars().any(wanted) && !text.chars().any(other)
    };
    let raised = |c: char| matches!(c, '²' | '³' | '¹' | '⁰' | '⁴'..='⁹' | '₀'..='₉' | '①'..='⑨');
    let word = |c: char| c.is_alphanumeric() || c == '_';
    Ok(Value::from(match name {
        "isspace" => all(&is_space),
        "isascii" => text.is_ascii(),
        "isalpha" => all(&char::is_alphabetic),
        "isalnum" => all(&char::is_alphanumeric),
        "isnumeric" => all(&char::is_numeric),
        "isdecimal" => all(&is_decimal),
        "isdigit" => all(&|c| is_decimal(c) || raised(c)),
        "islower" => cased(&char::is_lowercase, &char::is_uppercase),
        "isupper" => cased(&char::is_uppercase, &char::is_lowercase),
        "istitle" => {
            text.chars().any(|c| c.is_uppercase() || c.is_lowercase()) && title(text) == text
        }
        "isprintable" => !text.chars().any(|c| c.is_control()),
        "isidentifier" => all(&word) && !text.starts_with(char::is_numeric),
        _ => return Err(ErrorKind::UnknownMethod.into()),
    }))
}
