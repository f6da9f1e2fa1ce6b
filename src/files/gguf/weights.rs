//! The tensors of a GGUF file as a checkpoint in full precision: quantized blocks are dequantized when they are asked for,
//! floats are lent as they are.

use super::blocks;
use super::families::Family;
use super::names::{self, Change, Place};
use super::shards::Shards;
use super::types::BlockType;
use crate::error::Result;
use crate::files::folder::report;
use crate::files::json::show;
use crate::files::packed::little_endian;
use crate::files::plan;
use crate::model::{Config, Dtype, Recipe, Tensor, Weights};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// The tensors of a model, by the names that Hugging Face's checkpoints give them.
pub(super) struct Dense {
    shards: Shards,
    tensors: BTreeMap<String, Stored>,
}

/// Where a tensor is, and its shape.
struct Stored {
    place: Place,
    kind: BlockType,
    /// How many matrices lie there together.
    together: usize,
    shape: Vec<usize>,
}

impl Dense {
    /// The tensors of `shards`, which must be exactly those of `config`.
    ///
    /// # Errors
    /// [`Error::Tensors`] with every tensor that does not fit.
    pub(super) fn open(
        file: &str,
        shards: Shards,
        config: &Config,
        family: &Family,
    ) -> Result<Self> {
        let (mut tensors, mut problems) = (BTreeMap::new(), Vec::new());
        let mut used = BTreeSet::new();
        for planned in plan::plan(config, None) {
            let place = names::place(family, config, &planned.name);
            let Some(place) = place else {
                problems.push(format!("`{}` has no place in such files", planned.name));
                continue;
            };
            used.insert(place.name.clone());
            match take(&shards, place, planned.shape) {
                Ok(stored) => {
                    tensors.insert(planned.name, stored);
                }
                Err(problem) => problems.push(problem),
            }
        }
        let strange = |name: &&str| !used.contains(*name) && !names::is_factor(name);
        let strangers = shards.names().filter(strange);
        problems.extend(strangers.map(|n| format!("`{}` is not a tensor of this model", show(n))));
        report(file, problems)?;
        Ok(Self { shards, tensors })
    }

    /// The bytes of a tensor, as they are stored.
    fn stored(&self, stored: &Stored) -> &[u8] {
        let bytes = self.shards.bytes(&stored.place.name);
        let length = bytes.len() / stored.together;
        let from = stored.place.expert.unwrap_or(0) * length;
        &bytes[from..from + length]
    }
}

/// Where the tensor of this shape is, or what is wrong with it.
fn take(shards: &Shards, place: Place, shape: Vec<usize>) -> Result<Stored, String> {
    let name = &place.name;
    let Some(info) = shards.tensor(name) else {
        return Err(format!("`{name}` {shape:?} is missing"));
    };
    let together = match (place.expert, &info.shape[..]) {
        (None, all) if *all == shape => Some(1),
        (Some(expert), [experts, one @ ..]) if *one == shape && expert < *experts => Some(*experts),
        _ => None,
    };
    let together = together.ok_or_else(|| {
        let found = show(&format!("{:?}", info.shape));
        let of = place.expert.map_or("", |_| " for each expert");
        format!("`{name}` has shape {found}, expected {shape:?}{of}")
    })?;
    if !blocks::is_read(info.kind) {
        let (kind, read) = (info.kind.name, blocks::READ);
        return Err(format!(
            "`{name}` has type {kind}, which is not read; {read} are"
        ));
    }
    if let Change::Paired(rows) = place.change
        && (rows % 2 != 0 || rows == 0 || !shape[0].is_multiple_of(rows))
    {
        return Err(format!(
            "`{name}` has {} rows, no whole heads of {rows}",
            shape[0]
        ));
    }
    Ok(Stored {
        kind: info.kind,
        place,
        together,
        shape,
    })
}

impl Stored {
    /// The element type in which the tensor is handed out.
    fn dtype(&self) -> Dtype {
        match (self.kind.name, self.place.change) {
            (_, Change::Shifted) => Dtype::F32,
            ("F16", _) => Dtype::F16,
            ("BF16", _) => Dtype::BF16,
            _ => Dtype::F32,
        }
    }

