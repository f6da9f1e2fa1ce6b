//! Writing a GGUF file whose tensors arrive one by one: metadata and the list of tensors are known before, so that memory
//! holds one tensor at a time.

use super::types::BlockType;
use super::value::Value;
use super::{MAGIC, parse};
use crate::error::{Error, Result};
use crate::files::inputs::Inputs;
use crate::files::json::show;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The version that is written.
const VERSION: u32 = 3;
/// The key by which this program knows its own files again.
const AUTHOR: &str = "general.converted_by";
/// What stands there.
const OURS: &str = "fairy2i-gpu";

/// What a file is going to hold.
pub struct Outline {
    alignment: u64,
    keys: Vec<u8>,
    count: u64,
    tensors: Vec<(String, Vec<usize>, BlockType)>,
}

impl Outline {
    /// A file of an architecture whose tensors begin at multiples of `alignment`.
    pub fn new(architecture: &str, alignment: u32) -> Self {
        let mut outline = Self {
            alignment: alignment.into(),
            keys: Vec::new(),
            count: 0,
            tensors: Vec::new(),
        };
        outline.text("general.architecture", architecture);
        outline.text(AUTHOR, OURS);
        outline.unsigned("general.alignment", alignment);
        outline
    }

    /// A key whose type has the number `kind`.
    fn key(&mut self, name: &str, kind: u32, value: &[u8]) {
        self.keys.extend(text(name));
        self.keys.extend(kind.to_le_bytes());
        self.keys.extend(value);
        self.count += 1;
    }

    /// A list of values whose type has the number `kind`.
    fn list(&mut self, name: &str, kind: u32, values: Vec<Vec<u8>>) {
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend((values.len() as u64).to_le_bytes());
        bytes.extend(values.concat());
        self.key(name, 9, &bytes);
    }

    /// An integer.
    pub fn unsigned(&mut self, name: &str, value: u32) {
        self.key(name, 4, &value.to_le_bytes());
    }

    /// A 32-bit float.
    pub fn float(&mut self, name: &str, value: f32) {
        self.key(name, 6, &value.to_le_bytes());
    }

    /// A switch.
    pub fn switch(&mut self, name: &str, on: bool) {
        self.key(name, 7, &[u8::from(on)]);
    }

    /// A text.
    pub fn text(&mut self, name: &str, value: &str) {
        self.key(name, 8, &text(value));
    }

    /// A list of texts.
    pub fn texts<'t>(&mut self, name: &str, values: impl Iterator<Item = &'t str>) {
        self.list(name, 8, values.map(text).collect());
    }

    /// A list of 32-bit floats.
    pub fn floats(&mut self, name: &str, values: impl Iterator<Item = f32>) {
        self.list(name, 6, values.map(|x| x.to_le_bytes().to_vec()).collect());
    }

    /// A list of integers.
    pub fn integers(&mut self, name: &str, values: impl Iterator<Item = i32>) {
        self.list(name, 5, values.map(|x| x.to_le_bytes().to_vec()).collect());
    }

    /// A tensor of this shape, outermost dimension first.
    pub fn tensor(&mut self, name: &str, shape: &[usize], kind: BlockType) {
        self.tensors.push((name.to_owned(), shape.to_vec(), kind));
    }

    /// The bytes before the tensors, and where each of them begins and how long it is.
    fn layout(&self) -> (Vec<u8>, BTreeMap<String, (u64, u64)>) {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend(self.count.to_le_bytes());
        bytes.extend(&self.keys);
        let (mut offset, mut places) = (0u64, BTreeMap::new());
        for (name, shape, kind) in &self.tensors {
            bytes.extend(text(name));
            bytes.extend((shape.len() as u32).to_le_bytes());
            let dimensions = shape.iter().rev();
            bytes.extend(dimensions.flat_map(|d| (*d as u64).to_le_bytes()));
            bytes.extend(kind.id.to_le_bytes());
            bytes.extend(offset.to_le_bytes());
            let elements: u64 = shape.iter().map(|d| *d as u64).product();
            let length = elements / kind.elements * kind.bytes;
            places.insert(name.clone(), (offset, length));
            offset = (offset + length).next_multiple_of(self.alignment);
        }
        let start = (bytes.len() as u64).next_multiple_of(self.alignment);
        bytes.resize(start as usize, 0);
        for (offset, _) in places.values_mut() {
            *offset += start;
        }
        (bytes, places)
    }

    /// Starts the file `out`. Nothing is there before [`Writer::finish`].
    ///
    /// # Errors
    /// [`Error::Usage`] where `out` is read or lies in what is read, [`Error::Occupied`] where something is there that may
    /// not be replaced, [`Error::Io`].
    pub fn create(self, out: &Path, inputs: &Inputs, replace: bool) -> Result<Writer> {
        inputs.keep_off(out)?;
        vacant(out, replace)?;
        let mut name = out.file_name().unwrap_or_default().to_owned();
        name.push(".fairy2i-tmp");
        let tmp = out.with_file_name(name);
        let (header, places) = self.layout();
        let created = File::create(&tmp).and_then(|mut file| {
            file.write_all(&header)?;
            Ok(file)
        });
        let file = created.map_err(|e| Error::io(&tmp, e))?;
        let end = places.values().map(|(at, length)| at + length).max();
        let end = end.unwrap_or(header.len() as u64);
        file.set_len(end).map_err(|e| Error::io(&tmp, e))?;
        Ok(Writer {
            out: out.to_owned(),
            tmp,
            file: Some(file),
            places,
        })
    }
}

