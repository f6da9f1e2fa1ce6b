//! Results as a table, CSV or JSON.

use crate::cli::out;
use crate::error::{Error, Result};
use clap::ValueEnum;
use serde::Serialize;
use serde_json::{Map, Value};

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// A Markdown table
    Md,
    /// Comma-separated values with a header
    Csv,
    /// One JSON list
    Json,
    /// One JSON object a line
    Jsonl,
}

/// Prints `rows`; the table shows only `columns`, the other formats everything (CSV those columns first).
pub(super) fn print<T: Serialize>(rows: &[T], format: Format, columns: &[&str]) -> Result<()> {
    if format == Format::Json {
        return out::json(&rows);
    }
    let objects = rows.iter().map(object).collect::<Result<Vec<_>>>()?;
    let text = match format {
        Format::Csv => csv(&objects, columns)?,
        Format::Md => markdown(&objects, columns),
        Format::Json | Format::Jsonl => rows.iter().map(line).collect::<Result<String>>()?,
    };
    out::print(&text)
}

fn line<T: Serialize>(row: &T) -> Result<String> {
    let text = serde_json::to_string(row);
    let text = text.map_err(|error| Error::io("results", std::io::Error::other(error)))?;
    Ok(text + "\n")
}

fn object<T: Serialize>(row: &T) -> Result<Map<String, Value>> {
    match serde_json::to_value(row) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(Error::usage("a result is not an object", "report this")),
        Err(error) => Err(Error::io("results", std::io::Error::other(error))),
    }
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(n)) if n.is_f64() => short(n.as_f64().unwrap_or(0.0)),
        Some(other) => other.to_string(),
    }
}

/// Four significant digits.
fn short(value: f64) -> String {
    match value.abs() {
        a if a == 0.0 || (1e3..1e6).contains(&a) => format!("{value:.0}"),
        a if (1e2..1e3).contains(&a) => format!("{value:.1}"),
        a if (1e1..1e2).contains(&a) => format!("{value:.2}"),
        a if (1e-2..1e1).contains(&a) => format!("{value:.3}"),
        _ => format!("{value:.3e}"),
    }
}

fn markdown(objects: &[Map<String, Value>], columns: &[&str]) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut text = line(columns.iter().map(|c| c.replace('_', " ")).collect());
    text += &format!("|{}\n", "---|".repeat(columns.len()));
    for object in objects {
        let cells = columns.iter().map(|c| cell(object.get(*c)));
        text += &line(cells.map(|c| c.replace('|', "\\|")).collect());
    }
    text
}

fn csv(objects: &[Map<String, Value>], columns: &[&str]) -> Result<String> {
    let mut keys = columns.to_vec();
    let all = objects.first().into_iter().flat_map(Map::keys);
    keys.extend(all.map(String::as_str).filter(|k| !columns.contains(k)));
    let failed = |error: csv::Error| Error::io("results", std::io::Error::other(error));
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(&keys).map_err(failed)?;
    for object in objects {
        let cells = keys.iter().map(|key| match object.get(*key) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => String::new(),
            Some(other) => other.to_string(),
        });
        writer.write_record(cells).map_err(failed)?;
    }
    let bytes = writer
        .into_inner()
        .map_err(|e| Error::io("results", e.into_error()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Row {
        name: &'static str,
        value: f64,
    }

    #[test]
    fn formats() {
        let rows = [Row {
            name: "a, \"b\"|c",
            value: 1234.5,
        }];
        let objects: Vec<_> = rows.iter().map(|r| object(r).expect("an object")).collect();
        let text = csv(&objects, &["value"]).expect("text");
        assert_eq!(text, "value,name\n1234.5,\"a, \"\"b\"\"|c\"\n");
        let table = markdown(&objects, &["name", "value"]);
        assert_eq!(
            table,
            "| name | value |\n|---|---|\n| a, \"b\"\\|c | 1234 |\n"
        );
    }
}
