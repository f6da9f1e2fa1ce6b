//! Reading a checkpoint.

use super::{MANIFEST, Manifest, Part, STATE};
use crate::error::{Error, Result};
use crate::files::checkpoint::Spec;
use crate::files::digest::hash;
use crate::files::json::show;
use crate::files::safetensors::{self, Entry};
use crate::files::{Bytes, Source};
use crate::model::Dtype;
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

/// Longest JSON file that is read.
const LONGEST: usize = 16 << 20;

/// A checkpoint that is whole.
pub struct Saved {
    step: u64,
    source: Source,
    files: BTreeMap<String, Bytes>,
}

impl Saved {
    /// Opens a folder and compares every hash.
    pub(super) fn open(path: &Path, step: u64) -> Result<Self> {
        Self::read(path, step, true)
    }

    /// Opens a folder whose hashes were compared by another process.
    pub(super) fn known_whole(path: &Path, step: u64) -> Result<Self> {
        Self::read(path, step, false)
    }

    fn read(path: &Path, step: u64, compare: bool) -> Result<Self> {
        let source = Source::folder(path)?;
        let bad = |file: &str, what: &str| {
            Error::file(source.place(file), what, "this checkpoint is damaged")
        };
        let bytes = source.read(MANIFEST, LONGEST)?;
        let manifest: Manifest =
            serde_json::from_slice(&bytes).map_err(|e| bad(MANIFEST, &show(&e.to_string())))?;
        let mut files = BTreeMap::new();
        for (name, sealed) in manifest.files {
            let bytes = source.open(&name)?;
            if bytes.len() as u64 != sealed.bytes {
                return Err(bad(
                    &name,
                    &format!("has {} bytes, not {}", bytes.len(), sealed.bytes),
                ));
            }
            if compare && hash(&bytes) != sealed.sha256 {
                return Err(bad(&name, "is not what the manifest says"));
            }
            files.insert(name, bytes);
        }
        Ok(Self {
            step,
            source,
            files,
        })
    }

    /// Its step.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// The folder, for messages.
    pub fn name(&self) -> &str {
        self.source.name()
    }

    /// The state.
    ///
    /// # Errors
    /// [`Error::File`] when it has other fields: another version wrote it.
    pub fn state<T: DeserializeOwned>(&self) -> Result<T> {
        let bytes = self.file(STATE)?;
        serde_json::from_slice(bytes).map_err(|e| {
            let hint = "resume with the version that saved it";
            Error::file(self.source.place(STATE), show(&e.to_string()), hint)
        })
    }

    /// A file as it was given to [`super::Saving::write`].
    pub fn file(&self, name: &str) -> Result<&[u8]> {
        let missing = || {
            Error::file(
                self.source.place(name),
                "is not there",
                "this checkpoint is of another kind",
            )
        };
        self.files.get(name).map(|b| &**b).ok_or_else(missing)
    }

    /// Gives `take` the words of every tensor that a trainer of such `layouts` keeps, with its part and its number.
    /// [`super::Saving::trained`] writes them, in however many pieces.
    ///
    /// # Errors
    /// As [`Saved::tensors`] and [`Tensors::words`], and those of `take`.
    pub fn trained(
        &self,
        layouts: &[Vec<Spec>; Part::ALL.len()],
        mut take: impl FnMut(Part, usize, &[u32]) -> Result<()>,
    ) -> Result<()> {
        for (part, layouts) in Part::ALL.into_iter().zip(layouts) {
            let mut tensors = Tensors::default();
            for name in self.files.keys().filter(|name| part.is_file(name)) {
                tensors.add(self.source.place(name), self.file(name)?)?;
            }
            if tensors.files.is_empty() {
                tensors = self.tensors(&part.file())?; // which says that it is missing
            }
            for (i, of) in layouts.iter().enumerate() {
                take(part, i, &tensors.words(&of.name, of.dtype, &of.shape)?)?;
            }
        }
        Ok(())
    }

    /// The tensors of a file that [`super::Saving::tensors`] wrote.
    ///
    /// # Errors
    /// [`Error::File`] when it is none.
    pub fn tensors(&self, name: &str) -> Result<Tensors<'_>> {
        let mut tensors = Tensors::default();
        tensors.add(self.source.place(name), self.file(name)?)?;
        Ok(tensors)
    }
}

/// Tensors of a checkpoint, of one file or several.
#[derive(Default)]
pub struct Tensors<'a> {
    files: Vec<(String, &'a [u8])>,
    /// By name: which file has it, and where.
    entries: BTreeMap<String, (usize, Entry)>,
}

impl<'a> Tensors<'a> {
    /// Adds those of a file. A tensor that another file has already is the same there: each parameter has one owner.
    fn add(&mut self, file: String, bytes: &'a [u8]) -> Result<()> {
        let number = self.files.len();
        for entry in safetensors::entries(&file, bytes)? {
            self.entries.insert(entry.name.clone(), (number, entry));
        }
        self.files.push((file, bytes));
        Ok(())
    }

    /// Names, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The f32 values of `name`, which must have this shape.
    ///
    /// # Errors
    /// [`Error::Tensors`] when there is none such.
    pub fn values(&self, name: &str, shape: &[usize]) -> Result<Cow<'_, [f32]>> {
        Ok(match self.words(name, Dtype::F32, shape)? {
            Cow::Borrowed(words) => Cow::Borrowed(bytemuck::cast_slice(words)),
            Cow::Owned(words) => Cow::Owned(bytemuck::cast_vec(words)),
        })
    }

    /// The words of `name`, which must have this type, f32 or u32, and this shape.
    ///
    /// # Errors
    /// [`Error::Tensors`] when there is none such.
    pub fn words(&self, name: &str, dtype: Dtype, shape: &[usize]) -> Result<Cow<'_, [u32]>> {
        let problem = |number: usize, what: String| Error::Tensors {
            file: self.files.get(number).map_or("", |file| &file.0).to_owned(),
            problems: vec![format!("`{}` {what}", show(name))],
        };
        let Some(&(number, ref entry)) = self.entries.get(name) else {
            return Err(problem(0, "is missing".to_owned()));
        };
        let same = format!("{:?}", entry.dtype) == format!("{dtype:?}");
        if entry.shape != shape || !same || dtype.bytes() != 4 {
            let (is, is_of) = (entry.dtype, &entry.shape);
            let what = format!("is {is:?} {is_of:?}, not {dtype:?} {shape:?}");
            return Err(problem(number, what));
        }
        let bytes = &self.files[number].1[entry.range.clone()];
        if cfg!(target_endian = "little")
            && let Ok(values) = bytemuck::try_cast_slice(bytes)
        {
            return Ok(Cow::Borrowed(values));
        }
        let (words, _) = bytes.as_chunks();
        Ok(words.iter().map(|&b| u32::from_le_bytes(b)).collect())
    }
}
