//! The safetensors container: mutilated in every way the table names, and at random.

use super::refused;
use super::small::{container, framed, open, tensors, whole};
use fairy2i_gpu::files::safetensors::entries;
use proptest::prelude::*;

fn read(bytes: &[u8]) -> fairy2i_gpu::Result<usize> {
    entries("x.safetensors", bytes).map(|all| all.len())
}

fn header(body: &str, data: usize) -> fairy2i_gpu::Result<usize> {
    read(&framed(body, &vec![0; data]))
}

#[test]
fn good_files_are_read() {
    assert_eq!(header("{}", 0).unwrap(), 0);
    let two = r#"{"__metadata__":{"format":"pt"},
        "b":{"dtype":"F32","shape":[],"data_offsets":[4,8]},
        "a":{"dtype":"F16","shape":[2,1],"data_offsets":[0,4]}}   "#;
    assert_eq!(header(two, 8).unwrap(), 2);
    let empty = r#"{"a":{"dtype":"F32","shape":[0,5],"data_offsets":[0,0]}}"#;
    assert_eq!(header(empty, 0).unwrap(), 1);
}

#[test]
fn truncation_at_every_byte_is_refused() {
    let json = super::small::config_json();
    let all = tensors(&super::small::config(&json), None);
    let bytes = container(&all[2..4]);
    assert!(read(&bytes).is_ok());
    for n in 0..bytes.len() {
        refused(read(&bytes[..n]), &["x.safetensors"]);
    }
    let mut longer = bytes;
    longer.push(0);
    refused(read(&longer), &["x.safetensors", "belong to no tensor"]);
}

#[test]
fn headers_too_long_or_past_the_end_are_refused() {
    for length in [3, 100_000_000, 100_000_001, 1 << 40, u64::MAX - 8, u64::MAX] {
        let mut bytes = u64::to_le_bytes(length).to_vec();
        bytes.extend(b"{}");
        refused(read(&bytes), &["x.safetensors", &length.to_string()]);
    }
    refused(read(b"{}"), &["truncated"]);
    refused(header(" {}", 0), &["`{`"]);
    refused(read(&[2, 0, 0, 0, 0, 0, 0, 0, b'{', 0xFF]), &["UTF-8"]);
}

