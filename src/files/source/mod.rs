//! Where the files of a model come from: a folder (memory-mapped or read), bytes that are in memory already, or files
//! that are read piece by piece.
//!
//! Everything above this module asks for files by plain name, so that a model compiled into the program, one
//! fetched by a web page and one on disk take the same path.

mod contents;
mod hub;

pub use contents::{Contents, ReadAt};

use super::gguf;
use super::json::show;
use super::text;
use crate::error::{Error, Result};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Deref;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// Contents of a file; cheap to clone, readable as a byte slice.
#[derive(Clone)]
pub struct Bytes(Arc<Content>);

enum Content {
    Memory(Cow<'static, [u8]>),
    #[cfg(feature = "mmap")]
    Map(memmap2::Mmap),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &*self.0 {
            Content::Memory(bytes) => bytes,
            #[cfg(feature = "mmap")]
            Content::Map(map) => map,
        }
    }
}

impl Bytes {
    /// Gives back the memory of what was read of a mapped file: the system reads it again where it is asked for again, most
    /// often from its own cache. Elsewhere it does nothing.
    pub(crate) fn release(&self) {
        #[cfg(all(unix, feature = "mmap"))]
        if let Content::Map(map) = &*self.0 {
            // SAFETY: nobody writes to the mapping, so that pages which are read again have the bytes of the file.
            #[allow(unsafe_code)]
            let _ = unsafe { map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
        }
    }
}

impl From<Cow<'static, [u8]>> for Bytes {
    fn from(bytes: Cow<'static, [u8]>) -> Self {
        Self(Arc::new(Content::Memory(bytes)))
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Cow::<[u8]>::Owned(bytes).into()
    }
}

impl From<&'static [u8]> for Bytes {
    fn from(bytes: &'static [u8]) -> Self {
        Cow::Borrowed(bytes).into()
    }
}

/// The files of one model.
pub struct Source {
    name: String,
    kind: Kind,
}

enum Kind {
    Folder {
        root: PathBuf,
        /// Folders a file may live in after symbolic links are followed.
        allowed: Vec<PathBuf>,
    },
    Memory {
        files: BTreeMap<String, Contents>,
        /// The file on disk that they come from, if they do.
        origin: Option<PathBuf>,
    },
}

impl Source {
    /// The folder `path`.
    ///
    /// # Errors
    /// [`Error::Io`] when there is none, [`Error::Usage`] when it is not a folder.
    pub fn folder(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let real = path.canonicalize().map_err(|e| Error::io(path, e))?;
        if !real.is_dir() {
            return Err(Error::usage(
                format!("{} is not a folder", path.display()),
                "pass the folder that holds config.json, or a GGUF file",
            ));
        }
        Ok(Self {
            name: path.display().to_string(),
            kind: Kind::Folder {
                allowed: hub::allowed(&real),
                root: path.to_owned(),
            },
        })
    }

    /// The model at `path`: a folder, or a GGUF file, mapped where that is possible, with the others that it was split
    /// into.
    ///
    /// # Errors
    /// As [`Source::folder`] for what is neither.
    pub fn at(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(name) = name.filter(|_| path.is_file()) else {
            return Self::folder(path);
        };
        let named = name.to_lowercase().ends_with(gguf::EXTENSION);
        if !named && !begins_with(path, gguf::MAGIC).map_err(|e| Error::io(path, e))? {
            return Self::folder(path);
        }
        let mut files = BTreeMap::new();
        for path in gguf::parts(path)? {
            let name = path.file_name().unwrap_or_default();
            let name = name.to_string_lossy().into_owned();
            let regular = std::fs::metadata(&path).map_err(|e| Error::io(&path, e))?;
            if !regular.is_file() {
                return Err(not_regular(show(&path.display().to_string())));
            }
            let bytes = load(&path).map_err(|e| Error::io(&path, e))?;
            files.insert(name, bytes.into());
        }
        Ok(Self {
            name: path.display().to_string(),
            kind: Kind::Memory {
                files,
                origin: Some(path.to_owned()),
            },
        })
    }

