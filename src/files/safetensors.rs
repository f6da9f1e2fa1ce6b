//! The safetensors container, read strictly.
//!
//! Our own pass comes first and looks at everything the header claims with checked arithmetic, before anything is
//! allocated that grows with a claim. Then the `safetensors` crate reads the header; both must agree. The own pass
//! exists because the crate (0.8) accepts duplicate keys, and because its errors don't name the tensor.

use super::json::{Seen, Unique, show};
use super::source::Contents;
use crate::error::{Error, Result};
use ::safetensors::tensor::{Dtype as Stored, Metadata};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error as Unnamed, StrDeserializer};
use serde::de::{Deserializer, MapAccess, Visitor};
use std::fmt;
use std::ops::Range;

/// Longest header the format allows.
pub const LONGEST_HEADER: u64 = 100_000_000;

const DOWNLOAD: &str = "download the file again";

/// A tensor's place in its file.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Name.
    pub name: String,
    /// Element type as the format names it.
    pub dtype: Stored,
    /// Dimensions.
    pub shape: Vec<usize>,
    /// Bytes in the file.
    pub range: Range<usize>,
}

/// A tensor whose element type the format does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Name.
    pub name: String,
    /// Element type as the file names it.
    pub dtype: String,
    /// How many bytes it has.
    pub bytes: usize,
}

/// What the header of a file says.
#[derive(Debug, Clone, PartialEq)]
pub struct Listing {
    /// The tensors that can be read, in the order of their bytes.
    pub entries: Vec<Entry>,
    /// The others, whose bytes nevertheless lie where they should.
    pub unreadable: Vec<Unreadable>,
    /// `__metadata__`, in the order of the file.
    pub metadata: Vec<(String, String)>,
}

/// Lists the tensors of a safetensors file, in the order of its bytes.
///
/// # Errors
/// [`Error::File`] naming `file` for anything that is not exactly what the format says.
pub fn entries(file: &str, bytes: &[u8]) -> Result<Vec<Entry>> {
    let listing = listing(file, bytes)?;
    match listing.unreadable.first() {
        None => Ok(listing.entries),
        Some(Unreadable { name, dtype, .. }) => {
            let (name, dtype) = (show(name), show(dtype));
            let what =
                format!("tensor `{name}` has type `{dtype}`, which the format does not have");
            Err(Error::file(file, what, DOWNLOAD))
        }
    }
}

/// [`entries`] and everything else in the header; element types that the format does not have are no error, so that
/// a reader may leave out a tensor that it does not need.
///
/// # Errors
/// As [`entries`] otherwise.
pub fn listing(file: &str, bytes: &[u8]) -> Result<Listing> {
    listing_of(file, bytes, bytes.len())
}

/// [`listing`] of contents that need not be in memory: of those the header alone is read.
pub(super) fn listing_in(file: &str, contents: &Contents) -> Result<Listing> {
    if let Contents::Here(bytes) = contents {
        return listing(file, bytes);
    }
    let (size, error) = (contents.size(), |e| Error::io(file, e));
    let length = contents.read(0..size.min(8)).map_err(error)?;
    let length = <[u8; 8]>::try_from(&*length).map_or(0, u64::from_le_bytes);
    let end = 8 + length.min(LONGEST_HEADER) as usize;
    let begin = contents.read(0..size.min(end)).map_err(error)?;
    listing_of(file, &begin, size)
}

/// [`listing`] of a file of `len` bytes that begins with `begin`, which reaches to the end of the header, if the file does.
fn listing_of(file: &str, begin: &[u8], len: usize) -> Result<Listing> {
    let bad = |what: String| Error::file(file, what, DOWNLOAD);
    let header = header(begin, len).map_err(bad)?;
    let start = 8 + header.len();
    let Header(claims, metadata) = serde_json::from_str(header)
        .map_err(|e| bad(format!("the header is not valid: {}", show(&e.to_string()))))?;
    let (entries, unreadable) = check(claims, start, len).map_err(bad)?;
    agree(&entries, &unreadable, header, len).map_err(bad)?;
    Ok(Listing {
        entries,
        unreadable,
        metadata,
    })
}

/// The JSON text of the header.
fn header(begin: &[u8], len: usize) -> Result<&str, String> {
    let Some((length, rest)) = begin.split_first_chunk::<8>() else {
        return Err(format!(
            "truncated: {len} bytes cannot hold a safetensors header"
        ));
    };
    let length = u64::from_le_bytes(*length);
    if length > LONGEST_HEADER {
        return Err(format!(
            "the header claims {length} bytes, more than the 100 MB the format allows"
        ));
    }
    let header = usize::try_from(length).ok().and_then(|n| rest.get(..n));
    let header = header.ok_or_else(|| {
        format!(
            "truncated: the header claims {length} bytes, past the end of the file ({len} bytes)"
        )
    })?;
    if header.first() != Some(&b'{') {
        return Err("the header does not start with `{`: not a safetensors file".to_owned());
    }
    std::str::from_utf8(header).map_err(|e| format!("the header is not UTF-8: {e}"))
}

/// What the header says about one tensor.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Claim {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

