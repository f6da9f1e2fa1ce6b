//! The file of a model, or the files that it was split into: `NAME-00001-of-00003.gguf` and so on. The first one has the
//! metadata; each has some of the tensors.

use super::container::{Gguf, TensorInfo, parse};
use super::value::Value;
use crate::error::{Error, Result};
use crate::files::json::show;
use crate::files::source::Bytes;
use std::collections::BTreeMap;

/// More files than this are no model.
const MOST: u32 = 9999;

/// The contents of a model's files, and where each tensor is.
pub(super) struct Shards {
    files: Vec<Bytes>,
    tensors: BTreeMap<String, (usize, TensorInfo)>,
}

impl Shards {
    /// Reads the lists of tensors of `files`, each with its name for messages, in their order.
    ///
    /// # Errors
    /// [`Error::File`] for a malformed file, and for files that do not belong together.
    pub(super) fn open(files: Vec<(String, Bytes)>) -> Result<Self> {
        let mut tensors = BTreeMap::new();
        let count = files.len();
        for (number, (file, bytes)) in files.iter().enumerate() {
            let gguf = parse(file, bytes)?;
            belongs(file, &gguf, number, count)?;
            for tensor in gguf.tensors {
                let name = tensor.name.clone();
                if tensors.insert(name, (number, tensor)).is_some() {
                    let what = "has a tensor that a file before it has too";
                    return Err(Error::file(file, what, "take the files of one model"));
                }
            }
        }
        Ok(Self {
            files: files.into_iter().map(|(_, bytes)| bytes).collect(),
            tensors,
        })
    }

    /// The first file, which has the metadata.
    pub(super) fn first(&self) -> &[u8] {
        self.files.first().map_or(&[], |bytes| bytes)
    }

    /// The tensor of this name.
    pub(super) fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(name).map(|(_, tensor)| tensor)
    }

    /// The names of all tensors.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Gives back the memory of what was read of mapped files.
    pub(super) fn release(&self) {
        self.files.iter().for_each(Bytes::release);
    }

    /// The bytes of the tensor of this name; none where there is no such tensor.
    pub(super) fn bytes(&self, name: &str) -> &[u8] {
        let found = self.tensors.get(name);
        let bytes =
            found.and_then(|(file, tensor)| self.files.get(*file)?.get(tensor.range.clone()));
        bytes.unwrap_or_default()
    }
}

/// Refuses a file that says it is another part, or a part of another number of files.
fn belongs(file: &str, gguf: &Gguf<'_>, number: usize, count: usize) -> Result<()> {
    let split = |key: &str| gguf.metadata.get(key).copied().and_then(Value::unsigned);
    let stated = split("split.count").filter(|count| *count > 1).unwrap_or(1);
    if stated == count as u64 && split("split.no").unwrap_or(0) == number as u64 {
        return Ok(());
    }
    let part = split("split.no").unwrap_or(0).saturating_add(1);
    Err(Error::file(
        file,
        format!(
            "is part {part} of {stated}, but was taken for part {} of {count}",
            number + 1
        ),
        "give the first of all its files, with the names that they were split under",
    ))
}

/// The names of all files of the model that `name` is the first file of: its own, or those of the others as well.
///
/// # Errors
/// [`Error::Usage`] for one that is not the first.
pub(super) fn siblings(name: &str) -> Result<Vec<String>> {
    let Some((stem, number, count)) = split(name) else {
        return Ok(vec![name.to_owned()]);
    };
    if number != 1 {
        return Err(Error::usage(
            format!("{} is part {number} of {count}", show(name)),
            format!("give the first one: {}", show(&part(stem, 1, count))),
        ));
    }
    Ok((1..=count).map(|n| part(stem, n, count)).collect())
}

fn part(stem: &str, number: u32, count: u32) -> String {
    format!("{stem}-{number:05}-of-{count:05}.gguf")
}

/// The parts of a name `STEM-00001-of-00003.gguf`.
fn split(name: &str) -> Option<(&str, u32, u32)> {
    let (rest, count) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    let digits = |text: &str| {
        let all = text.len() == 5 && text.bytes().all(|c| c.is_ascii_digit());
        all.then(|| text.parse::<u32>().ok())?
    };
    let (number, count) = (digits(number)?, digits(count)?);
    let fits = (1..=count).contains(&number) && count <= MOST;
    fits.then_some((stem, number, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_split_model_are_found_by_their_names() {
        assert_eq!(siblings("m.gguf").unwrap(), ["m.gguf"]);
        let two = ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"];
        assert_eq!(siblings(two[0]).unwrap(), two);
        let error = siblings(two[1]).unwrap_err().to_string();
        assert!(
            error.contains("part 2 of 2") && error.contains(two[0]),
            "{error}"
        );
        for name in [
            "m-1-of-2.gguf",
            "m-00000-of-00002.gguf",
            "m-00003-of-00002.gguf",
        ] {
            assert_eq!(siblings(name).unwrap(), [name]);
        }
    }
}
