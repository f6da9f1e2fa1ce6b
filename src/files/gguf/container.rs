//! The GGUF container, versions 2 and 3, little-endian: metadata, then the list of tensors, then their bytes.
//!
//! Nothing is allocated by a count that the file claims: what is listed has been read, and takes memory in proportion to
//! the bytes it was read from. Crates that read the container exist; those looked at allocate by claimed counts, read from
//! streams instead of slices, or leave offsets unchecked.

use super::cursor::{Cursor, Read};
use super::types::{BlockType, block_type};
use super::value::{Value, typed};
use crate::error::{Error, Result};
use crate::files::json::show;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// First bytes of a file.
pub const MAGIC: &[u8; 4] = b"GGUF";

/// Dimensions of a tensor.
const MOST_DIMENSIONS: u32 = 4;
/// Alignment of files that name none.
const ALIGNMENT: u64 = 32;

/// What a file holds: its metadata, which stay in its bytes, and where its tensors are.
#[derive(Debug)]
pub struct Gguf<'b> {
    /// All keys and their values.
    pub metadata: BTreeMap<&'b str, Value<'b>>,
    /// All tensors, in the order of their bytes.
    pub tensors: Vec<TensorInfo>,
}

/// Where a tensor is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// Dimensions, innermost **last** as everywhere in this crate; the file has them the other way round.
    pub shape: Vec<usize>,
    /// How its elements are stored.
    pub kind: BlockType,
    /// Bytes in the file.
    pub range: Range<usize>,
}

/// Reads what the file `bytes` holds.
///
/// # Errors
/// [`Error::File`] naming `file` for anything that is not as the format says, for big-endian files and other versions.
pub fn parse<'b>(file: &str, bytes: &'b [u8]) -> Result<Gguf<'b>> {
    read(bytes).map_err(|what| Error::file(file, show(&what), "download the file again"))
}

fn read(bytes: &[u8]) -> Read<Gguf<'_>> {
    let mut cursor = Cursor::new(bytes);
    version(&mut cursor)?;
    let tensors = cursor.u64()?;
    let keys = cursor.u64()?;
    let metadata = metadata(&mut cursor, keys)?;
    let alignment = alignment(&metadata)?;
    let architecture = metadata.get("general.architecture").copied();
    let architecture = architecture.and_then(Value::text).unwrap_or_default();
    let mut claims = Vec::new();
    let mut names = BTreeSet::new();
    for _ in 0..tensors {
        let claim = claim(&mut cursor, architecture)?;
        if !names.insert(claim.name) {
            return Err(format!("has two tensors `{}`", show(claim.name)));
        }
        claims.push(claim);
    }
    let start = (cursor.position() as u64).next_multiple_of(alignment);
    // A file without tensors may end before the padding.
    let tensors = match claims.is_empty() {
        true => Vec::new(),
        false => place(claims, start, alignment, bytes.len() as u64)?,
    };
    Ok(Gguf { metadata, tensors })
}

/// Reads magic and version.
fn version(cursor: &mut Cursor<'_>) -> Read<()> {
    if cursor.take(4).ok() != Some(MAGIC) {
        return Err("does not begin with `GGUF`".to_owned());
    }
    let version = cursor.u32()?;
    match version {
        2 | 3 => Ok(()),
        _ if (2..=3).contains(&version.swap_bytes()) => {
            Err("is big-endian; little-endian files are read".to_owned())
        }
        other => Err(format!("has GGUF version {other}; 2 and 3 are read")),
    }
}

fn metadata<'b>(cursor: &mut Cursor<'b>, count: u64) -> Read<BTreeMap<&'b str, Value<'b>>> {
    let mut metadata = BTreeMap::new();
    for _ in 0..count {
        let key = cursor.text()?;
        let value = typed(cursor).map_err(|what| format!("key `{}`: {what}", show(key)))?;
        if metadata.insert(key, value).is_some() {
            return Err(format!("has two keys `{}`", show(key)));
        }
    }
    Ok(metadata)
}

