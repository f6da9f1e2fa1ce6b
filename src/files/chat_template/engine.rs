//! Jinja2 as transformers sets it up for chat templates, by minijinja.

use super::args::{Args, type_error};
use super::bounds::{Limited, store};
use super::clock::Moment;
use super::filters;
use super::rewrite::{BOUNDED, ITERABLE, MODULO, rewrite};
use super::text::type_name;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Object, Rest, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State, Value};
use serde_json::{Map, Value as Json};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Longest template that is read; real ones have up to 100 kB.
const LONGEST_TEMPLATE: usize = 1 << 20;
/// Work that every template may do, in minijinja's fuel: an instruction, or 64 bytes of text. Some compare every message
/// with every other one.
const FUEL: u64 = 2 << 20;
/// Text that every template may write, and fuel and text for each byte of the messages.
const LONGEST_TEXT: usize = 4 << 20;
const FUEL_PER_BYTE: u64 = 16;
const TEXT_PER_BYTE: usize = 8;
/// Steps that loops, macros and statements may be within each other; a macro counts as four.
const RECURSION: usize = 200;
/// Deepest messages; JSON that is parsed has at most 127 levels.
const DEEPEST: usize = 128;

/// The name of a template in minijinja's messages.
const NAME: &str = "chat template";

/// A template that parses.
pub(super) struct Engine {
    env: Environment<'static>,
}

/// What a template says with `raise_exception`.
#[derive(Debug)]
struct Raised(String);

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

impl Engine {
    /// Parses a template.
    ///
    /// # Errors
    /// What is wrong with it, in one line.
    pub(super) fn new(source: &str) -> Result<Self, String> {
        if source.len() > LONGEST_TEMPLATE {
            return Err(format!("is longer than {} kB", LONGEST_TEMPLATE >> 10));
        }
        let mut env = environment();
        let source = rewrite(source)?;
        let added = env.add_template_owned(NAME, source);
        added.map_err(|e| format!("does not parse: {}", line(&e)))?;
        Ok(Self { env })
    }

    /// The text for these variables.
    ///
    /// # Errors
    /// What the template refuses or cannot do.
    pub(super) fn render(
        &self,
        variables: &Map<String, Json>,
        now: Option<Moment>,
    ) -> Result<String, Failure> {
        let bytes = variables
            .iter()
            .map(|(name, value)| name.len() + size(value))
            .sum();
        // Values are dropped where they were made: on a stack that is large enough for the deepest of them.
        with_stack(|| {
            let pair = |(name, json): (&String, &Json)| Some((name.clone(), value(json, 0)?));
            let values: Option<Vec<_>> = variables.iter().map(pair).collect();
            let deep = || {
                Failure::Input(format!(
                    "the messages are nested more than {DEEPEST} levels deep"
                ))
            };
            let values = Value::from_pairs(values.ok_or_else(deep)?);
            self.render_values(values, bytes, now)
                .map_err(|error| match raised(&error) {
                    Some(message) => Failure::Raised(message),
                    None => Failure::Template(line(&error)),
                })
        })
    }

    fn render_values(
        &self,
        variables: Value,
        bytes: usize,
        now: Option<Moment>,
    ) -> Result<String, Error> {
        let mut env = self.env.clone();
        env.set_fuel(Some(FUEL + bytes as u64 * FUEL_PER_BYTE));
        env.add_function("strftime_now", move |format: String| match now {
            Some(now) => Ok(now.format(&format)),
            None => Err(type_error(
                "the template asks for the time, and nobody told it".to_owned(),
            )),
        });
        let mut text = Limited {
            text: Vec::new(),
            most: LONGEST_TEXT + bytes.saturating_mul(TEXT_PER_BYTE),
        };
        let template = env.get_template(NAME)?;
        template.render_captured_to(variables, &mut text)?;
        String::from_utf8(text.text).map_err(|_| type_error("the text is not UTF-8".to_owned()))
    }
}

/// Why there is no text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The template says so with `raise_exception`.
    Raised(String),
    /// The messages cannot be given to any template.
    Input(String),
    /// The template does not work with them.
    Template(String),
}

/// What `raise_exception` was given, if that is what happened.
fn raised(error: &Error) -> Option<String> {
    let mut source: Option<&dyn std::error::Error> = Some(error);
    while let Some(inner) = source {
        if let Some(Raised(message)) = inner.downcast_ref() {
            return Some(message.clone());
        }
        source = inner.source();
    }
    None
}

/// minijinja's words in one line, with the line of the template.
fn line(error: &Error) -> String {
    let at = error
        .line()
        .map(|line| format!(" in line {line}"))
        .unwrap_or_default();
    match error.kind() {
        ErrorKind::OutOfFuel => "it does not come to an end".to_owned(),
        ErrorKind::InvalidOperation | ErrorKind::SyntaxError => {
            format!("{}{at}", error.detail().unwrap_or("it fails"))
        }
        kind => match error.detail() {
            Some(detail) => format!("{kind}: {detail}{at}"),
            None => format!("{kind}{at}"),
        },
    }
}

/// Calls `f` on a thread of its own, with a stack for the deepest values that templates can build.
#[cfg(feature = "threads")]
fn with_stack<T: Send>(f: impl FnOnce() -> Result<T, Failure> + Send) -> Result<T, Failure> {
    const STACK: usize = 64 << 20;
    let failed = |what: &str| Failure::Template(what.to_owned());
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .stack_size(STACK)
            .spawn_scoped(scope, f);
        let thread =
            thread.map_err(|e| failed(&format!("no thread can be started for it: {e}")))?;
        thread
            .join()
            .unwrap_or_else(|_| Err(failed("it makes the template library panic")))
    })
}

