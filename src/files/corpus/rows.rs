//! One text column of a Parquet file, row by row.

use super::record::Body;
use crate::error::{Error, Result};
use crate::files::json::show;
use crate::files::tokenizer::guarded;
use parquet::basic::Type;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::reader::{FileReader, SerializedFileReader};
use std::collections::VecDeque;
use std::fs::File;
use std::path::Path;

/// Rows decoded together.
const ROWS: usize = 32;

/// The values of a column.
pub(super) struct Rows {
    file: String,
    reader: SerializedFileReader<File>,
    column: usize,
    /// The definition level of rows that have a value; 0 if all must.
    level: i16,
    /// The group of rows to open next.
    group: usize,
    values: Option<ColumnReaderImpl<ByteArrayType>>,
    ready: VecDeque<Option<ByteArray>>,
}

impl Rows {
    /// Opens the column `field`, which must hold one string a row.
    pub(super) fn open(path: &Path, field: &str) -> Result<Self> {
        let name = show(&path.to_string_lossy());
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        let reader = library(&name, || SerializedFileReader::new(file))?;
        let schema = reader.metadata().file_metadata().schema_descr_ptr();
        let paths = schema.columns().iter().map(|c| c.path().string());
        let names: Vec<String> = paths.collect();
        let bad = |what: String| {
            let hint = format!("the columns are: {}", show(&names.join(", ")));
            Err(Error::file(&name, what, hint))
        };
        let Some(column) = names.iter().position(|n| n == field) else {
            return bad(format!("has no column `{}`", show(field)));
        };
        let described = schema.column(column);
        if described.physical_type() != Type::BYTE_ARRAY || described.max_rep_level() > 0 {
            return bad(format!(
                "column `{}` does not hold one text a row",
                show(field)
            ));
        }
        Ok(Self {
            level: described.max_def_level(),
            file: name,
            reader,
            column,
            group: 0,
            values: None,
            ready: VecDeque::new(),
        })
    }

    /// The next row; `None` after the last one.
    pub(super) fn next(&mut self) -> Result<Option<Body>> {
        while self.ready.is_empty() {
            if self.values.is_none() && !self.open_group()? {
                return Ok(None);
            }
            self.fill()?;
        }
        Ok(self.ready.pop_front().map(|value| match value {
            Some(text) => Body::Text(text.data().to_vec()),
            None => Body::Bad("the row has no value".to_owned()),
        }))
    }

    /// Leaves out the first `n` rows.
    pub(super) fn skip(&mut self, mut n: u64) -> Result<()> {
        while n > 0 {
            let Some(rows) = self.rows(self.group) else {
                return Ok(());
            };
            if n >= rows {
                self.group += 1;
                n -= rows;
                continue;
            }
            self.open_group()?;
            if let Some(values) = &mut self.values {
                library(&self.file, || values.skip_records(n as usize))?;
            }
            return Ok(());
        }
        Ok(())
    }

    /// Rows of a group.
    fn rows(&self, group: usize) -> Option<u64> {
        let groups = self.reader.metadata().row_groups();
        groups.get(group).map(|g| g.num_rows().max(0) as u64)
    }

    fn open_group(&mut self) -> Result<bool> {
        if self.group >= self.reader.num_row_groups() {
            return Ok(false);
        }
        let (reader, group, column) = (&self.reader, self.group, self.column);
        let opened = library(&self.file, || {
            reader.get_row_group(group)?.get_column_reader(column)
        })?;
        let ColumnReader::ByteArrayColumnReader(values) = opened else {
            let what = "its groups of rows disagree about a column's type";
            return Err(Error::file(&self.file, what, HINT));
        };
        self.group += 1;
        self.values = Some(values);
        Ok(true)
    }

    fn fill(&mut self) -> Result<()> {
        let Some(values) = &mut self.values else {
            return Ok(());
        };
        let (mut texts, mut levels) = (Vec::new(), Vec::new());
        let (rows, _, _) = library(&self.file, || {
            values.read_records(ROWS, Some(&mut levels), None, &mut texts)
        })?;
        if rows == 0 {
            self.values = None;
            return Ok(());
        }
        let mut texts = texts.into_iter();
        let present = self.level;
        if present > 0 {
            let row = |level: i16| (level == present).then(|| texts.next()).flatten();
            self.ready.extend(levels.into_iter().map(row));
        } else {
            self.ready.extend(texts.map(Some));
        }
        Ok(())
    }
}

const HINT: &str =
    "get the file again, or write it with snappy, gzip, brotli, lz4 or no compression";

/// Calls the library; what it refuses or panics over is an error of the file.
fn library<T>(file: &str, f: impl FnOnce() -> parquet::errors::Result<T>) -> Result<T> {
    match guarded(f) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(e)) => {
            let what = format!("cannot be read: {}", show(&e.to_string()));
            Err(Error::file(file, what, HINT))
        }
        Err(why) => Err(Error::file(
            file,
            format!("makes the library panic: {why}"),
            HINT,
        )),
    }
}