/// Refuses a place where something is that may not be replaced: only files of this program may, if the caller says so.
fn vacant(out: &Path, replace: bool) -> Result<()> {
    if std::fs::symlink_metadata(out).is_err() {
        return Ok(());
    }
    let ours = is_ours(out);
    match ours && replace {
        true => Ok(()),
        false => Err(Error::Occupied {
            path: show(&out.display().to_string()),
            what: "is there already".to_owned(),
            replaceable: ours,
        }),
    }
}

/// Whether a file says that this program wrote it.
fn is_ours(path: &Path) -> bool {
    let source = crate::files::Source::at(path).ok();
    let bytes = source.and_then(|source| source.open(path.file_name()?.to_str()?).ok());
    bytes.is_some_and(|bytes| {
        let file = parse("", &bytes);
        let author = file
            .ok()
            .and_then(|file| file.metadata.get(AUTHOR).copied());
        author.and_then(Value::text) == Some(OURS)
    })
}

/// A text: its length and its bytes.
fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

/// A file being written. Dropped before [`Writer::finish`], it leaves nothing behind.
pub struct Writer {
    out: PathBuf,
    tmp: PathBuf,
    file: Option<File>,
    /// Tensors that are still to come.
    places: BTreeMap<String, (u64, u64)>,
}

impl Writer {
    /// Writes the blocks of a tensor; they may come in any order.
    ///
    /// # Errors
    /// [`Error::Usage`] for a tensor that was not announced or is of another size, [`Error::Io`].
    pub fn put(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let wrong = |what: &str| {
            let what = format!("tensor `{}` {what}", show(name));
            Error::usage(what, "please report this as a bug")
        };
        let place = self.places.remove(name);
        let (offset, length) = place.ok_or_else(|| wrong("was not planned"))?;
        if length != bytes.len() as u64 {
            return Err(wrong("has another size than was planned"));
        }
        let Some(file) = &mut self.file else {
            return Err(wrong("comes too late"));
        };
        let written = file
            .seek(SeekFrom::Start(offset))
            .and_then(|_| file.write_all(bytes));
        written.map_err(|e| Error::io(&self.tmp, e))
    }

    /// Puts the file in its place.
    ///
    /// # Errors
    /// [`Error::Usage`] when a tensor is missing, [`Error::Io`].
    pub fn finish(mut self) -> Result<()> {
        if let Some(name) = self.places.keys().next() {
            let what = format!("tensor `{}` was never written", show(name));
            return Err(Error::usage(what, "please report this as a bug"));
        }
        let file = self.file.take();
        let synced = file.map_or(Ok(()), |file| file.sync_all());
        synced.map_err(|e| Error::io(&self.tmp, e))?;
        std::fs::rename(&self.tmp, &self.out).map_err(|e| Error::io(&self.out, e))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.file.take());
        // After a success the name is gone already.
        let _ = std::fs::remove_file(&self.tmp);
    }
}
