//! The fields of a JSON object that a client sent, read one by one, so that a refusal names the one that is wrong.
//!
//! A field that is null is absent. Fields that nobody asks for are ignored.

use super::error::{Answered, ApiError};
use super::limits;
use crate::files::show;
use serde_json::{Map, Value};
use std::ops::RangeInclusive;

/// An object, and where it stands in the request.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    object: &'a Map<String, Value>,
    /// `messages[2].`, or nothing for the request itself.
    place: &'a str,
}

/// The object that a body holds.
///
/// # Errors
/// 400 for what is no JSON, no object, or has too many parts.
pub(super) fn parse(body: &[u8]) -> Answered<Map<String, Value>> {
    if parts(body) > limits::PARTS {
        return Err(ApiError::bad(format!(
            "the body has more than {} lists, objects and strings; send less at once",
            limits::PARTS
        )));
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(ApiError::bad("the body is no JSON object; send {...}")),
        Err(error) => Err(ApiError::bad(format!(
            "the body is not understood as JSON: {}",
            show(&error.to_string())
        ))),
    }
}

/// How many lists, objects and strings a JSON text has, each of which takes memory of its own, a multiple of its bytes.
fn parts(body: &[u8]) -> usize {
    let (mut parts, mut within, mut escaped) = (0, false, false);
    for &byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if within => escaped = true,
            b'"' => {
                within = !within;
                parts += usize::from(within);
            }
            b'[' | b'{' if !within => parts += 1,
            _ => {}
        }
    }
    parts
}

/// A value in an error's message: not longer than a line.
pub(super) fn shown(value: &Value) -> String {
    let kind = match value {
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(fields) => format!("an object of {} fields", fields.len()),
        Value::String(text) => format!("\"{}\"", show(text)),
        other => other.to_string(),
    };
    show(&kind)
}

impl<'a> Fields<'a> {
    pub(super) fn new(object: &'a Map<String, Value>) -> Self {
        Self { object, place: "" }
    }

    /// The object `value` at `place`, which ends with a point.
    pub(super) fn inside(value: &'a Value, place: &'a str) -> Answered<Self> {
        match value {
            Value::Object(object) => Ok(Self { object, place }),
            other => {
                let what = format!("is {}; give an object", shown(other));
                Err(ApiError::field(place.trim_end_matches('.'), what))
            }
        }
    }

    /// The value of a field, unless it is absent.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    /// What is wrong with a field.
    pub(super) fn wrong(&self, name: &str, what: impl std::fmt::Display) -> ApiError {
        ApiError::field(format!("{}{name}", self.place), what)
    }

    /// A field whose value must be something else.
    fn other(&self, name: &str, value: &Value, wanted: &str) -> ApiError {
        self.wrong(name, format!("is {}; give {wanted}", shown(value)))
    }

    /// Refuses a field that changes an answer in a way that is not there, unless its value is one that does not.
    pub(super) fn refuse(&self, name: &str, neutral: impl Fn(&Value) -> bool) -> Answered<()> {
        match self.get(name) {
            Some(value) if !neutral(value) => {
                Err(ApiError::unsupported(format!("{}{name}", self.place)))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn boolean(&self, name: &str) -> Answered<Option<bool>> {
        let read = |value: &Value| {
            value
                .as_bool()
                .ok_or_else(|| self.other(name, value, "true or false"))
        };
        self.get(name).map(read).transpose()
    }

    /// A number of this range.
    pub(super) fn number(&self, name: &str, range: RangeInclusive<f64>) -> Answered<Option<f32>> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        match value.as_f64().filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number as f32)),
            None => {
                let wanted = format!("a number from {} to {}", range.start(), range.end());
                Err(self.other(name, value, &wanted))
            }
        }
    }

    /// A whole number of this range, also one written with a point.
    pub(super) fn integer(&self, name: &str, range: RangeInclusive<i64>) -> Answered<Option<i64>> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        match whole(value).filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None if *range.start() == i64::MIN => {
                Err(self.other(name, value, "a whole number of 64 bits"))
            }
            None => {
                let wanted = format!("a whole number from {} to {}", range.start(), range.end());
                Err(self.other(name, value, &wanted))
            }
        }
    }

    /// [`Fields::integer`] from 0 on.
    pub(super) fn count(&self, name: &str, most: usize) -> Answered<Option<usize>> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        Ok(self.integer(name, 0..=most)?.map(|number| number as usize))
    }

    pub(super) fn string(&self, name: &str) -> Answered<Option<&'a str>> {
        let read = |value: &'a Value| {
            value
                .as_str()
                .ok_or_else(|| self.other(name, value, "a string"))
        };
        self.get(name).map(read).transpose()
    }

    pub(super) fn list(&self, name: &str) -> Answered<Option<&'a [Value]>> {
        let read = |value: &'a Value| {
            value
                .as_array()
                .map(Vec::as_slice)
                .ok_or_else(|| self.other(name, value, "a list"))
        };
        self.get(name).map(read).transpose()
    }

    pub(super) fn object(&self, name: &str) -> Answered<Option<&'a Map<String, Value>>> {
        let read = |value: &'a Value| {
            value
                .as_object()
                .ok_or_else(|| self.other(name, value, "an object"))
        };
        self.get(name).map(read).transpose()
    }
}

