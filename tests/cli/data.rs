//! Text in, shards of tokens out: the same whatever the format, the number of workers, or a kill in between.

use super::{good, json, run};
use fairy2i_gpu::files::corpus::{Corpus, IGNORED, Order, Packing, TextTokenizer, packing};
use fairy2i_gpu::random::SplitMix64;
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

pub fn dir() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// `n` documents of made-up words, the same every time.
pub fn documents(n: usize) -> Vec<String> {
    let mut random = SplitMix64::new(7);
    let words = [
        "Once",
        "the",
        "dragon's",
        "ünïcode",
        "said: \"No!\"",
        "12,345",
        "a",
        "tree\n\n",
        "  two",
    ];
    let document = |_| {
        let n = 1 + random.below(79) as usize;
        let words = (0..n).map(|_| words[random.below(words.len() as u64) as usize]);
        words
            .collect::<Vec<_>>()
            .join(if n.is_multiple_of(3) { "\n" } else { " " })
    };
    (0..n).map(document).collect()
}

pub fn jsonl(documents: &[String]) -> Vec<u8> {
    let line = |d: &String| serde_json::json!({"id": 1, "text": d}).to_string() + "\n";
    documents.iter().map(line).collect::<String>().into_bytes()
}

pub fn write(path: &Path, bytes: &[u8]) -> String {
    std::fs::write(path, bytes).expect("a file is written");
    path.to_string_lossy().into_owned()
}

pub fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for part in bytes.chunks(bytes.len() / 2 + 1) {
        let mut encoder = flate2::write::GzEncoder::new(&mut out, flate2::Compression::fast());
        encoder.write_all(part).expect("memory takes it");
        encoder.finish().expect("memory takes it");
    }
    out
}

/// Two frames with one to be skipped between them.
fn zst(bytes: &[u8]) -> Vec<u8> {
    let level = ruzstd::encoding::CompressionLevel::Fastest;
    let (a, b) = bytes.split_at(bytes.len() / 3);
    let mut out = ruzstd::encoding::compress_to_vec(a, level);
    out.extend([0x50, 0x2A, 0x4D, 0x18, 3, 0, 0, 0, 9, 9, 9]);
    out.extend(ruzstd::encoding::compress_to_vec(b, level));
    out
}

/// Groups of 100 rows, snappy; every document is followed by a row without value if `nulls`.
pub fn parquet(path: &Path, documents: &[String], nulls: bool) -> String {
    let kind = if nulls { "optional" } else { "required" };
    let schema = format!("message m {{ required int32 id; {kind} binary text (utf8); }}");
    let schema = Arc::new(parquet::schema::parser::parse_message_type(&schema).expect("a schema"));
    let properties = WriterProperties::builder()
        .set_compression(parquet::basic::Compression::SNAPPY)
        .build();
    let file = std::fs::File::create(path).expect("a file is made");
    let mut writer =
        SerializedFileWriter::new(file, schema, Arc::new(properties)).expect("a writer");
    for group in documents.chunks(100) {
        let texts: Vec<ByteArray> = group.iter().map(|d| d.as_bytes().to_vec().into()).collect();
        let levels: Vec<i16> = group.iter().flat_map(|_| [1, 0]).collect();
        let rows = if nulls { levels.len() } else { texts.len() };
        let mut rows_of = writer.next_row_group().expect("a group");
        let mut column = rows_of
            .next_column()
            .expect("a column")
            .expect("there is one");
        let ids: Vec<i32> = vec![0; rows];
        let numbers = column.typed::<parquet::data_type::Int32Type>();
        numbers.write_batch(&ids, None, None).expect("written");
        column.close().expect("closed");
        let mut column = rows_of
            .next_column()
            .expect("a column")
            .expect("there is one");
        let levels = nulls.then_some(levels.as_slice());
        let strings = column.typed::<ByteArrayType>();
        strings.write_batch(&texts, levels, None).expect("written");
        column.close().expect("closed");
        rows_of.close().expect("closed");
    }
    writer.close().expect("closed");
    path.to_string_lossy().into_owned()
}

const COMMON: [&str; 6] = ["data", "--tokenizer", "builtin", "--block", "32", "--json"];

pub fn args<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&COMMON[..], &["--out", out], more].concat()
}

/// All files of a data folder but the manifest, and the manifest without its sources.
pub fn contents(folder: &str) -> (BTreeMap<String, Vec<u8>>, serde_json::Value) {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("the folder opens") {
        let entry = entry.expect("an entry");
        let bytes = std::fs::read(entry.path()).expect("it reads");
        files.insert(entry.file_name().to_string_lossy().into_owned(), bytes);
    }
    let manifest = files.remove("manifest.json").expect("a manifest");
    let mut manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
    manifest["sources"] = serde_json::Value::Null;
    manifest["counts"]["bad_by_file"] = serde_json::Value::Null;
    (files, manifest)
}

/// What the library says, document by document.
fn expected(documents: &[String], batch: u64) -> Vec<Vec<u32>> {
    let tokenizer = TextTokenizer::open(&fairy2i_gpu::builtin::source()).expect("a tokenizer");
    let mut blocks = Vec::new();
    let mut full = |block: &[u32]| -> Result<(), ()> {
        blocks.push(block.to_vec());
        Ok(())
    };
    let mut packer = packing::Packer::new(Packing::Papers { batch }, 32, tokenizer.id.eos);
    for document in documents {
        let ids = tokenizer.tokenizer.encode(document, false).expect("tokens");
        packer.push(&ids, &mut full).expect("nothing fails");
        packer.end(&mut full).expect("nothing fails");
    }
    blocks
}

