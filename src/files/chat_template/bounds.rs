//! What a template may take: it comes with a model, and nobody has read it.
//!
//! Work and memory are bounded by minijinja's fuel, the text by its writer. What is left are values that are nested so
//! deeply that walking over them, or dropping them, would use up the stack: they are refused where a template could
//! build them step by step.

use super::args::type_error;
use minijinja::value::{Tuple, ValueKind};
use minijinja::{Error, State, Value};
use std::fmt;

/// Deepest value that a template may store. Messages and the schemas of tools come nowhere near.
const DEEPEST: usize = 160;

/// `value` itself, or a list for one that is computed anew each time somebody looks.
///
/// # Errors
/// A value that is nested too deeply; the end of the fuel.
pub(super) fn bounded(state: &State, value: &Value) -> Result<Value, Error> {
    let value = match value.kind() {
        ValueKind::Iterable if !value.is_tuple() => value.try_iter()?.collect(),
        _ => value.clone(),
    };
    measure(state, &value, 0)?;
    Ok(value)
}

fn measure(state: &State, value: &Value, depth: usize) -> Result<(), Error> {
    let kind = value.kind();
    if !matches!(kind, ValueKind::Map | ValueKind::Seq | ValueKind::Iterable) {
        return Ok(());
    }
    if depth > DEEPEST {
        return Err(type_error(format!(
            "a value is nested more than {DEEPEST} levels deep"
        )));
    }
    for item in value.try_iter()? {
        state.consume_fuel(1)?;
        match kind {
            ValueKind::Map => measure(state, &value.get_item(&item)?, depth + 1)?,
            _ => measure(state, &item, depth + 1)?,
        }
    }
    Ok(())
}

/// The function that the right side of a `{% set %}` goes through.
pub(super) fn store(state: &State, value: Value) -> Result<Value, Error> {
    match value.is_tuple() {
        // Each of several names gets its own value.
        true => {
            let items = value.try_iter()?.map(|item| bounded(state, &item));
            Ok(Value::from(Tuple::from(
                items.collect::<Result<Vec<_>, _>>()?,
            )))
        }
        false => bounded(state, &value),
    }
}

/// A text that grows to so many bytes and no further.
pub(super) struct Limited {
    pub text: Vec<u8>,
    pub most: usize,
}

impl std::io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.text.len() + bytes.len() > self.most {
            return Err(std::io::Error::other(TooLong));
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Why a text ended.
#[derive(Debug)]
struct TooLong;

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the text becomes too long")
    }
}

impl std::error::Error for TooLong {}
