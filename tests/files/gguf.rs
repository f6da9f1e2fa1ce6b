//! The GGUF container: mutilated in every way that a claim can be wrong, and at random; and what its blocks stand for.

use super::gguf_make::{Make, array, text};
use super::refused;
use fairy2i_gpu::files::gguf::{Gguf, Value, blocks, named, parse};
use fairy2i_gpu::files::safetensors;
use proptest::prelude::*;

fn read(bytes: &[u8]) -> fairy2i_gpu::Result<Gguf<'_>> {
    parse("x.gguf", bytes)
}

/// Every type of metadata, and two tensors.
fn good() -> Make {
    let words = array(8, &[text("a"), text("")]);
    let nested = array(9, &[words.clone(), array(0, &[vec![1], vec![2]])]);
    Make::default()
        .key("u8", 0, [7])
        .key("i8", 1, [0xFF])
        .key("u16", 2, 7u16.to_le_bytes())
        .key("i16", 3, (-2i16).to_le_bytes())
        .u32("u32", 7)
        .key("i32", 5, (-3i32).to_le_bytes())
        .f32("f32", 1e-5)
        .bool("bool", true)
        .text("text", "x\n")
        .key("words", 9, words)
        .key("nested", 9, nested)
        .key("u64", 10, u64::MAX.to_le_bytes())
        .key("i64", 11, i64::MIN.to_le_bytes())
        .key("f64", 12, 0.1f64.to_le_bytes())
        .floats("a", &[3, 2], &[1.0; 6])
        .tensor("b", &[64], 2, vec![0; 36])
}

#[test]
fn every_type_is_read() {
    let bytes = good().bytes();
    let file = read(&bytes).unwrap();
    let get = |key: &str| file.metadata[key];
    for key in ["u8", "u16", "u32"] {
        assert_eq!(get(key), Value::Unsigned(7));
        assert_eq!(get(key).unsigned(), Some(7));
    }
    for (key, n) in [("i8", -1), ("i16", -2), ("i32", -3), ("i64", i64::MIN)] {
        assert_eq!(get(key), Value::Signed(n));
        assert_eq!(get(key).unsigned(), None);
    }
    assert_eq!(get("u64").unsigned(), Some(u64::MAX));
    assert_eq!(get("f32").number(), Some(1e-5));
    assert_eq!(get("f64").number(), Some(0.1));
    assert_eq!(get("bool").bool(), Some(true));
    assert_eq!(get("text").text(), Some("x\n"));
    let words: Vec<_> = get("words").array().unwrap().texts().unwrap().collect();
    assert_eq!(words, ["a", ""]);
    let nested: Vec<_> = get("nested").array().unwrap().iter().collect();
    assert_eq!(nested[0], get("words"));
    let numbers = nested[1].array().unwrap().numbers().unwrap();
    assert_eq!(numbers.collect::<Vec<_>>(), [1.0, 2.0]);
    let [a, b] = &file.tensors[..] else {
        panic!("two tensors")
    };
    assert_eq!(
        (&*a.name, &a.shape[..], a.kind.name),
        ("a", &[2, 3][..], "F32")
    );
    assert_eq!(
        (&*b.name, &b.shape[..], b.kind.name),
        ("b", &[64][..], "Q4_0")
    );
    assert_eq!((a.range.len(), b.range.len()), (24, 36));
    assert_eq!(a.range.start % 32, 0);
    assert_eq!(b.range, a.range.start + 32..bytes.len());
}

#[test]
fn older_and_aligned_files_are_read() {
    let mut bytes = good().bytes();
    bytes[4] = 2;
    assert_eq!(read(&bytes).unwrap().tensors.len(), 2);
    let mut wide = good();
    wide.alignment = Some(256);
    let bytes = wide.bytes();
    let ranges: Vec<_> = read(&bytes)
        .unwrap()
        .tensors
        .into_iter()
        .map(|t| t.range)
        .collect();
    assert_eq!(ranges[0].start % 256, 0);
    assert_eq!(ranges[1].start, ranges[0].start + 256);
    let none = Make::default().bytes();
    assert!(read(&none[..24]).unwrap().tensors.is_empty());
}

#[test]
fn truncation_at_every_byte_is_refused() {
    let bytes = good().bytes();
    for n in 0..bytes.len() {
        refused(read(&bytes[..n]), &["x.gguf"]);
    }
}

#[test]
fn other_formats_and_versions_are_refused() {
    refused(read(b""), &["`GGUF`"]);
    refused(read(b"GGML\x03\0\0\0"), &["`GGUF`"]);
    for (version, name) in [
        (1u32, "version 1"),
        (4, "version 4"),
        (3 << 24, "big-endian"),
    ] {
        let mut bytes = good().bytes();
        bytes[4..8].copy_from_slice(&version.to_le_bytes());
        refused(read(&bytes), &[name]);
    }
}

#[test]
fn claims_beyond_the_file_are_refused_before_anything_is_allocated() {
    for (at, count) in [(8, u64::MAX), (8, 1 << 40), (16, u64::MAX), (16, 1 << 40)] {
        let mut bytes = good().bytes();
        bytes[at..at + 8].copy_from_slice(&count.to_le_bytes());
        refused(read(&bytes), &["x.gguf"]);
    }
    for kind in [0u32, 4, 8, 9, 12] {
        for count in [u64::MAX, u64::MAX / 8 + 1, 1 << 40, 50] {
            let claim = [&kind.to_le_bytes()[..], &count.to_le_bytes()].concat();
            let made = Make::default().key("list", 9, claim);
            refused(read(&made.bytes()), &["list", &count.to_string()]);
        }
    }
    let long = [u64::MAX.to_le_bytes(), *b"12345678"].concat();
    refused(
        read(&Make::default().key("long", 8, long).bytes()),
        &["long"],
    );
}