#[test]
fn formats_and_workers_do_not_matter() {
    let (folder, texts) = (dir(), documents(400));
    let at = |name: &str| folder.path().join(name);
    let plain = jsonl(&texts);
    let inputs = [
        write(&at("a.jsonl"), &plain),
        write(&at("b.jsonl.gz"), &gz(&plain)),
        write(&at("c.jsonl.zst"), &zst(&plain)),
        parquet(&at("d.parquet"), &texts, false),
    ];
    let outs: Vec<String> = (0..inputs.len())
        .map(|i| at(&format!("out{i}")).to_string_lossy().into_owned())
        .collect();
    for (i, input) in inputs.iter().enumerate() {
        let workers = if i % 2 == 0 { "1" } else { "3" };
        good(&args(
            &outs[i],
            &["--batch-documents", "150", "--workers", workers, input],
        ));
        assert!(contents(&outs[i]) == contents(&outs[0]), "{input} differs");
    }
    let corpus = Corpus::open(&outs[0]).expect("a corpus");
    corpus.verify().expect("hashes are right");
    let want = expected(&texts, 150);
    assert_eq!(corpus.blocks(), want.len() as u64);
    for (i, ids) in want.iter().enumerate() {
        let block = corpus.block(i as u64).expect("a block");
        assert_eq!(&block.ids, ids);
        let masked = |j: usize| j > 0 && ids[j - 1] <= 2 && ids[j - 1] > 0;
        let label = |j: usize| if masked(j) { IGNORED } else { ids[j] as i32 };
        assert_eq!(block.labels, (0..32).map(label).collect::<Vec<_>>());
    }
    assert!(corpus.block(corpus.blocks()).is_err());
    let mut order = Order::new(1);
    let taken: Vec<u64> = (0..corpus.blocks())
        .filter_map(|_| order.next(corpus.blocks()))
        .collect();
    assert!(taken.iter().any(|&i| i != taken[0]));
}

#[test]
fn a_text_file_is_one_document_or_many() {
    let folder = dir();
    let text = documents(900).join("\n");
    assert!(text.len() > 1 << 17, "several pieces are wanted");
    let input = write(&folder.path().join("a.txt"), (text.repeat(3)).as_bytes());
    let out = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (whole, lines) = (out("whole"), out("lines"));
    let stream = ["--packing", "stream", &input];
    let report = json(&args(&whole, &stream));
    assert_eq!(report["counts"]["documents"], 1);
    let mut all = Vec::new();
    let corpus = Corpus::open(&whole).expect("a corpus");
    for i in 0..corpus.blocks() {
        all.extend(corpus.block(i).expect("a block").ids);
    }
    let tokenizer = TextTokenizer::open(&fairy2i_gpu::builtin::source()).expect("a tokenizer");
    let want = tokenizer
        .tokenizer
        .encode(&text.repeat(3), false)
        .expect("tokens");
    assert!(all[..] == want[..all.len()], "pieces change tokens");
    let report = json(&args(
        &lines,
        &[&["--text-unit", "line"][..], &stream].concat(),
    ));
    let filled = text.repeat(3).lines().filter(|l| !l.is_empty()).count();
    assert_eq!(report["counts"]["documents"], filled);
}

#[test]
fn bad_lines_are_told_with_file_and_line() {
    let (folder, texts) = (dir(), documents(60));
    let mut bytes = jsonl(&texts);
    bytes.extend(b"{\"text\": 5}\n\n{\"other\": \"x\"}\n{\"text\": \"\xff\"}\nnonsense\n");
    let input = write(&folder.path().join("a.jsonl"), &bytes);
    let out = folder.path().join("out").to_string_lossy().into_owned();
    let run = run(&args(&out, &["--max-bad", "3", &input]));
    assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{}", run.stderr);
    let lines: Vec<&str> = run.stderr.lines().collect();
    assert_eq!(lines.len(), 4, "{lines:?}");
    for (line, number) in lines.iter().zip(["61", "63", "64", "65"]) {
        assert!(line.contains(&format!("a.jsonl:{number}: ")), "{line}");
    }
    assert!(lines[3].starts_with("error: ") && lines[3].contains("--max-bad"));
    let left = std::fs::read_dir(folder.path()).expect("readable");
    assert_eq!(left.count(), 1, "nothing half-written stays");
}

#[test]
fn bad_lines_are_counted_and_never_fatal() {
    let (folder, texts) = (dir(), documents(60));
    let mut bytes = jsonl(&texts);
    bytes.extend(b"{\"text\": 5}\n");
    let a = write(&folder.path().join("a.jsonl"), &bytes);
    let b = parquet(&folder.path().join("b.parquet"), &texts, true);
    let out = folder.path().join("out").to_string_lossy().into_owned();
    let run = run(&args(&out, &[&a, &b]));
    assert_eq!(run.code, 0, "{}", run.stderr);
    for word in ["a.jsonl:61:", "b.parquet:2:", "61 lines could not"] {
        assert!(run.stderr.contains(word), "{word}: {}", run.stderr);
    }
    let manifest = contents(&out).1;
    assert_eq!(manifest["counts"]["bad"], 61);
    assert_eq!(manifest["counts"]["documents"], 120);
    assert_eq!(
        Corpus::open(&out).expect("a corpus").blocks(),
        manifest["blocks"]
    );
}
