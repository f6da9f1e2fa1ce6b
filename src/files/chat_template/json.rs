//! `tojson`, as Python's `json.dumps` writes with the settings of transformers.

use super::args::{Args, flag, string, type_error};
use super::text::{DEEPEST, float, type_name, write_float};
use minijinja::value::ValueKind;
use minijinja::{Error, State, Value};

/// How the text is laid out.
struct Layout {
    ascii: bool,
    sort_keys: bool,
    /// Between items, and between a key and its value.
    separators: [String; 2],
    /// Before an item for each level it is nested; `None` keeps all on one line.
    indent: Option<String>,
}

/// The filter: `tojson(ensure_ascii=false, indent=none, separators=none, sort_keys=false)`.
pub(super) fn tojson(state: &State, args: &Args) -> Result<Value, Error> {
    let [value, ascii, indent, separators, sort_keys] = args.bind(
        ["x", "ensure_ascii", "indent", "separators", "sort_keys"],
        1,
    )?;
    let indent = match indent.filter(|indent| !indent.is_none()) {
        None => None,
        Some(indent) => Some(match (indent.as_str(), i64::try_from(indent.clone())) {
            (Some(text), _) => text.to_owned(),
            (None, Ok(width)) => " ".repeat(width.clamp(0, 256) as usize),
            _ => {
                return Err(type_error(format!(
                    "can't multiply sequence by non-int of type '{}'",
                    type_name(&indent)
                )));
            }
        }),
    };
    let separators = match separators.filter(|separators| !separators.is_none()) {
        None => [if indent.is_some() { "," } else { ", " }, ": "].map(str::to_owned),
        Some(both) => {
            let both: Vec<Value> = both.try_iter()?.collect();
            let separator = |at: usize| {
                string(&both.get(at).cloned(), "a separator")
                    .map(|s| s.unwrap_or_default().to_owned())
            };
            if both.len() != 2 {
                return Err(type_error("separators are two strings".to_owned()));
            }
            [separator(0)?, separator(1)?]
        }
    };
    let layout = Layout {
        ascii: flag(&ascii),
        sort_keys: flag(&sort_keys),
        separators,
        indent,
    };
    let mut writer = Writer {
        layout,
        state,
        out: String::new(),
        charged: 0,
    };
    writer.value(&value.unwrap_or_default(), 0)?;
    Ok(Value::from(writer.out))
}

struct Writer<'s, 'a, 'b> {
    layout: Layout,
    state: &'s State<'a, 'b>,
    out: String,
    /// Bytes that were paid for.
    charged: usize,
}

impl Writer<'_, '_, '_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > DEEPEST {
            return Err(type_error("a value is nested too deeply".to_owned()));
        }
        // Shared values can be written more often than they are stored.
        self.state
            .consume_fuel(1 + (self.out.len() - self.charged) as u64 / 4)?;
        self.charged = self.out.len();
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self
                .out
                .push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.number(value),
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Map => return self.map(value, depth),
            ValueKind::Seq | ValueKind::Iterable => return self.sequence(value, depth),
            _ => {
                return Err(type_error(format!(
                    "Object of type {} is not JSON serializable",
                    type_name(value)
                )));
            }
        }
        Ok(())
    }

    fn number(&mut self, value: &Value) {
        match float(value) {
            None => self.out.push_str(&value.to_string()),
            Some(number) if number.is_nan() => self.out.push_str("NaN"),
            Some(number) if number.is_infinite() => self.out.push_str(if number < 0.0 {
                "-Infinity"
            } else {
                "Infinity"
            }),
            Some(number) => write_float(number, &mut self.out),
        }
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\x08' => self.out.push_str("\\b"),
                '\x0c' => self.out.push_str("\\f"),
                c if c < ' ' || (self.layout.ascii && c > '~') => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        self.out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }

    /// Begins the item number `index` of a container.
    fn begin(&mut self, index: usize, depth: usize) {
        if index > 0 {
            self.out.push_str(&self.layout.separators[0]);
        }
        self.line(depth + 1);
    }

    fn line(&mut self, depth: usize) {
        if let Some(indent) = &self.layout.indent {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(indent.as_str(), depth));
        }
    }

    fn sequence(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        self.out.push('[');
        let mut items = 0;
        for (index, item) in value.try_iter()?.enumerate() {
            self.begin(index, depth);
            self.value(&item, depth + 1)?;
            items += 1;
        }
        if items > 0 {
            self.line(depth);
        }
        self.out.push(']');
        Ok(())
    }

    fn map(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        let mut keys: Vec<Value> = value.try_iter()?.collect();
        if self.layout.sort_keys {
            keys.sort();
        }
        self.out.push('{');
        for (index, key) in keys.iter().enumerate() {
            self.begin(index, depth);
            match (key.as_str(), key.kind()) {
                (Some(text), _) => self.string(text),
                (None, ValueKind::None | ValueKind::Bool | ValueKind::Number) => {
                    self.out.push('"');
                    self.value(key, depth + 1)?;
                    self.out.push('"');
                }
                _ => {
                    let name = type_name(key);
                    return Err(type_error(format!(
                        "keys must be str, int, float, bool or None, not {name}"
                    )));
                }
            }
            self.out.push_str(&self.layout.separators[1]);
            self.value(&value.get_item(key)?, depth + 1)?;
        }
        if !keys.is_empty() {
            self.line(depth);
        }
        self.out.push('}');
        Ok(())
    }
}