fn alignment(metadata: &BTreeMap<&str, Value<'_>>) -> Read<u64> {
    let Some(value) = metadata.get("general.alignment") else {
        return Ok(ALIGNMENT);
    };
    let alignment = value.unsigned().filter(|n| n.is_power_of_two());
    let alignment = alignment.filter(|n| *n <= u64::from(u32::MAX));
    alignment.ok_or_else(|| "key `general.alignment` is not a power of two".to_owned())
}

/// What the file says about a tensor.
struct Claim<'b> {
    name: &'b str,
    /// Innermost first.
    dimensions: Vec<u64>,
    kind: BlockType,
    offset: u64,
}

fn claim<'b>(cursor: &mut Cursor<'b>, architecture: &str) -> Read<Claim<'b>> {
    let name = cursor.text()?;
    let about = |what: String| format!("tensor `{}` {what}", show(name));
    let count = cursor.u32()?;
    if !(1..=MOST_DIMENSIONS).contains(&count) {
        return Err(about(format!("has {count} dimensions")));
    }
    let dimensions = (0..count).map(|_| cursor.u64()).collect::<Read<_>>()?;
    let id = cursor.u32()?;
    let kind = block_type(architecture, id);
    let kind = kind.ok_or_else(|| about(format!("has the unknown type {id}")))?;
    Ok(Claim {
        name,
        dimensions,
        kind,
        offset: cursor.u64()?,
    })
}

impl Claim<'_> {
    /// Bytes of the tensor, or `None` when it cannot exist.
    fn size(&self) -> Option<u64> {
        // The product of the dimensions that are not 0 has to fit as well: shapes are multiplied in any order later.
        let mut all = self.dimensions.iter().filter(|d| **d != 0);
        let most = all.try_fold(1u64, |n, d| n.checked_mul(*d))?;
        isize::try_from(most.checked_mul(8)?).ok()?;
        if self.dimensions.contains(&0) {
            return Some(0);
        }
        let row = self.dimensions[0]; // there is at least one
        row.is_multiple_of(self.kind.elements).then_some(())?;
        (most / self.kind.elements).checked_mul(self.kind.bytes)
    }
}

/// Checks that the tensors lie one behind the other in the bytes from `start` to `end`, with no more between them than
/// `alignment` asks for.
fn place(
    mut claims: Vec<Claim<'_>>,
    start: u64,
    alignment: u64,
    end: u64,
) -> Read<Vec<TensorInfo>> {
    claims.sort_by_key(|claim| claim.offset);
    let mut at: u64 = 0;
    let mut tensors = Vec::new();
    for claim in claims {
        let about = |what: String| format!("tensor `{}` {what}", show(claim.name));
        let offset = claim.offset;
        let size = claim.size().ok_or_else(|| {
            let (shape, kind) = (&claim.dimensions, claim.kind.name);
            about(format!("has a shape that {kind} cannot have: {shape:?}"))
        })?;
        if offset % alignment != 0 {
            return Err(about(format!(
                "begins at {offset}, no multiple of {alignment}"
            )));
        }
        if offset < at {
            return Err(about(format!(
                "overlaps the one before it, which ends at {at}"
            )));
        }
        if offset - at >= alignment {
            return Err(about(format!(
                "begins at {offset}, but the one before it ends at {at}: bytes belong to no tensor"
            )));
        }
        let from = start.checked_add(offset);
        let to = from.and_then(|from| from.checked_add(size));
        let (Some(from), Some(to)) = (from, to.filter(|to| *to <= end)) else {
            return Err(about(format!(
                "ends past the end of the file ({end} bytes): truncated"
            )));
        };
        at = offset + size;
        tensors.push(TensorInfo {
            name: claim.name.to_owned(),
            shape: claim.dimensions.iter().rev().map(|d| *d as usize).collect(),
            kind: claim.kind,
            range: from as usize..to as usize, // bytes in memory
        });
    }
    Ok(tensors)
}
