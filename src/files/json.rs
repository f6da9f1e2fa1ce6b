//! JSON read strictly: duplicate keys are errors (most parsers silently keep one of them, and two readers of the
//! same file may keep different ones), and hostile strings are made printable.

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;

/// A JSON object whose keys are all different; in file order, so that messages follow the file.
#[derive(Debug)]
pub(super) struct Unique<V>(pub Vec<(String, V)>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Unique<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(UniqueVisitor(PhantomData))
    }
}

struct UniqueVisitor<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for UniqueVisitor<V> {
    type Value = Unique<V>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut seen = Seen::default();
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            seen.insert(&key)?;
            let value = map.next_value()?;
            entries.push((key, value));
        }
        Ok(Unique(entries))
    }
}

/// Keys met so far in one object.
#[derive(Default)]
pub(super) struct Seen(BTreeSet<String>);

impl Seen {
    /// Notes `key`, or refuses it when it was there already.
    pub(super) fn insert<E: serde::de::Error>(&mut self, key: &str) -> Result<(), E> {
        if self.0.insert(key.to_owned()) {
            Ok(())
        } else {
            Err(E::custom(format_args!("duplicate key `{}`", show(key))))
        }
    }
}

/// Any JSON value, duplicate keys rejected at every depth.
#[derive(Debug)]
pub(super) struct Strict(pub serde_json::Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Strict;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Strict, E> {
        Ok(Strict(serde_json::Value::Null))
    }

    fn visit_bool<E>(self, v: bool) -> Result<Strict, E> {
        Ok(Strict(v.into()))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Strict, E> {
        Ok(Strict(v.into()))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Strict, E> {
        Ok(Strict(v.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, v: f64) -> Result<Strict, E> {
        let number = serde_json::Number::from_f64(v);
        number
            .map(|n| Strict(n.into()))
            .ok_or_else(|| E::custom("a number is not finite"))
    }

    fn visit_str<E>(self, v: &str) -> Result<Strict, E> {
        Ok(Strict(v.into()))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Strict, A::Error> {
        let mut all = Vec::new();
        while let Some(Strict(v)) = seq.next_element()? {
            all.push(v);
        }
        Ok(Strict(all.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Strict, A::Error> {
        let mut object = serde_json::Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if object.contains_key(&key) {
                return Err(A::Error::custom(format_args!(
                    "duplicate key `{}`",
                    show(&key)
                )));
            }
            let Strict(value) = map.next_value()?;
            object.insert(key, value);
        }
        Ok(Strict(object.into()))
    }
}

/// `text` from a file, fit for a one-line message: control characters escaped, long ones cut.
pub(crate) fn show(text: &str) -> String {
    const LONGEST: usize = 120;
    let mut shown: String = text
        .chars()
        .take(LONGEST)
        .flat_map(|c| -> Box<dyn Iterator<Item = char>> {
            if c.is_control() {
                Box::new(c.escape_default())
            } else {
                Box::new(std::iter::once(c))
            }
        })
        .collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push_str("...");
    }
    shown
}

/// Where two JSON values differ, each as `field: this, that`; fields that only one has are `null` in the other.
pub(super) fn differences(a: &serde_json::Value, b: &serde_json::Value) -> Vec<String> {
    let mut found = Vec::new();
    differ("", a, b, &mut found);
    found
}

fn differ(at: &str, a: &serde_json::Value, b: &serde_json::Value, found: &mut Vec<String>) {
    if a == b {
        return;
    }
    let (Some(left), Some(right)) = (a.as_object(), b.as_object()) else {
        let (a, b) = (show(&a.to_string()), show(&b.to_string()));
        found.push(format!("{at}: {a}, {b}"));
        return;
    };
    let keys: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
    for key in keys {
        let dot = if at.is_empty() { "" } else { "." };
        let none = serde_json::Value::Null;
        let (a, b) = (
            left.get(key).unwrap_or(&none),
            right.get(key).unwrap_or(&none),
        );
        differ(&format!("{at}{dot}{}", show(key)), a, b, found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_are_found_at_every_depth() {
        for text in [r#"{"a":1,"a":1}"#, r#"{"b":[{"a":1,"c":2,"a":3}]}"#] {
            let error = serde_json::from_str::<Strict>(text).unwrap_err();
            assert!(error.to_string().contains("duplicate key `a`"), "{error}");
        }
        let text = r#"{"a":[1,-2,2.5,null,true,"x"],"b":{"a":{}}}"#;
        let Strict(value) = serde_json::from_str(text).unwrap();
        assert_eq!(
            value,
            serde_json::from_str::<serde_json::Value>(text).unwrap()
        );
        assert!(serde_json::from_str::<Unique<u32>>(r#"{"x":1,"x":1}"#).is_err());
    }

    #[test]
    fn differences_are_named_by_their_path() {
        let a = serde_json::json!({"a": {"b": 1, "c": 2}, "d": [1]});
        let b = serde_json::json!({"a": {"b": 1, "c": 3}, "e": 4});
        assert_eq!(
            differences(&a, &b),
            ["a.c: 2, 3", "d: [1], null", "e: null, 4"]
        );
        assert!(differences(&a, &a).is_empty());
    }

    #[test]
    fn shown_text_is_one_short_line() {
        assert_eq!(show("a\nb"), "a\\nb");
        assert!(show(&"\u{7}".repeat(1000)).len() < 1000);
    }
}