    /// The bytes of all rows with those of each head in Hugging Face's order.
    fn in_halves(&self, bytes: &[u8], head: usize) -> Vec<u8> {
        let row = bytes.len() / self.shape[0].max(1);
        let mut ordered = Vec::with_capacity(bytes.len());
        for head in bytes.chunks_exact((head * row).max(1)) {
            for half in 0..2 {
                let pairs = head.chunks_exact(2 * row);
                pairs.for_each(|pair| ordered.extend(&pair[half * row..(half + 1) * row]));
            }
        }
        ordered
    }
}

impl Weights for Dense {
    fn tensor(&self, name: &str) -> Result<Option<Tensor<'_>>> {
        let Some(stored) = self.tensors.get(name) else {
            return Ok(None);
        };
        let mut bytes = Cow::Borrowed(self.stored(stored));
        if let Change::Paired(head) = stored.place.change {
            bytes = Cow::Owned(stored.in_halves(&bytes, head));
        }
        let dtype = stored.dtype();
        let as_it_is = !matches!(stored.place.change, Change::Shifted)
            && matches!(stored.kind.name, "F32" | "F16" | "BF16");
        if !as_it_is {
            let values = blocks::dequantize(stored.kind, &bytes);
            let mut values = values.unwrap_or_default(); // the type was checked
            if stored.place.change == Change::Shifted {
                values.iter_mut().for_each(|value| *value -= 1.0);
            }
            bytes = Cow::Owned(little_endian(bytemuck::cast_slice(&values)).into_owned());
        }
        Ok(Some(Tensor {
            dtype,
            shape: stored.shape.clone(),
            bytes,
        }))
    }

    fn dtype(&self, name: &str) -> Result<Option<Dtype>> {
        Ok(self.tensors.get(name).map(Stored::dtype))
    }

    fn release(&self) {
        self.shards.release();
    }

    fn recipe(&self) -> Recipe {
        Recipe::FULL
    }
}

#[cfg(test)]
mod tests {
    use super::super::types::named;
    use super::super::writer::Outline;
    use super::*;
    use crate::files::inputs::Inputs;

    #[test]
    fn each_expert_has_its_own_matrix() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let out = folder.path().join("x.gguf");
        let mut outline = Outline::new("llama", 32);
        let name = "blk.0.ffn_up_exps.weight";
        outline.tensor(name, &[3, 2, 32], named("Q4_0").expect("a type"));
        let writer = outline.create(&out, &Inputs::new(), false);
        let mut writer = writer.expect("it is created");
        // A block is a scale and 32 times its number.
        let block = |i: u8| [&[0x00, 0x3C][..], &[i * 17; 16]].concat();
        let blocks: Vec<u8> = (0..6).flat_map(block).collect();
        writer.put(name, &blocks).expect("it is written");
        writer.finish().expect("it is there");
        let bytes = std::fs::read(&out).expect("it is read").into();
        let shards = Shards::open(vec![("x.gguf".to_owned(), bytes)]).expect("it opens");
        let place = |expert| Place {
            name: name.to_owned(),
            expert: Some(expert),
            change: Change::None,
        };
        let mut tensors = BTreeMap::new();
        for expert in 0..3 {
            let stored = take(&shards, place(expert), vec![2, 32]).expect("it fits");
            tensors.insert(expert.to_string(), stored);
        }
        assert!(take(&shards, place(3), vec![2, 32]).is_err());
        assert!(take(&shards, place(0), vec![32, 2]).is_err());
        let dense = Dense { shards, tensors };
        for expert in 0..3usize {
            let tensor = dense.tensor(&expert.to_string()).expect("it is read");
            let values = tensor.expect("it is there").to_f32(0..64);
            let want = |i: usize| (2 * expert + i / 32) as f32 - 8.0;
            assert!(
                values.iter().enumerate().all(|(i, v)| *v == want(i)),
                "{expert}"
            );
        }
    }
}
