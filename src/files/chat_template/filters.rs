//! Filters that differ from minijinja's, or that it does not have.

use super::args::{Args, flag, integer, string, type_error};
use super::bounds::bounded;
use super::strings::{capitalize, strip};
use super::text::{is_space, text, type_name};
use minijinja::value::{Rest, Tuple, ValueKind, ValueOrKwargs};
use minijinja::{AutoEscape, Environment, Error, Output, State, Value};

type Filter = fn(&mut State, &Args) -> Result<Value, Error>;

/// minijinja's own filters under names that no template uses, for those that are built on them.
const OWN: [&str; 5] = [
    "__batch__",
    "__slice__",
    "__groupby__",
    "__sort__",
    "__map__",
];

const FILTERS: [(&str, Filter); 27] = [
    ("tojson", |state, args| super::json::tojson(state, args)),
    ("string", |_, args| Ok(Value::from(text(&only(args)?)?))),
    ("default", |_, args| default(args)),
    ("d", |_, args| default(args)),
    ("trim", |_, args| trim(args)),
    ("title", |_, args| titled(args)),
    ("capitalize", |_, args| {
        Ok(Value::from(capitalize(&text(&only(args)?)?)))
    }),
    ("escape", |_, args| escaped(args)),
    ("e", |_, args| escaped(args)),
    ("forceescape", |_, args| {
        Ok(Value::from_safe_string(escape(&text(&only(args)?)?)))
    }),
    ("list", |_, args| {
        Ok(iterable(&only(args)?)?.try_iter()?.collect())
    }),
    ("join", join),
    ("sort", sort),
    ("batch", |state, args| nested(state, OWN[0], args)),
    ("slice", |state, args| nested(state, OWN[1], args)),
    ("groupby", |state, args| nested(state, OWN[2], args)),
    ("map", |state, args| nested(state, OWN[4], args)),
    ("dictsort", |_, args| dictsort(args)),
    ("int", |_, args| int(args)),
    ("float", |_, args| float(args)),
    ("attr", |_, args| {
        args.bind(["value", "name"], 2).map(|_| Value::UNDEFINED)
    }),
    ("indent", super::layout::indent),
    ("truncate", super::layout::truncate),
    ("wordwrap", super::layout::wordwrap),
    ("wordcount", super::layout::wordcount),
    ("center", super::layout::center),
    ("urlencode", super::layout::urlencode),
];

/// What minijinja has and Jinja2 has not, or what is another thing there.
const REMOVED: [&str; 6] = ["split", "lines", "bool", "chain", "zip", "pprint"];

/// Gives the environment its filters.
pub(super) fn add(env: &mut Environment<'_>) {
    env.add_filter(OWN[0], minijinja::filters::batch);
    env.add_filter(OWN[1], minijinja::filters::slice);
    env.add_filter(OWN[2], minijinja::filters::groupby);
    env.add_filter(OWN[3], minijinja::filters::sort);
    env.add_filter(OWN[4], minijinja::filters::map);
    for (name, filter) in FILTERS {
        env.add_filter(
            name,
            move |state: &mut State, values: Rest<ValueOrKwargs>| {
                let values: Vec<Value> = values.iter().map(|value| (**value).clone()).collect();
                filter(state, &Args::new(name, &values)?)
            },
        );
    }
    for name in REMOVED {
        env.remove_filter(name);
    }
}

/// How values are printed: as Python prints them, escaped where the template asks for it.
pub(super) fn print(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    let escapes = !value.is_safe() && matches!(state.auto_escape(), AutoEscape::Html);
    let written = match (value.as_str(), escapes) {
        (Some(text), false) => out.write_str(text),
        (Some(text), true) => out.write_str(&escape(text)),
        (None, false) => out.write_str(&text(value)?),
        (None, true) => out.write_str(&escape(&text(value)?)),
    };
    written.map_err(Error::from)
}

/// The only argument.
fn only(args: &Args) -> Result<Value, Error> {
    let [value] = args.bind(["value"], 1)?;
    Ok(value.unwrap_or_default())
}

