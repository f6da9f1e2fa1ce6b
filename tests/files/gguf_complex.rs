//! GGUF files of two-bit complex models and the packed folders of the same codes and scales, both made by
//! `tools/gguf_complex.py` from the rules of their formats: the files have to be read as the folders are, and to compute what
//! those compute, bit for bit.

use super::gguf_make::Make;
use super::logits::logits;
use super::small::Files;
use fairy2i_gpu::backend::{Cpu, block_on};
use fairy2i_gpu::files::{self, ModelFolder, Source, gguf};
use fairy2i_gpu::model::dequantize;
use fairy2i_gpu::model::weights::packed;
use fairy2i_gpu::ops::quantize::Activations;
use safetensors::SafeTensors;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::Read;

/// What is in a compressed test file.
fn read(name: &str) -> Vec<u8> {
    let root = env!("CARGO_MANIFEST_DIR");
    let path = format!("{root}/tests/data/gguf/complex/{name}.gz");
    let bytes = std::fs::read(path).expect("a test file");
    let mut whole = Vec::new();
    let mut decoder = flate2::read::GzDecoder::new(&bytes[..]);
    decoder.read_to_end(&mut whole).expect("it is whole");
    whole
}

fn open_file(bytes: Vec<u8>) -> ModelFolder {
    let source = Source::memory("m", [("x.gguf".to_owned(), bytes)]);
    files::open_source(source).expect("the file opens")
}

/// The packed folder, and the hashes of what its linear layers stand for.
fn open_folder(name: &str) -> (ModelFolder, BTreeMap<String, String>) {
    let bytes = read(&format!("{name}.safetensors"));
    let (_, header) = SafeTensors::read_metadata(&bytes).expect("a header");
    let said = header.metadata().clone().expect("metadata");
    let files = Files::from([
        (
            "config.json".to_owned(),
            said["config"].clone().into_bytes(),
        ),
        ("model.safetensors".to_owned(), bytes),
    ]);
    let folder = files::open_source(Source::memory("folder", files)).expect("the folder opens");
    (
        folder,
        serde_json::from_str(&said["dense"]).expect("hashes"),
    )
}

#[track_caller]
fn same(file: &ModelFolder, name: &str) {
    let (folder, dense) = open_folder(name);
    assert_eq!(file.config, folder.config, "{name}");
    assert_eq!(file.recipe, folder.recipe, "{name}");
    let recipe = file.recipe.expect("it is packed");
    for planned in files::plan::plan(&folder.config, folder.recipe.as_ref()) {
        let stored = |model: &ModelFolder| {
            let tensor = model.weights.tensor(&planned.name).expect("it is read");
            let tensor = tensor.expect("it is there");
            (tensor.dtype, tensor.shape, tensor.bytes.into_owned())
        };
        assert!(stored(file) == stored(&folder), "{name}: {}", planned.name);
    }
    let layers = folder.config.linears().into_iter();
    let layers = layers.filter(|layer| !(recipe.skip_head && layer.prefix == "lm_head"));
    let (cpu, mut hashes) = (Cpu::new(), BTreeMap::new());
    for layer in layers {
        let packed = packed(&*file.weights, recipe, &layer).expect("it loads");
        let values = block_on(&cpu, dequantize(&cpu, &packed)).expect("it is dense");
        // Zeros without a sign.
        let bytes = values.iter().flat_map(|x| (x + 0.0).to_le_bytes());
        let hash = Sha256::digest(bytes.collect::<Vec<u8>>());
        hashes.insert(layer.prefix, base16ct::lower::encode_string(&hash));
    }
    assert_eq!(hashes, dense, "{name}");
    for activations in [Activations::Int8, Activations::Float] {
        let computed = logits(file, activations);
        assert!(computed.iter().any(|bits| *bits << 1 != 0), "{name}");
        assert_eq!(computed, logits(&folder, activations), "{name}");
    }
}

#[test]
fn bundles_with_one_scale_of_zero() {
    same(&open_file(read("bundles.gguf")), "bundles");
}

#[test]
fn tiles_of_both_numbers_with_biases_and_without() {
    same(&open_file(read("tiles.gguf")), "tiles");
    same(&open_file(read("early_tiles.gguf")), "early_tiles");
}

#[test]
fn scales_of_matrices_with_rows_that_pad_and_a_packed_head() {
    let file = open_file(read("matrices.gguf"));
    assert!(!file.recipe.expect("it is packed").skip_head);
    same(&file, "matrices");
}

#[test]
fn learned_scales_of_both_signs_with_merged_layers_and_biases() {
    same(&open_file(read("learned.gguf")), "learned");
}

/// The names of the first converter's norms, and those of the later ones.
const NORMS: [(&str, &str); 4] = [
    ("blk.0.attn_norm", "blk.0.pre_norm"),
    ("blk.0.attn_sub_norm", "blk.0.attn_layernorm"),
    ("blk.0.ffn_norm", "blk.0.post_norm"),
    ("output_norm", "final_norm"),
];

#[test]
fn ifairy_by_both_sets_of_names() {
    let bytes = read("ifairy.gguf");
    let parsed = gguf::parse("x.gguf", &bytes).expect("a file");
    let mut renamed = Make::default();
    for (key, value) in &parsed.metadata {
        renamed = match (value.text(), value.unsigned(), value.number()) {
            (Some(text), ..) => renamed.text(key, text),
            (_, Some(count), _) => renamed.u32(key, count as u32),
            (.., number) => renamed.f32(key, number.expect("a number") as f32),
        };
    }
    for tensor in &parsed.tensors {
        let name = NORMS.iter().find(|(name, _)| *name == tensor.name);
        let name = name.map_or(&*tensor.name, |(_, first)| first);
        let dimensions: Vec<u64> = tensor.shape.iter().rev().map(|d| *d as u64).collect();
        let content = bytes[tensor.range.clone()].to_vec();
        renamed = renamed.tensor(name, &dimensions, tensor.kind.id, content);
    }
    let renamed = renamed.bytes();
    assert_ne!(renamed, bytes);
    same(&open_file(bytes), "ifairy");
    same(&open_file(renamed), "ifairy");
}
