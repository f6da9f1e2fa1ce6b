//! Writing a GGUF file whose tensors arrive one by one: metadata and the list of tensors are known before, so that memory
//! holds one tensor at a time.

use super::MAGIC;
use super::types::BlockType;
use crate::error::{Error, Result};
use crate::files::inputs::Inputs;
use crate::files::json::show;
use crate::files::marker::fingerprint_without;
use crate::files::staged_file::{Place, StagedFile};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

/// The version that is written.
const VERSION: u32 = 3;
/// The key by which this program knows its own files again.
const AUTHOR: &str = "general.converted_by";
/// What stands there.
const OURS: &str = "fairy2i-gpu";
/// The key of the file's fingerprint, by which this program knows that nobody has changed it since. It is that of
/// `.fairy2i-gpu.json`, with zeros in its own place.
const FINGERPRINT: &str = "fairy2i_gpu.fingerprint";
/// Bytes of the fingerprint, with blanks behind it.
const FINGERPRINT_BYTES: usize = 96;
/// Both keys stand among the first bytes of a file.
const BEGINNING: u64 = 1024;
/// The number of the type of texts.
const TEXT: u32 = 8;

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
        outline.text(FINGERPRINT, &" ".repeat(FINGERPRINT_BYTES));
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
        self.key(name, TEXT, &text(value));
    }

    /// A list of texts.
    pub fn texts<'t>(&mut self, name: &str, values: impl Iterator<Item = &'t str>) {
        self.list(name, TEXT, values.map(text).collect());
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
    /// [`Error::Usage`] where `out` is read or lies in what is read, and when another process writes it;
    /// [`Error::Occupied`] where something is there that may not be replaced, [`Error::Io`].
    pub fn create(self, out: &Path, inputs: &Inputs, replace: bool) -> Result<Writer> {
        let mut staged = StagedFile::begin(&place(out, inputs, replace))?;
        let (header, places) = self.layout();
        let end = places.values().map(|(at, length)| at + length).max();
        let end = end.unwrap_or(header.len() as u64);
        let file = staged.file();
        let written = file.write_all(&header).and_then(|()| file.set_len(end));
        written.map_err(|e| staged.failed(e))?;
        Ok(Writer { staged, places })
    }
}

/// Refuses at once what [`Outline::create`] would refuse, and makes nothing.
///
/// # Errors
/// Those of [`Outline::create`].
pub fn check_place(out: &Path, inputs: &Inputs, replace: bool) -> Result<()> {
    place(out, inputs, replace).check()
}

fn place<'a>(out: &'a Path, inputs: &'a Inputs, replace: bool) -> Place<'a> {
    Place {
        out,
        replace,
        ours: is_ours,
        begun: is_begun,
        inputs,
    }
}

/// Where the value of a key that is a text of `length` bytes begins among the first bytes of a file, if it is there.
fn find(beginning: &[u8], key: &str, length: usize) -> Option<usize> {
    let before = [
        &text(key)[..],
        &TEXT.to_le_bytes(),
        &(length as u64).to_le_bytes(),
    ]
    .concat();
    let found = beginning
        .windows(before.len())
        .position(|part| part == before)?;
    Some(found + before.len())
}

/// The first bytes of a file that this program wrote or began to write; `None` for others.
fn beginning(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path).ok()?;
    file.take(BEGINNING).read_to_end(&mut bytes).ok()?;
    let author = find(&bytes, AUTHOR, OURS.len())?;
    let ours = bytes.starts_with(MAGIC) && bytes.get(author..)?.starts_with(OURS.as_bytes());
    ours.then_some(bytes)
}

/// Whether a process began to write a file; it may have been killed before it wrote the rest.
fn is_begun(path: &Path) -> bool {
    beginning(path).is_some()
}

/// Whether this program wrote a file that nobody has changed since.
fn is_ours(path: &Path) -> bool {
    let stated = || {
        let bytes = beginning(path)?;
        let at = find(&bytes, FINGERPRINT, FINGERPRINT_BYTES)?;
        let value = bytes.get(at..at + FINGERPRINT_BYTES)?;
        let blank = at as u64..(at + FINGERPRINT_BYTES) as u64;
        let found = fingerprint_without(path, blank).ok()?;
        Some(value.trim_ascii_end() == found.as_bytes())
    };
    stated() == Some(true)
}

/// A text: its length and its bytes.
fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

/// A file being written. Dropped before [`Writer::finish`], it leaves nothing behind.
pub struct Writer {
    staged: StagedFile,
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
        let file = self.staged.file();
        let written = file
            .seek(SeekFrom::Start(offset))
            .and_then(|_| file.write_all(bytes));
        written.map_err(|e| self.staged.failed(e))
    }

    /// Puts the file in its place.
    ///
    /// # Errors
    /// [`Error::Usage`] when a tensor is missing, [`Error::Occupied`] when something came to be there meanwhile,
    /// [`Error::Io`].
    pub fn finish(mut self) -> Result<()> {
        if let Some(name) = self.places.keys().next() {
            let what = format!("tensor `{}` was never written", show(name));
            return Err(Error::usage(what, "please report this as a bug"));
        }
        let signed = self.sign();
        signed.map_err(|e| self.staged.failed(e))?;
        self.staged.commit()
    }

    /// Writes the fingerprint into its place.
    fn sign(&mut self) -> std::io::Result<()> {
        let path = self.staged.path();
        let at = beginning(path).and_then(|bytes| find(&bytes, FINGERPRINT, FINGERPRINT_BYTES));
        let at = at.ok_or(std::io::ErrorKind::InvalidData)? as u64;
        let print = fingerprint_without(path, at..at + FINGERPRINT_BYTES as u64)?;
        let file = self.staged.file();
        file.seek(SeekFrom::Start(at))?;
        file.write_all(print.as_bytes())
    }
}