#[test]
fn gaps_overlaps_and_wrong_sizes_are_refused() {
    let one = |shape: &str, offsets: &str| {
        format!(r#""t":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}"#)
    };
    let cases = [
        ("[2]", "[0,4]", "need 8"),
        ("[1]", "[4,8]", "belong to no tensor"),
        ("[1]", "[8,4]", "before it begins"),
        ("[3]", "[0,12]", "past the end"),
        ("[18446744073709551615]", "[0,4]", "impossible shape"),
        ("[4294967296,4294967296]", "[0,0]", "impossible shape"),
        ("[0,18446744073709551615,16]", "[0,0]", "impossible shape"),
        ("[-1]", "[0,4]", "header"),
        ("[1e3]", "[0,4]", "header"),
        ("[1]", "[0,4,8]", "header"),
        (
            "[1]",
            "[18446744073709551612,18446744073709551615]",
            "belong to no tensor",
        ),
        ("[4611686018427387903]", "[0,18446744073709551612]", "`t`"),
        ("[1]", "[0,18446744073709551616]", "header"),
    ];
    for (shape, offsets, says) in cases {
        let body = format!("{{{}}}", one(shape, offsets));
        refused(header(&body, 8), &["x.safetensors", says]);
    }
    let second = r#""u":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;
    let body = format!("{{{},{second}}}", one("[1]", "[0,4]"));
    refused(header(&body, 4), &["overlaps"]);
    let near = r#""u":{"dtype":"U8","shape":[18446744073709551607],"data_offsets":[4,18446744073709551611]}"#;
    let body = format!("{{{},{near}}}", one("[1]", "[0,4]"));
    refused(header(&body, 4), &["`u`"]);
}

#[test]
fn duplicate_keys_are_refused_everywhere() {
    let t = r#""t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;
    refused(header(&format!("{{{t},{t}}}"), 4), &["duplicate key `t`"]);
    // The same key, spelled differently.
    let escaped = t.replacen('t', "\\u0074", 1);
    refused(
        header(&format!("{{{t},{escaped}}}"), 4),
        &["duplicate key `t`"],
    );
    let inner = t.replace(r#""shape":[1]"#, r#""shape":[1],"shape":[1]"#);
    refused(
        header(&format!("{{{inner}}}"), 4),
        &["duplicate field `shape`"],
    );
    let meta = r#""__metadata__":{"a":"1","a":"2"}"#;
    refused(
        header(&format!("{{{meta},{t}}}"), 4),
        &["duplicate key `a`"],
    );
    let twice = r#""__metadata__":{}"#;
    refused(
        header(&format!("{{{twice},{twice},{t}}}"), 4),
        &["duplicate key"],
    );
}

#[test]
fn unknown_types_and_hostile_names_make_one_line() {
    let body = r#"{"t":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}}"#;
    refused(header(body, 4), &["F31"]);
    let name = "x\\n\\u001b".repeat(50_000);
    let body = format!(r#"{{"{name}":{{"dtype":"F32","shape":[1],"data_offsets":[0,8]}}}}"#);
    assert!(refused(header(&body, 8), &["need 4"]).len() < 2000);
}

#[test]
fn a_truncated_model_names_its_file() {
    let mut files = whole();
    let file = files.get_mut("model.safetensors").unwrap();
    file.truncate(file.len() - 1);
    refused(open(&files), &["small/model.safetensors", "truncated"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// No bytes make the reader panic, and what it accepts lies inside the file without gaps.
    #[test]
    fn mutated_files_never_panic(
        changes in prop::collection::vec((0usize..400, any::<u8>()), 0..6),
        cut in 0usize..500,
        length in prop::option::of(any::<u64>()),
    ) {
        let body = r#"{"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"b":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]}}"#;
        let mut bytes = framed(body, &[7; 32]);
        for (at, byte) in changes {
            let n = bytes.len();
            bytes[at % n] = byte;
        }
        if let Some(length) = length {
            bytes[..8].copy_from_slice(&length.to_le_bytes());
        }
        let n = bytes.len();
        bytes.truncate(n.saturating_sub(cut.saturating_sub(400)));
        accepted_means_tiled(&bytes)?;
    }

    /// The same with headers that are valid JSON and only claim strange numbers.
    #[test]
    fn strange_claims_never_panic(
        claims in prop::collection::vec((prop::collection::vec(odd_number(), 0..4), odd_number(), odd_number()), 1..4),
        data in 0usize..40,
    ) {
        let tensors: Vec<String> = claims.iter().enumerate().map(|(i, (shape, a, b))| {
            format!(r#""t{i}":{{"dtype":"F32","shape":{shape:?},"data_offsets":[{a},{b}]}}"#)
        }).collect();
        let bytes = framed(&format!("{{{}}}", tensors.join(",")), &vec![0; data]);
        accepted_means_tiled(&bytes)?;
    }
}

fn odd_number() -> impl Strategy<Value = u64> {
    prop_oneof![
        0u64..40,
        (0u64..20).prop_map(|n| u64::MAX - n),
        (0u32..64).prop_map(|n| 1 << n),
        any::<u64>(),
    ]
}

fn accepted_means_tiled(bytes: &[u8]) -> Result<(), TestCaseError> {
    match entries("x.safetensors", bytes) {
        Err(error) => {
            prop_assert_eq!(error.exit_code(), 2);
            prop_assert!(!error.to_string().contains('\n'));
        }
        Ok(all) => {
            let mut at = all.first().map_or(bytes.len(), |e| e.range.start);
            for entry in all {
                prop_assert_eq!(entry.range.start, at);
                at = entry.range.end;
            }
            prop_assert_eq!(at, bytes.len());
        }
    }
    Ok(())
}