/// Refuses what Python cannot iterate over.
pub(super) fn iterable(value: &Value) -> Result<&Value, Error> {
    match value.kind() {
        ValueKind::None | ValueKind::Bool | ValueKind::Number => Err(type_error(format!(
            "'{}' object is not iterable",
            type_name(value)
        ))),
        _ => Ok(value),
    }
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&#39;"),
            '"' => out.push_str("&#34;"),
            c => out.push(c),
        }
    }
    out
}

fn escaped(args: &Args) -> Result<Value, Error> {
    let value = only(args)?;
    match value.is_safe() {
        true => Ok(value),
        false => Ok(Value::from_safe_string(escape(&text(&value)?))),
    }
}

fn default(args: &Args) -> Result<Value, Error> {
    let [value, default, boolean] = args.bind(["value", "default_value", "boolean"], 1)?;
    let value = value.unwrap_or_default();
    let missing = value.is_undefined() || (flag(&boolean) && !value.is_true());
    Ok(if missing {
        default.unwrap_or(Value::from(""))
    } else {
        value
    })
}

fn trim(args: &Args) -> Result<Value, Error> {
    let [value, chars] = args.bind(["value", "chars"], 1)?;
    let value = text(&value.unwrap_or_default())?;
    let chars: Vec<Value> = chars.into_iter().collect();
    strip(&value, &Args::new("trim", &chars)?, true, true)
}

/// As Jinja2's filter has it, which is not the method: words begin behind space, dashes and opening brackets.
fn titled(args: &Args) -> Result<Value, Error> {
    let value = text(&only(args)?)?;
    let begins = |c: char| is_space(c) || "-({[<".contains(c);
    let words = value.split_inclusive(begins);
    Ok(Value::from(words.map(capitalize).collect::<String>()))
}

fn join(state: &mut State, args: &Args) -> Result<Value, Error> {
    let [value, separator, attribute] = args.bind(["value", "d", "attribute"], 1)?;
    let value = value.unwrap_or_default();
    let separator = separator
        .as_ref()
        .map(text)
        .transpose()?
        .unwrap_or_default();
    let attribute = attribute.filter(|attribute| !attribute.is_none());
    let mut out = String::new();
    for (index, item) in iterable(&value)?.try_iter()?.enumerate() {
        let item = match &attribute {
            Some(attribute) => text(&path(&item, attribute)?)?,
            None => text(&item)?,
        };
        state.consume_fuel(1 + (separator.len() + item.len()) as u64 / 64)?;
        out.push_str(if index > 0 { &separator } else { "" });
        out.push_str(&item);
    }
    Ok(Value::from(out))
}

/// The value at a path of attributes, `a.b.0`.
fn path(value: &Value, attribute: &Value) -> Result<Value, Error> {
    let Some(names) = attribute.as_str() else {
        return value.get_item(attribute);
    };
    names
        .split('.')
        .try_fold(value.clone(), |value, name| match name.parse::<usize>() {
            Ok(index) => value.get_item_by_index(index),
            Err(_) => value.get_attr(name),
        })
}

/// minijinja's filter of this name, whose result is refused where it is nested without bounds.
fn nested(state: &mut State, name: &str, args: &Args) -> Result<Value, Error> {
    if let Some(value) = args.placed().first() {
        iterable(value)?;
    }
    let result = state.apply_filter(name, &args.values())?;
    bounded(state, &result)
}