#[cfg(not(feature = "threads"))]
fn with_stack<T>(f: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    f()
}

/// Bytes of text in a value of JSON.
fn size(json: &Json) -> usize {
    match json {
        Json::String(text) => text.len(),
        Json::Array(items) => items.iter().map(size).sum::<usize>() + items.len(),
        Json::Object(fields) => fields
            .iter()
            .map(|(key, item)| key.len() + size(item) + 1)
            .sum(),
        _ => 8,
    }
}

/// A value of JSON as templates see it; `None` for one that is nested too deeply.
fn value(json: &Json, depth: usize) -> Option<Value> {
    if depth > DEEPEST {
        return None;
    }
    Some(match json {
        Json::Null => Value::from(()),
        Json::Bool(value) => Value::from(*value),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Value::from(number),
            (None, Some(number)) => Value::from(number),
            (None, None) => Value::from(number.as_f64()?),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => {
            let items = items.iter().map(|item| value(item, depth + 1));
            items.collect::<Option<Vec<_>>>()?.into()
        }
        Json::Object(fields) => {
            let pair = |(key, item): (&String, _)| Some((key.clone(), value(item, depth + 1)?));
            Value::from_pairs(fields.iter().map(pair).collect::<Option<Vec<_>>>()?)
        }
    })
}

fn environment() -> Environment<'static> {
    let mut env = Environment::new();
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true);
    if let Ok(syntax) = syntax.build() {
        env.set_syntax(syntax);
    }
    env.set_recursion_limit(RECURSION);
    env.set_formatter(filters::print);
    env.set_unknown_method_callback(super::methods::method);
    filters::add(&mut env);
    super::checks::add(&mut env);
    env.remove_global("debug");
    env.add_function(
        "raise_exception",
        |message: Value| -> Result<Value, Error> {
            let message = super::text::text(&message)?;
            Err(type_error(message.clone()).with_source(Raised(message)))
        },
    );
    env.add_function(BOUNDED, |state: &State, value: Value| store(state, value));
    env.add_function(ITERABLE, |value: Value| filters::iterable(&value).cloned());
    env.add_function(MODULO, |left: Value, right: Value| modulo(&left, &right));
    env.add_function("joiner", |separator: Option<String>| {
        Value::from_object(Joiner {
            separator: separator.unwrap_or(", ".to_owned()),
            used: AtomicUsize::new(0),
        })
    });
    env.add_function("cycler", |items: Rest<ValueOrKwargs>| {
        let items = items.iter().map(|item| (**item).clone()).collect();
        Value::from_object(Cycler {
            items,
            at: AtomicUsize::new(0),
        })
    });
    env
}

/// Python's `%`: it formats strings and divides numbers.
fn modulo(left: &Value, right: &Value) -> Result<Value, Error> {
    if let Some(pattern) = left.as_str() {
        let values: Vec<Value> = match right.is_tuple() {
            true => right.try_iter()?.collect(),
            false => vec![right.clone()],
        };
        return super::percent::format(pattern, &values).map(Value::from);
    }
    let wrong = || {
        let (left, right) = (type_name(left), type_name(right));
        type_error(format!(
            "unsupported operand type(s) for %: '{left}' and '{right}'"
        ))
    };
    let number = |value: &Value| matches!(value.kind(), ValueKind::Number | ValueKind::Bool);
    if !number(left) || !number(right) {
        return Err(wrong());
    }
    let zero = || type_error("integer modulo by zero".to_owned());
    match (i128::try_from(left.clone()), i128::try_from(right.clone())) {
        (Ok(a), Ok(b))
            if super::text::float(left).is_none() && super::text::float(right).is_none() =>
        {
            let rest = a.checked_rem(b).ok_or_else(zero)?;
            let rest = if rest != 0 && (rest < 0) != (b < 0) {
                rest + b
            } else {
                rest
            };
            Ok(i64::try_from(rest).map_or_else(|_| Value::from(rest), Value::from))
        }
        _ => {
            let (a, b) = (f64::try_from(left.clone())?, f64::try_from(right.clone())?);
            if b == 0.0 {
                return Err(zero());
            }
            let rest = a % b;
            Ok(Value::from(if rest != 0.0 && (rest < 0.0) != (b < 0.0) {
                rest + b
            } else {
                rest
            }))
        }
    }
}

/// Jinja2's `joiner`: nothing the first time, then the separator.
#[derive(Debug)]
struct Joiner {
    separator: String,
    used: AtomicUsize,
}

impl Object for Joiner {
    fn call(self: &Arc<Self>, _: &mut State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
        Args::new("joiner", args)?.bind([], 0)?;
        let first = self.used.swap(1, Ordering::Relaxed) == 0;
        Ok(Value::from(if first { "" } else { &self.separator }))
    }
}

/// Jinja2's `cycler`: one item after the other.
#[derive(Debug)]
struct Cycler {
    items: Vec<Value>,
    at: AtomicUsize,
}

impl Cycler {
    fn current(&self) -> Value {
        let at = self.at.load(Ordering::Relaxed) % self.items.len().max(1);
        self.items.get(at).cloned().unwrap_or_default()
    }
}

impl Object for Cycler {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        (key.as_str() == Some("current")).then(|| self.current())
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        Args::new(method, args)?.bind([], 0)?;
        match method {
            "next" => {
                let current = self.current();
                self.at.fetch_add(1, Ordering::Relaxed);
                Ok(current)
            }
            "reset" => {
                self.at.store(0, Ordering::Relaxed);
                Ok(Value::from(()))
            }
            _ => Err(ErrorKind::UnknownMethod.into()),
        }
    }
}
