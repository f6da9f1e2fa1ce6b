//! Whole rows of a file as JSON objects: lines of .jsonl (also .gz and .zst), rows of .parquet.

use super::archive::{bad, open_text};
use crate::error::{Error, Result};
use crate::files::json::show;
use serde_json::{Map, Value};
use std::io::BufRead;
use std::path::Path;

/// A row: its columns by name.
pub type Object = Map<String, Value>;

/// Longest line that is read, in bytes.
const LONGEST: usize = 64 << 20;

/// All rows of `path`; `most` of them if there are more.
///
/// # Errors
/// [`Error::Io`]; [`Error::File`] with the line for what is no JSON object, or for a file of neither kind.
pub fn read(path: &Path, most: usize) -> Result<Vec<Object>> {
    let name = path.to_string_lossy().to_lowercase();
    let plain = name.strip_suffix(".gz").or(name.strip_suffix(".zst"));
    if name.ends_with(".parquet") {
        return parquet_rows(path, most);
    }
    let plain = plain.unwrap_or(&name);
    if plain.ends_with(".jsonl") || plain.ends_with(".json") {
        return lines(path, most);
    }
    Err(Error::file(
        show(&path.to_string_lossy()),
        "is neither .jsonl nor .parquet",
        "give rows of a task, one JSON object a line",
    ))
}

fn lines(path: &Path, most: usize) -> Result<Vec<Object>> {
    let name = show(&path.to_string_lossy());
    let mut reader = open_text(path)?;
    let mut rows = Vec::new();
    let mut line = Vec::new();
    for number in 1u64.. {
        line.clear();
        let mut limited = std::io::Read::take(&mut reader, LONGEST as u64 + 1);
        let read = limited.read_until(b'\n', &mut line);
        if read.map_err(|e| bad(&name, e))? == 0 || rows.len() == most {
            break;
        }
        let place = || format!("{name}:{number}");
        let hint = "give one JSON object a line";
        if line.len() > LONGEST {
            let what = format!("a line of more than {LONGEST} bytes");
            return Err(Error::file(place(), what, hint));
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let object = serde_json::from_slice::<Object>(&line);
        rows.push(object.map_err(|e| {
            let why = show(&e.to_string().replace(" line 1 column", " column"));
            Error::file(place(), why, hint)
        })?);
    }
    Ok(rows)
}

#[cfg(not(feature = "parquet"))]
fn parquet_rows(path: &Path, _most: usize) -> Result<Vec<Object>> {
    Err(Error::file(
        show(&path.to_string_lossy()),
        "is a Parquet file, which this build cannot read",
        "build with the feature `parquet`, or give JSON lines",
    ))
}

#[cfg(feature = "parquet")]
fn parquet_rows(path: &Path, most: usize) -> Result<Vec<Object>> {
    use crate::files::tokenizer::guarded;
    use parquet::file::reader::{FileReader, SerializedFileReader};
    let name = show(&path.to_string_lossy());
    let file = std::fs::File::open(path).map_err(|e| Error::io(path, e))?;
    let read = || -> parquet::errors::Result<Vec<Object>> {
        let reader = SerializedFileReader::new(file)?;
        let rows = reader.get_row_iter(None)?.take(most);
        rows.map(|row| Ok(object(&row?))).collect()
    };
    let bad = |what: String| Error::file(&name, what, "get the file again, or give JSON lines");
    match guarded(read) {
        Ok(Ok(rows)) => Ok(rows),
        Ok(Err(e)) => Err(bad(show(&e.to_string()))),
        Err(why) => Err(bad(format!("makes the Parquet library panic: {why}"))),
    }
}

#[cfg(feature = "parquet")]
fn object(row: &parquet::record::Row) -> Object {
    let columns = row.get_column_iter();
    columns
        .map(|(name, field)| (name.clone(), value(field)))
        .collect()
}

/// What has no place in a task (dates, decimals, bytes) is null.
#[cfg(feature = "parquet")]
fn value(field: &parquet::record::Field) -> Value {
    use parquet::record::Field;
    match field {
        Field::Bool(v) => (*v).into(),
        Field::Byte(v) => (*v).into(),
        Field::Short(v) => (*v).into(),
        Field::Int(v) => (*v).into(),
        Field::Long(v) => (*v).into(),
        Field::UByte(v) => (*v).into(),
        Field::UShort(v) => (*v).into(),
        Field::UInt(v) => (*v).into(),
        Field::ULong(v) => (*v).into(),
        Field::Float(v) => (*v).into(),
        Field::Double(v) => (*v).into(),
        Field::Str(v) => v.clone().into(),
        Field::Bytes(v) => v.as_utf8().map_or(Value::Null, Into::into),
        Field::Group(row) => Value::Object(object(row)),
        Field::ListInternal(list) => list.elements().iter().map(value).collect(),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(name: &str, content: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(name);
        let mut file = std::fs::File::create(&path).expect("a file");
        file.write_all(content).expect("written");
        (folder, path)
    }

    #[test]
    fn lines_are_objects_and_empty_ones_are_passed_over() {
        let (_folder, path) = file("a.jsonl", b"{\"a\": 1}\n\n{\"a\": [\"x\"]}\r\n{\"a\": 3}");
        let rows = read(&path, 10).expect("rows");
        assert_eq!(rows.len(), 3);
        assert_eq!(rows[1]["a"][0], "x");
        assert_eq!(read(&path, 2).expect("rows").len(), 2);
    }

    #[test]
    fn what_is_no_object_is_told_with_its_line() {
        for bad in ["[1]", "{\"a\": }", "7", "{} {}", "\u{feff}x"] {
            let (_folder, path) = file("a.jsonl", format!("{{}}\n{bad}\n").as_bytes());
            let error = read(&path, 10).expect_err(bad).to_string();
            assert!(error.contains("a.jsonl:2"), "{error}");
        }
        let (_folder, path) = file("a.txt", b"{}\n");
        assert!(read(&path, 1).is_err());
        let (_folder, path) = file("a.parquet", b"PAR1 and nothing else");
        assert!(read(&path, 1).is_err());
    }
}
