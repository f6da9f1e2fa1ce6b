//! Jinja2's tests (`x is sequence`) that differ from minijinja's, or that it does not have.

use minijinja::value::ValueKind;
use minijinja::{Environment, Value};

/// Gives the environment its tests.
pub(super) fn add(env: &mut Environment<'_>) {
    env.add_test("callable", |value: Value| {
        matches!(value.kind(), ValueKind::Plain | ValueKind::Undefined)
    });
    // What has a length and can be indexed. Dicts, strings and undefined values count.
    env.add_test("sequence", |value: Value| {
        let kinds = [
            ValueKind::Undefined,
            ValueKind::String,
            ValueKind::Map,
            ValueKind::Seq,
            ValueKind::Iterable,
        ];
        kinds.contains(&value.kind())
    });
    env.add_test("iterable", |value: Value| {
        let kinds = [
            ValueKind::Undefined,
            ValueKind::String,
            ValueKind::Map,
            ValueKind::Seq,
            ValueKind::Iterable,
        ];
        kinds.contains(&value.kind())
    });
}
