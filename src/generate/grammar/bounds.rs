//! How large a schema may be. llguidance bounds its own work, but for objects with thousands of properties and for patterns
//! that must all match: their automata grow without bounds.

use serde_json::Value;

/// Longest schema in bytes.
const LONGEST: usize = 1 << 20;
/// Deepest schema; JSON that is parsed has at most 127 levels.
const DEEPEST: usize = 128;
/// Most properties of one object, and of all of them.
const MOST_PROPERTIES: usize = 512;
const MOST_PROPERTIES_IN_ALL: usize = 2048;
/// Most schemas of all `allOf` together, and most patterns of a schema that has any.
const MOST_ALL_OF: usize = 32;
const MOST_PATTERNS: usize = 8;

#[derive(Default)]
struct Counts {
    properties: usize,
    largest: usize,
    all_of: usize,
    patterns: usize,
    bytes: usize,
}

/// Refuses a schema that is too large.
///
/// # Errors
/// What there is too much of.
pub(super) fn check(schema: &Value) -> Result<(), String> {
    let mut counts = Counts::default();
    count(schema, 0, &mut counts)?;
    let too_many = |n: usize, most: usize, what: &str| match n > most {
        true => Err(format!("it has {n} {what}, more than {most}")),
        false => Ok(()),
    };
    if counts.bytes > LONGEST {
        return Err(format!("it is longer than {} kB", LONGEST >> 10));
    }
    too_many(counts.largest, MOST_PROPERTIES, "properties in one object")?;
    too_many(counts.properties, MOST_PROPERTIES_IN_ALL, "properties")?;
    too_many(counts.all_of, MOST_ALL_OF, "schemas in `allOf`")?;
    match counts.all_of {
        0 => Ok(()),
        _ => too_many(counts.patterns, MOST_PATTERNS, "patterns beside `allOf`"),
    }
}

fn count(value: &Value, depth: usize, counts: &mut Counts) -> Result<(), String> {
    if depth > DEEPEST {
        return Err(format!("it is more than {DEEPEST} levels deep"));
    }
    counts.bytes += 4;
    match value {
        Value::String(text) => counts.bytes += text.len(),
        Value::Array(items) => {
            for item in items {
                count(item, depth + 1, counts)?;
            }
        }
        Value::Object(fields) => {
            for (key, item) in fields {
                counts.bytes += key.len();
                match (key.as_str(), item) {
                    ("properties" | "patternProperties", Value::Object(all)) => {
                        counts.largest = counts.largest.max(all.len());
                        counts.properties += all.len();
                        counts.patterns += if key == "properties" { 0 } else { all.len() };
                    }
                    ("allOf", Value::Array(all)) => counts.all_of += all.len(),
                    ("pattern" | "format", Value::String(_)) => counts.patterns += 1,
                    _ => {}
                }
                count(item, depth + 1, counts)?;
            }
        }
        _ => {}
    }
    Ok(())
}