    /// Files in memory; `name` stands for the folder in messages.
    pub fn memory<C: Into<Contents>>(
        name: impl Into<String>,
        files: impl IntoIterator<Item = (String, C)>,
    ) -> Self {
        let files = files.into_iter().map(|(n, c)| (n, c.into())).collect();
        Self {
            name: name.into(),
            kind: Kind::Memory {
                files,
                origin: None,
            },
        }
    }

    /// The same with more files, in memory.
    #[must_use]
    pub(super) fn with(mut self, more: impl IntoIterator<Item = (String, Bytes)>) -> Self {
        if let Kind::Memory { files, .. } = &mut self.kind {
            files.extend(more.into_iter().map(|(n, b)| (n, b.into())));
        }
        self
    }

    /// The name of the one file that the caller named, if it was not a folder.
    pub(super) fn named_file(&self) -> Option<&str> {
        match &self.kind {
            Kind::Memory {
                origin: Some(path), ..
            } => path.file_name()?.to_str(),
            _ => None,
        }
    }

    /// Whether the files lie in a folder.
    pub(super) fn is_folder(&self) -> bool {
        matches!(self.kind, Kind::Folder { .. })
    }

    /// The names of all files; none where a folder cannot be listed.
    pub(super) fn names(&self) -> Vec<String> {
        match &self.kind {
            Kind::Memory { files, .. } => files.keys().cloned().collect(),
            Kind::Folder { root, .. } => {
                let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
                let names = entries.map(|entry| entry.file_name().into_string());
                names.filter_map(std::result::Result::ok).collect()
            }
        }
    }

    /// The folder, as the user wrote it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the folder or the GGUF file is, unless the files never were on a disk.
    pub fn path(&self) -> Option<&Path> {
        match &self.kind {
            Kind::Folder { root, .. } => Some(root),
            Kind::Memory { origin, .. } => origin.as_deref(),
        }
    }

    /// `file` of this model, for messages.
    pub fn place(&self, file: &str) -> String {
        match &self.kind {
            Kind::Folder { root, .. } => show(&root.join(file).display().to_string()),
            Kind::Memory {
                origin: Some(path), ..
            } if file.ends_with(gguf::EXTENSION) || path.file_name() == Some(file.as_ref()) => {
                show(&path.with_file_name(file).display().to_string())
            }
            Kind::Memory { .. } => show(&format!("{}/{file}", self.name)),
        }
    }

    /// Whether there is such a file.
    pub fn has(&self, file: &str) -> bool {
        match &self.kind {
            Kind::Folder { root, .. } => is_plain(file) && root.join(file).is_file(),
            Kind::Memory { files, .. } => files.contains_key(file),
        }
    }

    /// The whole of a text that is not large by nature (JSON), without a byte order mark; refuses more than `most`
    /// bytes, and UTF-16.
    pub fn read(&self, file: &str, most: usize) -> Result<Bytes> {
        let bytes = self.read_bytes(file, most)?;
        text::refuse_utf16(&self.place(file), &bytes)?;
        Ok(match bytes.strip_prefix(text::UTF8_MARK) {
            Some(text) => text.to_vec().into(),
            None => bytes,
        })
    }

    fn read_bytes(&self, file: &str, most: usize) -> Result<Bytes> {
        let too_long = || {
            Error::file(
                self.place(file),
                format!("is longer than {} MB", most >> 20),
                "this is not a model file",
            )
        };
        match &self.kind {
            Kind::Memory { .. } => {
                let fits = self.contents(file)?.size() <= most;
                fits.then(|| self.open(file)).ok_or_else(too_long)?
            }
            Kind::Folder { .. } => {
                let path = self.resolve(file)?;
                let error = |e| Error::io(self.place(file), e);
                let opened = std::fs::File::open(&path).map_err(error)?;
                let mut bytes = Vec::new();
                let limit = most as u64 + 1;
                opened.take(limit).read_to_end(&mut bytes).map_err(error)?;
                if bytes.len() > most {
                    return Err(too_long());
                }
                Ok(bytes.into())
            }
        }
    }