fn sort(state: &mut State, args: &Args) -> Result<Value, Error> {
    let [value, reverse, case, attribute] =
        args.bind(["value", "reverse", "case_sensitive", "attribute"], 1)?;
    let value = value.unwrap_or_default();
    let keys = attribute
        .as_ref()
        .filter(|attribute| !attribute.is_none())
        .map(text)
        .transpose()?;
    let mut kinds = std::collections::BTreeMap::new();
    for item in iterable(&value)?.try_iter()? {
        for (place, key) in keys
            .as_deref()
            .map_or(vec![None], |keys| keys.split(',').map(Some).collect())
            .into_iter()
            .enumerate()
        {
            let key = key.map_or(Ok(item.clone()), |key| path(&item, &Value::from(key)))?;
            // Numbers and truth values can be compared, and so can values of one type that have an order.
            let name = match type_name(&key) {
                "int" | "float" | "bool" => "int",
                name @ ("str" | "list" | "tuple") => name,
                name => {
                    return Err(type_error(format!(
                        "'<' not supported between instances of '{name}' and '{name}'"
                    )));
                }
            };
            let other = *kinds.entry(place).or_insert(name);
            if other != name {
                return Err(type_error(format!(
                    "'<' not supported between instances of '{name}' and '{other}'"
                )));
            }
        }
    }
    let named = [
        ("reverse", reverse),
        ("case_sensitive", case),
        ("attribute", attribute),
    ];
    let named = named
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let named = minijinja::value::Kwargs::from_iter(named);
    state.apply_filter(OWN[3], &[value, Value::from(named)])
}

fn dictsort(args: &Args) -> Result<Value, Error> {
    let [value, case, by, reverse] = args.bind(["value", "case_sensitive", "by", "reverse"], 1)?;
    let value = value.unwrap_or_default();
    if value.kind() != ValueKind::Map {
        return Err(type_error(format!(
            "'{}' object has no items to sort",
            type_name(&value)
        )));
    }
    let place = match string(&by, "by")?.unwrap_or("key") {
        "key" => 0,
        "value" => 1,
        _ => {
            return Err(type_error(
                "You can only sort by either \"key\" or \"value\"".to_owned(),
            ));
        }
    };
    let folds = !flag(&case);
    let pair = |key: Value| Ok([key.clone(), value.get_item(&key)?]);
    let mut pairs: Vec<[Value; 2]> = value.try_iter()?.map(pair).collect::<Result<_, Error>>()?;
    let folded = |value: &Value| match value.as_str() {
        Some(text) if folds => Value::from(text.to_lowercase()),
        _ => value.clone(),
    };
    pairs.sort_by_cached_key(|pair| folded(&pair[place]));
    if flag(&reverse) {
        pairs.reverse();
    }
    Ok(pairs
        .into_iter()
        .map(|pair| Value::from(Tuple::from(pair)))
        .collect())
}

/// The number that a string or another number is; `None` where it is none.
fn number(value: &Value) -> Result<Option<f64>, Error> {
    match value.kind() {
        ValueKind::Undefined => Err(type_error("an undefined value is no number".to_owned())),
        ValueKind::String => {
            let text = value
                .as_str()
                .unwrap_or_default()
                .trim_matches(is_space)
                .replace('_', "");
            Ok(text.parse().ok())
        }
        ValueKind::Bool => Ok(Some(f64::from(u8::from(value.is_true())))),
        _ => Ok(f64::try_from(value.clone()).ok()),
    }
}

fn int(args: &Args) -> Result<Value, Error> {
    let [value, default, base] = args.bind(["value", "default", "base"], 1)?;
    let value = value.unwrap_or_default();
    let base = integer(&base)?.unwrap_or(10).clamp(2, 36) as u32;
    if let Some(text) = value.as_str() {
        let text = text.trim_matches(is_space).replace('_', "").to_lowercase();
        let prefix = match base {
            2 => "0b",
            8 => "0o",
            16 => "0x",
            _ => "",
        };
        if let Ok(number) = i64::from_str_radix(text.strip_prefix(prefix).unwrap_or(&text), base) {
            return Ok(Value::from(number));
        }
    } else if value.is_integer() {
        return Ok(value);
    }
    let number = number(&value)?.filter(|number| number.is_finite());
    let whole = number.map(|number| number.trunc() as i128);
    Ok(match whole.map(|whole| (i64::try_from(whole), whole)) {
        Some((Ok(whole), _)) => Value::from(whole),
        Some((Err(_), whole)) => Value::from(whole),
        None => default.unwrap_or(Value::from(0)),
    })
}

fn float(args: &Args) -> Result<Value, Error> {
    let [value, default] = args.bind(["value", "default"], 1)?;
    let number = number(&value.unwrap_or_default())?;
    Ok(number
        .map(Value::from)
        .or(default)
        .unwrap_or(Value::from(0.0)))
}
