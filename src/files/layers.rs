//! Layers that a calibration has finished, and snapshots of a training, kept until all is done: a run that is killed goes
//! on where it was.
//!
//! While the folder OUT is calibrated, `OUT.fairy2i-layers` holds a file for every finished layer, and the key of the
//! run: everything its bits follow from. A run with another key begins anew. The folder goes when OUT is there.

use super::digest::hash;
use super::marker::{Author, Marker};
use super::packed::little_endian;
use super::staging::{beside, occupied, replace};
use crate::error::{Error, Result};
use crate::model::config::LinearShape;
use crate::model::{Granularity, Method, Packed};
use std::fs;
use std::path::{Path, PathBuf};

/// Name of the file that holds the key.
const KEY: &str = "key.txt";

/// The folder of finished layers.
#[derive(Debug)]
pub struct Layers {
    folder: PathBuf,
}

impl Layers {
    /// The folder beside `out`, with the layers of an earlier run that had the same key. Whoever calls holds the lock of
    /// `out`.
    ///
    /// # Errors
    /// [`Error::Occupied`] when something of that name is not ours, [`Error::Io`].
    pub fn open(out: &Path, key: &str) -> Result<Self> {
        let folder = beside(out, "layers");
        let ours = Marker::read(&folder).is_some();
        let same = ours && fs::read_to_string(folder.join(KEY)).is_ok_and(|k| k == key);
        if same {
            return Ok(Self { folder });
        }
        let there = fs::symlink_metadata(&folder).is_ok();
        if there && !ours && fs::remove_dir(&folder).is_err() {
            let what = "is in the way: it is no folder of ours".to_owned();
            return Err(occupied(&folder, what, false));
        }
        if ours {
            fs::remove_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
        }
        fs::create_dir(&folder).map_err(|e| Error::io(&folder, e))?;
        let author = Author {
            command: "quantize",
            run: None,
        };
        Marker::begin(&folder, author)?;
        replace(&folder, KEY, key.as_bytes())?;
        Ok(Self { folder })
    }

    /// The folder, for what else is kept until OUT is there.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A finished layer, and what was noted of it.
    ///
    /// # Errors
    /// [`Error::Io`]. A file that is damaged counts as none.
    pub fn read(
        &self,
        layer: &LinearShape,
        method: Method,
        granularity: Granularity,
    ) -> Result<Option<(Packed, String)>> {
        let path = self.folder.join(&layer.prefix);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io(path, e)),
        };
        let (out_features, in_features) = (layer.out_features, layer.in_features);
        let (codes, scales) =
            Packed::shapes(method, layer.form, granularity, out_features, in_features);
        let size = |shape: &[usize]| 4 * shape.iter().product::<usize>();
        let (codes, scales) = (size(&codes), size(&scales));
        let Some((sum, rest)) = bytes.split_at_checked(64) else {
            return Ok(None);
        };
        if sum != hash(rest).as_bytes() || rest.len() < codes + scales {
            return Ok(None);
        }
        let words = |bytes: &[u8]| -> Vec<u32> {
            let (words, _) = bytes.as_chunks::<4>();
            words.iter().map(|&b| u32::from_le_bytes(b)).collect()
        };
        let packed = Packed {
            method,
            form: layer.form,
            granularity,
            out_features,
            in_features,
            codes: words(&rest[..codes]),
            scales: words(&rest[codes..codes + scales])
                .into_iter()
                .map(f32::from_bits)
                .collect(),
            relative_error: None,
        };
        let note = String::from_utf8_lossy(&rest[codes + scales..]);
        Ok(Some((packed, note.into_owned())))
    }

    /// Keeps a finished layer.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self, layer: &LinearShape, packed: &Packed, note: &str) -> Result<()> {
        let scales = bytemuck::cast_slice(&packed.scales);
        let parts = [
            &little_endian(&packed.codes),
            &little_endian(scales),
            note.as_bytes(),
        ];
        let rest = parts.concat();
        let bytes = [hash(&rest).as_bytes(), &rest].concat();
        replace(&self.folder, &layer.prefix, &bytes)
    }

    /// Removes them all: the folder that they were for is there.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn remove(self) -> Result<()> {
        fs::remove_dir_all(&self.folder).map_err(|e| Error::io(&self.folder, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Form;

    fn layer() -> (LinearShape, Packed) {
        let shape = LinearShape {
            prefix: "model.layers.0.mlp.up_proj".into(),
            form: Form::WidelyLinear,
            out_features: 3,
            in_features: 5,
            biased: false,
        };
        let packed = Packed {
            method: Method::Phase { stages: 2 },
            form: Form::WidelyLinear,
            granularity: Granularity::Row,
            out_features: 3,
            in_features: 5,
            codes: (0..8).collect(),
            scales: (1..17).map(|i| i as f32).collect(),
            relative_error: None,
        };
        (shape, packed)
    }

    #[test]
    fn layers_stay_for_the_same_run_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path().join("out");
        let (shape, packed) = layer();
        let read = |layers: &Layers| {
            let read = layers.read(&shape, packed.method, packed.granularity);
            read.expect("a folder that can be read")
        };
        let layers = Layers::open(&out, "one").expect("a new folder");
        assert_eq!(read(&layers), None);
        layers.write(&shape, &packed, "a note").expect("written");
        let again = Layers::open(&out, "one").expect("the same folder");
        assert_eq!(read(&again), Some((packed.clone(), "a note".into())));
        let file = folder.path().join("out.fairy2i-layers").join(&shape.prefix);
        let mut bytes = fs::read(&file).expect("a file");
        bytes[70] ^= 1;
        fs::write(&file, bytes).expect("damaged");
        assert_eq!(read(&again), None);
        let other = Layers::open(&out, "two").expect("anew");
        assert_eq!(read(&other), None);
        other.remove().expect("gone");
        assert!(!folder.path().join("out.fairy2i-layers").exists());
    }

    #[test]
    fn what_is_not_ours_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let theirs = folder.path().join("out.fairy2i-layers");
        fs::create_dir(&theirs).expect("made");
        fs::write(theirs.join("diary.txt"), "dear").expect("written");
        assert!(Layers::open(&folder.path().join("out"), "one").is_err());
        assert!(theirs.join("diary.txt").exists());
    }
}