impl Claim {
    /// The element type, if the format has it.
    fn stored(&self) -> Option<Stored> {
        let name: StrDeserializer<'_, Unnamed> = self.dtype.as_str().into_deserializer();
        Stored::deserialize(name).ok()
    }
}

/// The claims and `__metadata__`, in file order.
struct Header(Vec<(String, Claim)>, Vec<(String, String)>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
        let mut seen = Seen::default();
        let (mut claims, mut metadata) = (Vec::new(), Vec::new());
        while let Some(key) = map.next_key::<String>()? {
            seen.insert(&key)?;
            if key == "__metadata__" {
                let read = map.next_value::<Option<Unique<String>>>()?;
                metadata = read.map_or(Vec::new(), |read| read.0);
            } else {
                let claim = map.next_value()?;
                claims.push((key, claim));
            }
        }
        Ok(Header(claims, metadata))
    }
}

/// Checks that the tensors tile the bytes after `start` and that sizes follow from shapes and types.
fn check(
    mut claims: Vec<(String, Claim)>,
    start: usize,
    len: usize,
) -> Result<(Vec<Entry>, Vec<Unreadable>), String> {
    claims.sort_by_key(|(_, claim)| claim.data_offsets);
    let (mut at, mut used) = (0, start);
    let (mut entries, mut unreadable) = (Vec::with_capacity(claims.len()), Vec::new());
    for (name, claim) in claims {
        let stored = claim.stored();
        let range = place(&claim, stored, at, start, len)
            .map_err(|what| format!("tensor `{}` {what}", show(&name)))?;
        (at, used) = (claim.data_offsets.1, range.end);
        match stored {
            Some(dtype) => entries.push(Entry {
                name,
                dtype,
                shape: claim.shape.iter().map(|&d| d as usize).collect(),
                range,
            }),
            None => unreadable.push(Unreadable {
                name,
                dtype: claim.dtype,
                bytes: range.len(),
            }),
        }
    }
    if used != len {
        return Err(format!(
            "{} bytes after the last tensor belong to no tensor",
            len - used
        ));
    }
    Ok((entries, unreadable))
}

/// Where a tensor lies in a file of `len` bytes whose data begin at `start`; the one before it ends at `at`. Without
/// a type its size is what it claims.
fn place(
    claim: &Claim,
    stored: Option<Stored>,
    at: u64,
    start: usize,
    len: usize,
) -> Result<Range<usize>, String> {
    let (begin, end) = claim.data_offsets;
    if begin > end {
        return Err(format!("ends at {end}, before it begins at {begin}"));
    }
    if begin < at {
        return Err(format!("overlaps the one before it, which ends at {at}"));
    }
    if begin > at {
        return Err(format!(
            "begins at {begin}, but the one before it ends at {at}: bytes belong to no tensor"
        ));
    }
    let size = match stored {
        Some(stored) => size(claim, stored).ok_or("has an impossible shape")?,
        None => end - begin,
    };
    if end - begin != size {
        return Err(format!(
            "has {} bytes, but its shape and type need {size}",
            end - begin
        ));
    }
    let in_file = |offset: u64| usize::try_from(offset).ok()?.checked_add(start);
    match (in_file(begin), in_file(end)) {
        (Some(from), Some(to)) if to <= len => Ok(from..to),
        _ => Err(format!(
            "ends past the end of the file ({len} bytes): truncated"
        )),
    }
}

/// Bytes of a tensor, or `None` when it cannot exist.
fn size(claim: &Claim, stored: Stored) -> Option<u64> {
    // The product of the dimensions that are not 0 has to fit as well: shapes are multiplied in any order later.
    let product = |zeros: bool| {
        let dims = claim.shape.iter().filter(move |&&d| zeros || d != 0);
        dims.into_iter().try_fold(1u64, |n, &d| n.checked_mul(d))
    };
    let bits = |n: u64| n.checked_mul(stored.bitsize() as u64);
    let whole = product(false).and_then(bits)?;
    usize::try_from(whole).ok()?;
    let bits = product(true).and_then(bits)?;
    (bits % 8 == 0).then_some(bits / 8)
}

/// The second opinion: the crate reads the header, with tensors whose types the format does not have as plain bytes.
fn agree(
    entries: &[Entry],
    unreadable: &[Unreadable],
    header: &str,
    len: usize,
) -> Result<(), String> {
    let bad = |e: serde_json::Error| show(&e.to_string());
    let mut json: serde_json::Value = serde_json::from_str(header).map_err(bad)?;
    for tensor in unreadable {
        json[&tensor.name]["dtype"] = "U8".into();
        json[&tensor.name]["shape"] = vec![tensor.bytes].into();
    }
    let read: Metadata = serde_json::from_value(json).map_err(bad)?;
    let start = 8 + header.len();
    if read.data_len() != len - start || read.tensors().len() != entries.len() + unreadable.len() {
        return Err("the header can be read in two ways".to_owned());
    }
    for entry in entries {
        let same = read.info(&entry.name).is_some_and(|info| {
            let (from, to) = info.data_offsets;
            info.dtype == entry.dtype
                && info.shape == entry.shape
                && (from + start..to + start) == entry.range
        });
        if !same {
            let name = show(&entry.name);
            return Err(format!("tensor `{name}` can be read in two ways"));
        }
    }
    Ok(())
}