/// A number without a fraction.
fn whole(value: &Value) -> Option<i64> {
    /// Whole numbers below this are exact in a double.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let float = || {
        value
            .as_f64()
            .filter(|f| f.fract() == 0.0 && f.abs() < EXACT)
    };
    value.as_i64().or_else(|| float().map(|f| f as i64))
}

/// Token ids, each below `vocab`.
pub(super) fn ids(name: &str, values: &[Value], vocab: usize) -> Answered<Vec<u32>> {
    let id = |(index, value): (usize, &Value)| {
        whole(value)
            .and_then(|id| u32::try_from(id).ok())
            .filter(|&id| (id as usize) < vocab)
            .ok_or_else(|| {
                let what = format!("is {}; give a token id below {vocab}", shown(value));
                ApiError::field(format!("{name}[{index}]"), what)
            })
    };
    values.iter().enumerate().map(id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused<T: std::fmt::Debug>(result: Answered<T>) -> String {
        let error = result.expect_err("refused").json();
        assert_eq!(error["error"]["type"], "invalid_request_error");
        error["error"]["message"]
            .as_str()
            .expect("a message")
            .to_owned()
    }

    fn object(value: Value) -> Map<String, Value> {
        parse(value.to_string().as_bytes()).expect("an object")
    }

    #[test]
    fn bodies_that_are_no_objects_are_refused() {
        for body in [
            "",
            "[]",
            "3",
            "{",
            "{\"a\":NaN}",
            "{\"a\":1e999}",
            "{\"a\":\"\\ud800\"}",
            "\u{feff}{}",
        ] {
            refused(parse(body.as_bytes()));
        }
        refused(parse(b"{\"a\":\"\xff\"}"));
        refused(parse("[".repeat(100_000).as_bytes()));
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
        assert!(refused(parse(deep.as_bytes())).contains("recursion limit"));
    }

    #[test]
    fn parts_are_counted_outside_of_strings() {
        assert_eq!(parts(br#"{"a": [1, 2, {"b": "[{\"["}]}"#), 6);
        let lists = |n: usize| format!("{{\"a\": [{}1]}}", "[1],".repeat(n));
        assert!(parse(lists(limits::PARTS - 3).as_bytes()).is_ok());
        assert!(refused(parse(lists(limits::PARTS).as_bytes())).contains("lists"));
        let text = format!("{{\"a\": \"{}\"}}", "[{".repeat(limits::PARTS));
        assert!(parse(text.as_bytes()).is_ok());
    }

    #[test]
    fn values_are_read_or_refused_by_name() {
        let all = object(
            json!({"x": 0.5, "n": 3.0, "s": "t", "b": true, "z": null, "big": 1e300, "l": [1]}),
        );
        let fields = Fields::new(&all);
        assert_eq!(fields.number("x", 0.0..=1.0), Ok(Some(0.5)));
        assert_eq!(fields.integer("n", 0..=9), Ok(Some(3)));
        assert_eq!(fields.string("s"), Ok(Some("t")));
        assert_eq!(fields.boolean("b"), Ok(Some(true)));
        assert_eq!(fields.number("z", 0.0..=1.0), Ok(None));
        assert_eq!(fields.count("absent", 3), Ok(None));
        assert_eq!(
            refused(fields.number("big", 0.0..=2.0)),
            "`big` is 1e+300; give a number from 0 to 2"
        );
        assert!(refused(fields.integer("x", 0..=9)).contains("`x` is 0.5"));
        assert!(refused(fields.integer("big", i64::MIN..=i64::MAX)).contains("64 bits"));
        assert!(refused(fields.string("l")).contains("a list of 1"));
        assert!(refused(fields.boolean("s")).contains("\"t\""));
    }

    #[test]
    fn token_ids_are_in_the_vocabulary() {
        assert_eq!(ids("prompt", &[json!(0), json!(7)], 8), Ok(vec![0, 7]));
        for bad in [
            json!(8),
            json!(-1),
            json!(1.5),
            json!("1"),
            json!(4294967296u64),
            json!(null),
        ] {
            assert!(refused(ids("prompt", &[json!(1), bad], 8)).contains("prompt[1]"));
        }
    }
}
