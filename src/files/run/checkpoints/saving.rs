//! Writing a checkpoint.

use super::{Checkpoints, MANIFEST, Manifest, Part, Piece, STATE, Sealed, stranger};
use crate::error::{Error, Result};
use crate::files::checkpoint::{Spec, layout};
use crate::files::digest::{hash, hex};
use crate::files::json::show;
use crate::files::staging::occupied;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;

/// A checkpoint being written. Without [`Saving::commit`] it is none.
pub struct Saving<'a> {
    all: &'a Checkpoints,
    step: u64,
    tmp: PathBuf,
    files: BTreeMap<String, Sealed>,
}

impl<'a> Saving<'a> {
    pub(super) fn begin(all: &'a Checkpoints, step: u64) -> Result<Self> {
        let tmp = all.run.join(format!("step-{step}.tmp"));
        let io = |e| Error::io(&tmp, e);
        if tmp.exists() {
            all.disk.remove(&tmp).map_err(io)?;
        }
        all.disk.make_folder(&tmp).map_err(io)?;
        Ok(Self::join(all, step))
    }

    pub(super) fn join(all: &'a Checkpoints, step: u64) -> Self {
        Self {
            all,
            step,
            tmp: all.run.join(format!("step-{step}.tmp")),
            files: BTreeMap::new(),
        }
    }

    /// Begins a safetensors file of tensors of 32-bit elements (f32 or u32), whose names and shapes are known beforehand;
    /// they come in this order, one at a time.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn tensors(&mut self, name: &str, tensors: &[Spec]) -> Result<TensorFile<'_, 'a>> {
        let path = self.tmp.join(name);
        let file = self
            .all
            .disk
            .create(&path)
            .map_err(|e| Error::io(&path, e))?;
        let sizes = tensors
            .iter()
            .map(|spec| (spec.name.clone(), spec.shape.iter().product()));
        let mut writing = TensorFile {
            sizes: sizes.collect(),
            next: 0,
            name: name.to_owned(),
            path,
            file,
            hasher: Sha256::new(),
            bytes: 0,
            saving: self,
        };
        let (header, _) = layout(&tensors.iter().collect::<Vec<_>>());
        writing.append(&header)?;
        Ok(writing)
    }

    /// Writes a file for each part of what a trainer of such `layouts` keeps, with a `piece` of its parameters; `words`
    /// gives the words of a tensor by its part and its number. [`super::Saved::trained`] reads them.
    ///
    /// # Errors
    /// Those of `words`; [`Error::Io`].
    pub fn trained(
        &mut self,
        layouts: [Vec<Spec>; Part::ALL.len()],
        piece: Piece<'_>,
        mut words: impl FnMut(Part, usize) -> Result<Vec<u32>>,
    ) -> Result<()> {
        for (part, layouts) in Part::ALL.into_iter().zip(layouts) {
            let of_piece = layouts.into_iter().enumerate();
            let (numbers, layouts): (Vec<_>, Vec<_>) =
                of_piece.filter(|(i, _)| piece.has(*i)).unzip();
            let mut file = self.tensors(&piece.file(part), &layouts)?;
            for i in numbers {
                file.push(&words(part, i)?)?;
            }
            file.finish()?;
        }
        Ok(())
    }

    /// What was written, for the process that [takes it over](Saving::take_over).
    ///
    /// # Errors
    /// [`Error::Usage`] for what has no form in JSON, which is a bug.
    pub fn hand_over(self) -> Result<Vec<u8>> {
        json(&Manifest { files: self.files })
    }

    /// Adds the files that another process wrote into the same folder, as it [says](Saving::hand_over).
    ///
    /// # Errors
    /// [`Error::Io`] when one of them is not there, [`Error::File`] when it has another size.
    pub fn take_over(&mut self, written: &[u8]) -> Result<()> {
        let bad = |e: serde_json::Error| Error::usage(e.to_string(), "please report this as a bug");
        let Manifest { files } = serde_json::from_slice(written).map_err(bad)?;
        for (name, sealed) in files {
            let path = self.tmp.join(&name);
            let there = std::fs::metadata(&path).map_err(|e| Error::io(&path, e))?;
            if there.len() != sealed.bytes {
                let what = format!("has {} bytes, not {}", there.len(), sealed.bytes);
                let hint = "keep runs of several hosts on a file system that all of them share";
                return Err(Error::file(show(&path.to_string_lossy()), what, hint));
            }
            self.files.insert(name, sealed);
        }
        Ok(())
    }

    /// Writes a whole file.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.put(name, bytes)?;
        let sealed = Sealed {
            bytes: bytes.len() as u64,
            sha256: hash(bytes),
        };
        self.files.insert(name.to_owned(), sealed);
        Ok(())
    }

    /// Writes the state that training goes on from.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn state(&mut self, state: &impl Serialize) -> Result<()> {
        let bytes = json(state)?;
        self.write(STATE, &bytes)
    }

    /// Makes it a checkpoint, and removes the oldest ones beyond those to keep.
    ///
    /// # Errors
    /// [`Error::Io`]; the checkpoints before it are still there.
    pub fn commit(mut self) -> Result<()> {
        let files = std::mem::take(&mut self.files);
        self.put(MANIFEST, &json(&Manifest { files })?)?;
        let folder = self.all.folder(self.step);
        let disk = &self.all.disk;
        disk.sync_folder(&self.tmp)
            .map_err(|e| Error::io(&self.tmp, e))?;
        // Only a run that went back to an earlier step meets its own name again.
        if folder.exists() {
            if let Some(name) = stranger(&folder)? {
                let what = format!("holds {}, which no run wrote", show(&name));
                return Err(occupied(&folder, what, false));
            }
            self.all.discard(&folder)?;
        }
        disk.rename(&self.tmp, &folder)
            .map_err(|e| Error::io(&folder, e))?;
        let run = &self.all.run;
        disk.sync_folder(run).map_err(|e| Error::io(run, e))?;
        self.all.prune(self.step)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.tmp.join(name);
        let disk = &self.all.disk;
        let written = disk.create(&path).and_then(|mut file| {
            disk.write(&mut file, bytes)?;
            disk.sync(&file)
        });
        written.map_err(|e| Error::io(path, e))
    }
}

