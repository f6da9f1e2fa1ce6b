//! Writing safetensors files whose tensors arrive one by one.
//!
//! The format has the header first, but names, types and shapes are known before any tensor is: all headers are
//! written at once, and every tensor goes to its place when it comes. Memory holds one tensor at a time.

use super::folder::{INDEX, SINGLE};
use super::json::show;
use super::plan::Planned;
use super::staging::{Destination, Replaced, Staging};
use crate::error::{Error, Result};
use crate::model::Dtype;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};

/// A tensor to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Name.
    pub name: String,
    /// Element type.
    pub dtype: Dtype,
    /// Dimensions.
    pub shape: Vec<usize>,
}

impl Spec {
    /// What a file holds of a planned tensor: the tensor, or its halves.
    pub fn of(planned: &Planned, dtype: Dtype) -> impl Iterator<Item = Self> {
        let stored = planned.stored().into_iter();
        stored.map(move |(name, shape)| Self { name, dtype, shape })
    }

    fn bytes(&self) -> u64 {
        let elements: u64 = self.shape.iter().map(|&d| d as u64).product();
        elements * self.dtype.bytes() as u64
    }
}

/// A folder of safetensors files being written.
pub struct Checkpoint {
    staging: Staging,
    shards: Vec<(String, File)>,
    places: BTreeMap<String, Place>,
}

struct Place {
    shard: usize,
    offset: u64,
    bytes: u64,
    written: bool,
}

impl Checkpoint {
    /// Lays out `tensors` in their order, in files of at most `shard_bytes` (a larger tensor has its own).
    ///
    /// # Errors
    /// Those of [`Staging::begin`], and [`Error::Io`] for the files.
    pub fn create(
        destination: &Destination<'_>,
        tensors: &[Spec],
        shard_bytes: u64,
    ) -> Result<Self> {
        let staging = Staging::begin(destination)?;
        let parts = split(tensors, shard_bytes);
        let mut checkpoint = Self {
            staging,
            shards: Vec::new(),
            places: BTreeMap::new(),
        };
        for (i, part) in parts.iter().enumerate() {
            let name = match parts.len() {
                1 => SINGLE.to_owned(),
                n => format!("model-{:05}-of-{n:05}.safetensors", i + 1),
            };
            checkpoint.add_shard(name, part)?;
        }
        Ok(checkpoint)
    }

    /// Creates a file with its header and notes where its tensors go.
    fn add_shard(&mut self, name: String, part: &[&Spec]) -> Result<()> {
        let (header, offsets) = layout(part);
        let shard = self.shards.len();
        for (spec, offset) in part.iter().zip(offsets) {
            let place = Place {
                shard,
                offset: header.len() as u64 + offset,
                bytes: spec.bytes(),
                written: false,
            };
            self.places.insert(spec.name.clone(), place);
        }
        let path = self.staging.path().join(&name);
        let created = File::create(&path).and_then(|mut file| {
            file.write_all(&header)?;
            Ok(file)
        });
        let file = created.map_err(|e| Error::io(path, e))?;
        self.shards.push((name, file));
        Ok(())
    }

    /// Writes the elements of `name` (little-endian, row-major); tensors may come in any order.
    ///
    /// # Errors
    /// [`Error::Usage`] for a tensor that was not announced, or of another size; [`Error::Io`].
    pub fn put(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let wrong = |what: String| Error::usage(what, "please report this as a bug");
        let place = self.places.get_mut(name);
        let place =
            place.ok_or_else(|| wrong(format!("tensor `{}` was not planned", show(name))))?;
        if place.bytes != bytes.len() as u64 {
            return Err(wrong(format!(
                "tensor `{}` has {} bytes, planned were {}",
                show(name),
                bytes.len(),
                place.bytes
            )));
        }
        let (shard, file) = &mut self.shards[place.shard];
        let written = file
            .seek(SeekFrom::Start(place.offset))
            .and_then(|_| file.write_all(bytes));
        written.map_err(|e| Error::io(self.staging.path().join(shard), e))?;
        place.written = true;
        Ok(())
    }

    /// Writes the elements of a planned tensor, or of its halves.
    ///
    /// # Errors
    /// As [`Checkpoint::put`].
    pub fn put_planned(&mut self, planned: &Planned, dtype: Dtype, bytes: &[u8]) -> Result<()> {
        let Some(halves) = planned.halves else {
            return self.put(&planned.name, bytes);
        };
        let split = halves.split(&planned.shape, dtype, bytes);
        for (name, half) in halves.names(&planned.name).iter().zip(&split) {
            self.put(name, half)?;
        }
        Ok(())
    }

    /// Writes another file of the folder.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.staging.write(name, bytes)
    }

    /// Checks that every tensor came, writes the index of several shards, and puts the folder in its place. Returns
    /// what that replaced, if something was there.
    pub fn finish(self) -> Result<Option<Replaced>> {
        if let Some((name, _)) = self.places.iter().find(|(_, place)| !place.written) {
            let what = format!("tensor `{}` was never written", show(name));
            return Err(Error::usage(what, "please report this as a bug"));
        }
        for (name, file) in &self.shards {
            let path = self.staging.path().join(name);
            file.sync_all().map_err(|e| Error::io(path, e))?;
        }
        if self.shards.len() > 1 {
            let total: u64 = self.places.values().map(|place| place.bytes).sum();
            let shard = |place: &Place| Value::from(self.shards[place.shard].0.as_str());
            let map = self.places.iter().map(|(n, p)| (n.clone(), shard(p)));
            let map: Map<String, Value> = map.collect();
            let index = json!({"metadata": {"total_size": total}, "weight_map": map});
            self.write(INDEX, format!("{index:#}\n").as_bytes())?;
        }
        drop(self.shards); // some systems do not rename folders with open files
        self.staging.commit()
    }
}

/// Cuts the list where a file would grow too long.
fn split(tensors: &[Spec], shard_bytes: u64) -> Vec<Vec<&Spec>> {
    let mut parts = vec![Vec::new()];
    let mut size = 0;
    for spec in tensors {
        if size > 0 && size + spec.bytes() > shard_bytes {
            parts.push(Vec::new());
            size = 0;
        }
        size += spec.bytes();
        if let Some(part) = parts.last_mut() {
            part.push(spec);
        }
    }
    parts
}

/// The first bytes of a file, up to its data, and the offsets of the tensors in the data. Wide elements come
/// first and the data begins at a multiple of 8, so that every element is aligned when the file is mapped.
pub(super) fn layout(part: &[&Spec]) -> (Vec<u8>, Vec<u64>) {
    let mut order: Vec<usize> = (0..part.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(part[i].dtype.bytes()));
    let mut offsets = vec![0; part.len()];
    let mut header = Map::new();
    header.insert("__metadata__".to_owned(), json!({"format": "pt"}));
    let mut at = 0;
    for i in order {
        let spec = part[i];
        offsets[i] = at;
        let end = at + spec.bytes();
        let entry = json!({
            "dtype": format!("{:?}", spec.dtype),
            "shape": spec.shape,
            "data_offsets": [at, end],
        });
        header.insert(spec.name.clone(), entry);
        at = end;
    }
    let mut text = Value::from(header).to_string();
    while !text.len().is_multiple_of(8) {
        text.push(' ');
    }
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text.as_bytes());
    (bytes, offsets)
}