    /// [`Source::read`], or `None` when there is no such file.
    pub fn read_optional(&self, file: &str, most: usize) -> Result<Option<Bytes>> {
        self.has(file).then(|| self.read(file, most)).transpose()
    }

    /// A file of any size, as one slice: mapped where that is possible, so that only what is used is read.
    pub fn open(&self, file: &str) -> Result<Bytes> {
        let whole = self.contents(file)?.whole();
        whole.map_err(|e| Error::io(self.place(file), e))
    }

    /// A file of any size: what is used of it is read.
    pub fn contents(&self, file: &str) -> Result<Contents> {
        match &self.kind {
            Kind::Folder { .. } => {
                let path = self.resolve(file)?;
                let loaded = load(&path).map_err(|e| Error::io(self.place(file), e))?;
                Ok(loaded.into())
            }
            Kind::Memory { files, .. } => files
                .get(file)
                .cloned()
                .ok_or_else(|| Error::io(self.place(file), std::io::ErrorKind::NotFound.into())),
        }
    }

    /// The path of `file`, which must be a regular file inside the folder or what belongs to it (see [`hub`]), symbolic
    /// links followed.
    fn resolve(&self, file: &str) -> Result<PathBuf> {
        let Kind::Folder { root, allowed } = &self.kind else {
            return Err(Error::io(file, std::io::ErrorKind::NotFound.into()));
        };
        let outside = || {
            Error::file(
                self.place(file),
                "lies outside the model folder",
                "nothing outside the folder is read; put the file into it",
            )
        };
        if !is_plain(file) {
            return Err(outside());
        }
        let path = root.join(file);
        let real = path.canonicalize().map_err(|e| Error::io(&path, e))?;
        let inside = allowed.iter().any(|folder| real.starts_with(folder));
        if !inside && !hub::is_blob_of_cache(&path, &real) {
            return Err(outside());
        }
        // Opening a pipe or a device would wait or never end.
        if !real.is_file() {
            return Err(not_regular(self.place(file)));
        }
        Ok(real)
    }
}

/// The error about a pipe, a device or a folder where a file should be.
fn not_regular(place: String) -> Error {
    Error::file(
        place,
        "is not a regular file",
        "replace it with the file of the model",
    )
}

/// Whether the file `path` begins with these bytes.
fn begins_with(path: &Path, bytes: &[u8]) -> std::io::Result<bool> {
    let mut begin = Vec::new();
    let file = std::fs::File::open(path)?;
    file.take(bytes.len() as u64).read_to_end(&mut begin)?;
    Ok(begin == bytes)
}

/// Whether `name` is one component: no folder, no `..`, no drive, no control characters.
pub(super) fn is_plain(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    let one = matches!(parts.next(), Some(Component::Normal(part)) if part == name);
    one && parts.next().is_none()
        && !name.contains(|c: char| matches!(c, '/' | '\\' | ':') || c.is_control())
}

#[cfg(feature = "mmap")]
fn load(path: &Path) -> std::io::Result<Bytes> {
    let file = std::fs::File::open(path)?;
    if file.metadata()?.len() == 0 {
        return Ok(Vec::new().into()); // an empty mapping is an error on some systems
    }
    // SAFETY: the mapping is read-only and private to this value. Soundness asks that nobody changes or
    // truncates the file while it is mapped; that cannot be enforced portably, and every program that maps
    // checkpoints relies on it. Our own writers never modify a finished file: they write a new folder and rename.
    #[allow(unsafe_code)]
    let map = unsafe { memmap2::Mmap::map(&file)? };
    Ok(Bytes(Arc::new(Content::Map(map))))
}

#[cfg(not(feature = "mmap"))]
fn load(path: &Path) -> std::io::Result<Bytes> {
    std::fs::read(path).map(Bytes::from)
}