/// A file of tensors being written.
pub struct TensorFile<'s, 'a> {
    saving: &'s mut Saving<'a>,
    name: String,
    path: PathBuf,
    file: File,
    hasher: Sha256,
    bytes: u64,
    /// Names and elements of the tensors, and which comes next.
    sizes: Vec<(String, usize)>,
    next: usize,
}

impl TensorFile<'_, '_> {
    /// Writes the elements of the next tensor: f32 or u32.
    ///
    /// # Errors
    /// [`Error::Usage`] when it has another size; [`Error::Io`].
    pub fn push<T: bytemuck::Pod>(&mut self, values: &[T]) -> Result<()> {
        let values: &[u32] = bytemuck::cast_slice(values);
        let planned = self.sizes.get(self.next);
        if planned.map(|(_, n)| *n) != Some(values.len()) {
            let (name, n) = planned.map_or(("no tensor", 0), |(name, n)| (name.as_str(), *n));
            let what = format!("{} values for {n} of `{}`", values.len(), show(name));
            return Err(Error::usage(what, "please report this as a bug"));
        }
        self.next += 1;
        if cfg!(target_endian = "little") {
            return self.append(bytemuck::cast_slice(values));
        }
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.append(&bytes)
    }

    /// Ends the file.
    ///
    /// # Errors
    /// [`Error::Usage`] when tensors are missing; [`Error::Io`].
    pub fn finish(self) -> Result<()> {
        if let Some((name, _)) = self.sizes.get(self.next) {
            let what = format!("tensor `{}` was never written", show(name));
            return Err(Error::usage(what, "please report this as a bug"));
        }
        let synced = self.saving.all.disk.sync(&self.file);
        synced.map_err(|e| Error::io(&self.path, e))?;
        let sealed = Sealed {
            bytes: self.bytes,
            sha256: hex(&self.hasher.finalize()),
        };
        self.saving.files.insert(self.name, sealed);
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.saving.all.disk.write(&mut self.file, bytes);
        written.map_err(|e| Error::io(&self.path, e))?;
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}

fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    let text = serde_json::to_vec_pretty(value);
    text.map_err(|e| Error::usage(e.to_string(), "please report this as a bug"))
}