#[test]
fn metadata_that_mean_nothing_are_refused() {
    let key = |kind: u32, value: &[u8]| Make::default().key("k", kind, value).bytes();
    refused(read(&key(13, &[0; 8])), &["`k`", "type 13"]);
    refused(read(&key(7, &[2])), &["`k`", "neither true nor false"]);
    refused(read(&key(9, &array(7, &[vec![3]]))), &["neither"]);
    let wrong = [&1u64.to_le_bytes()[..], &[0xFF]].concat();
    refused(read(&key(8, &wrong)), &["UTF-8"]);
    let deep = (0..5).fold(array(0, &[]), |inner, _| array(9, &[inner]));
    refused(read(&key(9, &deep)), &["deep"]);
    let twice = Make::default().u32("k", 1).u32("k", 1).bytes();
    refused(read(&twice), &["two keys `k`"]);
    for alignment in [0, 3, 48] {
        let made = Make::default().u32("general.alignment", alignment).bytes();
        refused(read(&made), &["general.alignment"]);
    }
}

#[test]
fn tensors_that_cannot_be_are_refused() {
    let with = |dimensions: &[u64], kind| good().tensor("c", dimensions, kind, vec![0; 64]).bytes();
    assert!(read(&with(&[4, 4], 0)).is_ok());
    assert!(read(&with(&[4, 0], 0)).is_ok());
    refused(read(&with(&[], 0)), &["`c`", "0 dimensions"]);
    refused(read(&with(&[1; 5], 0)), &["5 dimensions"]);
    refused(read(&with(&[4], 38)), &["unknown type 38"]);
    refused(read(&with(&[33], 2)), &["Q4_0", "[33]"]);
    refused(read(&with(&[17], 0)), &["past the end"]);
    for dimensions in [[1 << 32, 1 << 32], [1 << 62, 4], [u64::MAX, 0]] {
        refused(read(&with(&dimensions, 0)), &["`c`", "shape"]);
    }
    refused(read(&with(&[1 << 40, 1 << 10], 0)), &["past the end"]);
    let twice = good().floats("a", &[1], &[1.0]).bytes();
    refused(read(&twice), &["two tensors `a`"]);
}

#[test]
fn offsets_that_are_wrong_are_refused() {
    let at = |offset| good().last(|t| t.offset = Some(offset)).bytes();
    assert!(read(&at(32)).is_ok());
    refused(read(&at(0)), &["`b`", "overlaps"]);
    refused(read(&at(40)), &["`b`", "no multiple of 32"]);
    refused(read(&at(64)), &["`b`", "belong to no tensor"]);
    refused(read(&at(u64::MAX - 31)), &["`b`"]);
}

#[test]
fn blocks_stand_for_what_numpy_says() {
    let bytes = include_bytes!("../data/gguf/blocks.safetensors");
    let entries = safetensors::entries("blocks", bytes).unwrap();
    let find = |name: &str| {
        let entry = entries.iter().find(|entry| entry.name == name);
        &bytes[entry.unwrap_or_else(|| panic!("{name}")).range.clone()]
    };
    let names = [
        "F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K",
        "Q5_K", "Q6_K", "TQ1_0", "TQ2_0", "IQ4_NL",
    ];
    assert_eq!(2 * names.len(), entries.len());
    for name in names {
        let kind = named(name).unwrap();
        let stored = find(&format!("{name}.blocks"));
        let got = blocks::dequantize(kind, stored).unwrap();
        // So many that several threads share them.
        let times = 150_000 / got.len() + 1;
        let many = blocks::dequantize(kind, &stored.repeat(times)).unwrap();
        assert!(many == got.repeat(times), "{name}");
        let want = find(&format!("{name}.values")).chunks_exact(4);
        let want: Vec<u32> = want
            .map(|b| u32::from_le_bytes(b.try_into().unwrap()))
            .collect();
        let got: Vec<u32> = got.into_iter().map(f32::to_bits).collect();
        assert!(got.len() >= 64, "{name}");
        assert_eq!(got, want, "{name}");
    }
    assert!(blocks::dequantize(named("IQ2_XXS").unwrap(), &[0; 66]).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// A good file with some bytes changed, cut or doubled: refused in one line, or read to the last value.
    #[test]
    fn mutated_files_never_panic(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = good().bytes();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        match read(&bytes) {
            Err(error) => {
                prop_assert_eq!(error.exit_code(), 2);
                prop_assert!(!error.to_string().contains('\n'));
            }
            Ok(file) => walk(&file, &bytes),
        }
    }
}

/// Reads everything that a file holds.
fn walk(file: &Gguf<'_>, bytes: &[u8]) {
    for array in file.metadata.values().filter_map(|value| value.array()) {
        assert_eq!(array.iter().count(), array.len());
    }
    let mut at = 0;
    for tensor in &file.tensors {
        assert!(at <= tensor.range.start);
        at = tensor.range.end;
        let values = blocks::dequantize(tensor.kind, &bytes[tensor.range.clone()]);
        let elements: usize = tensor.shape.iter().product();
        assert!(values.is_none_or(|values| values.len() == elements));
    }
}
