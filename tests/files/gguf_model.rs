//! Models in GGUF files: the same configuration, tensors and ids as the folder that the file was made from, and refusals
//! by name of everything else.

use super::gguf_make::Make;
use super::refused;
use super::small::{Files, config, config_json, open, tensors, whole};
use fairy2i_gpu::files::{self, ModelFolder, Source};
use fairy2i_gpu::model::{Dtype, Tensor};

/// The rows of each head with both halves in turn, as llama.cpp's converter writes them.
fn in_pairs(values: &[f32], rows: usize, head: usize) -> Vec<f32> {
    let columns = values.len() / rows;
    let row = |i: usize| &values[i * columns..(i + 1) * columns];
    let order = (0..rows).map(|i| (i / head * head) + i % 2 * (head / 2) + i % head / 2);
    order.flat_map(row).copied().collect()
}

/// The keys of `small::config_json`.
pub fn keys() -> Make {
    Make::default()
        .text("general.architecture", "llama")
        .u32("llama.block_count", 2)
        .u32("llama.context_length", 64)
        .u32("llama.embedding_length", 12)
        .u32("llama.feed_forward_length", 7)
        .u32("llama.attention.head_count", 2)
        .u32("llama.attention.head_count_kv", 1)
        .f32("llama.attention.layer_norm_rms_epsilon", 1e-5)
        .u32("llama.rope.dimension_count", 6)
        .u32("llama.vocab_size", 512)
}

const LAYERS: [(&str, &str); 9] = [
    ("input_layernorm", "attn_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];

/// The name that llama.cpp has for a tensor of LLaMA.
fn renamed(name: &str) -> String {
    let name = name.replace("model.layers.", "blk.");
    let name = LAYERS.iter().fold(name, |name, (a, b)| name.replace(a, b));
    name.replace("model.embed_tokens", "token_embd")
        .replace("model.norm", "output_norm")
        .replace("lm_head", "output")
}

/// The tensors of `small::whole` behind `keys`, as far as they are wanted.
pub fn with_tensors(mut made: Make, wanted: impl Fn(&str) -> bool) -> Make {
    for tensor in tensors(&config(&config_json()), None) {
        let name = renamed(&tensor.name);
        if !wanted(&name) {
            continue;
        }
        let values = tensor.bytes.chunks_exact(4);
        let mut values: Vec<f32> = values
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect();
        if name.contains("attn_q") || name.contains("attn_k") {
            values = in_pairs(&values, tensor.shape[0], 6);
        }
        let dimensions: Vec<u64> = tensor.shape.iter().rev().map(|d| *d as u64).collect();
        made = made.floats(&name, &dimensions, &values);
    }
    made
}

fn model(keys: Make) -> Vec<u8> {
    with_tensors(keys, |_| true).bytes()
}

pub fn open_bytes(bytes: Vec<u8>) -> fairy2i_gpu::Result<ModelFolder> {
    files::open_source(Source::memory("m", [("x.gguf".to_owned(), bytes)]))
}

fn all_equal(a: &ModelFolder, b: &ModelFolder) {
    assert_eq!(a.config, b.config);
    for planned in files::plan::plan(&a.config, None) {
        let [a, b] = [a, b].map(|m| m.weights.tensor(&planned.name).unwrap().unwrap());
        let values = |t: &Tensor| t.to_f32(0..t.elements());
        assert_eq!(
            (&a.shape, values(&a)),
            (&b.shape, values(&b)),
            "{}",
            planned.name
        );
    }
}

#[test]
fn a_file_is_the_folder_that_it_was_made_from() {
    let folder = open(&whole()).unwrap();
    let tokens = keys()
        .u32("tokenizer.ggml.bos_token_id", 1)
        .u32("tokenizer.ggml.eos_token_id", 2);
    let bytes = model(tokens);
    all_equal(&open_bytes(bytes.clone()).unwrap(), &folder);
    // On a disk, under a name that says nothing.
    let disk = tempfile::tempdir().unwrap();
    let path = disk.path().join("model.bin");
    std::fs::write(&path, bytes).unwrap();
    let opened = files::open(&path).unwrap();
    all_equal(&opened, &folder);
    assert_eq!(opened.source.path(), Some(&*path));
    assert!(opened.recipe.is_none() && opened.tokenizer.is_none());
    let name = "model.layers.0.mlp.up_proj.weight";
    assert_eq!(opened.weights.dtype(name).unwrap(), Some(Dtype::F32));
}

#[test]
fn floats_of_16_bits_stay_what_they_are() {
    let halves: Vec<u8> = (0..512 * 12u16)
        .flat_map(|i| (0x3C00 + i % 99).to_le_bytes())
        .collect();
    for (kind, dtype) in [(1, Dtype::F16), (30, Dtype::BF16)] {
        let made = with_tensors(keys(), |name| name != "output.weight");
        let made = made.tensor("output.weight", &[12, 512], kind, halves.clone());
        let opened = open_bytes(made.bytes()).unwrap();
        let head = opened.weights.tensor("lm_head.weight").unwrap().unwrap();
        assert_eq!((head.dtype, &*head.bytes), (dtype, &halves[..]));
    }
}

#[test]
fn a_file_without_a_head_is_tied() {
    let made = with_tensors(keys(), |name| name != "output.weight");
    let opened = open_bytes(made.bytes()).unwrap();
    assert!(opened.config.tied);
    assert!(opened.weights.tensor("lm_head.weight").unwrap().is_none());
}

#[test]
fn tensors_that_do_not_fit_are_named_at_once() {
    let made = with_tensors(keys(), |name| name != "blk.1.ffn_up.weight");
    let made = made.floats("blk.0.attn_q.bias", &[12], &[0.0; 12]).floats(
        "rope_freqs.weight",
        &[3],
        &[1.0; 3],
    );
    let message = refused(open_bytes(made.bytes()), &["m/x.gguf", "2 tensor(s)"]);
    assert!(
        message.contains("`blk.1.ffn_up.weight` [7, 12] is missing"),
        "{message}"
    );
    assert!(
        message.contains("`blk.0.attn_q.bias` is not a tensor"),
        "{message}"
    );
    let made = with_tensors(keys(), |name| name != "output.weight");
    let made = made.tensor("output.weight", &[256, 24], 16, vec![0; 66 * 24]);
    refused(open_bytes(made.bytes()), &["`output.weight`", "[24, 256]"]);
    let wide = keys().without("llama.rope.dimension_count");
    let wide = with_tensors(wide.u32("llama.attention.key_length", 256), |_| true);
    refused(open_bytes(wide.bytes()), &["attn_q"]);
}

#[test]
fn keys_that_are_wrong_are_named() {
    let without = |key: &str| {
        let bytes = model(keys());
        let at = bytes
            .windows(key.len())
            .position(|w| w == key.as_bytes())
            .unwrap();
        [&bytes[..at + key.len() - 1], b"X", &bytes[at + key.len()..]].concat()
    };
    for key in [
        "llama.block_count",
        "llama.embedding_length",
        "llama.context_length",
    ] {
        refused(open_bytes(without(key)), &[key, "is missing"]);
    }
    refused(
        open_bytes(without("general.architecture")),
        &["general.architecture"],
    );
    refused(
        open_bytes(without("token_embd.weight")),
        &["token_embd.weight"],
    );
    let other = keys().f32("llama.residual_scale", 0.5);
    refused(
        open_bytes(model(other)),
        &["llama.residual_scale", "not understood"],
    );
    open_bytes(model(keys().f32("llama.residual_scale", 0.0))).expect("it is off");
    let unknown = Make::default().text("general.architecture", "rwkv7");
    refused(open_bytes(unknown.bytes()), &["rwkv7", "gemma3"]);
    let scaled = keys().text("llama.rope.scaling.type", "longrope");
    refused(
        open_bytes(model(scaled)),
        &["llama.rope.scaling.type", "longrope"],
    );
    let list = keys().i32s("llama.attention.head_count_kv_x", [1]);
    refused(open_bytes(model(list)), &["head_count_kv_x"]);
}

#[test]
fn several_files_are_one_model() {
    let folder = open(&whole()).unwrap();
    let split = |made: Make, number: u32| {
        made.u32("split.no", number)
            .u32("split.count", 2)
            .u32("split.tensors.count", 21)
    };
    let tokens = keys()
        .u32("tokenizer.ggml.bos_token_id", 1)
        .u32("tokenizer.ggml.eos_token_id", 2);
    let first = |name: &str| name.starts_with("blk.0");
    let names = ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"];
    let parts = [
        with_tensors(split(tokens, 0), first).bytes(),
        with_tensors(split(Make::default(), 1), |name| !first(name)).bytes(),
    ];
    let files: Files = names
        .map(str::to_owned)
        .into_iter()
        .zip(parts.clone())
        .collect();
    all_equal(&open(&files).unwrap(), &folder);
    let disk = super::small::on_disk(&files);
    all_equal(&files::open(disk.path().join(names[0])).unwrap(), &folder);
    refused(
        files::open(disk.path().join(names[1])),
        &["part 2 of 2", names[0]],
    );
    refused(files::open(disk.path()), &["config.json", "GGUF", names[0]]);
    std::fs::rename(disk.path().join(names[0]), disk.path().join("one.gguf")).unwrap();
    refused(files::open(disk.path().join("one.gguf")), &["part 1 of 2"]);
    let two = Source::memory(
        "m",
        [("a.gguf".to_owned(), vec![]), ("b.gguf".to_owned(), vec![])],
    );
    refused(files::open_source(two), &["a.gguf", "b.gguf"]);
    let swapped = Source::memory(
        "m",
        names
            .map(str::to_owned)
            .into_iter()
            .zip(parts.into_iter().rev()),
    );
    refused(files::open_source(swapped), &["part 2 of 2"]);
}

#[test]
fn what_is_no_model_is_refused() {
    let disk = tempfile::tempdir().unwrap();
    let path = disk.path().join("x.gguf");
    std::fs::write(&path, b"GGML").unwrap();
    refused(files::open(&path), &["x.gguf", "`GGUF`"]);
    std::fs::write(&path, b"").unwrap();
    refused(files::open(&path), &["x.gguf", "`GGUF`"]);
    refused(files::open(disk.path().join("y.gguf")), &["y.gguf"]);
    let other = disk.path().join("other");
    std::fs::write(&other, b"text").unwrap();
    refused(files::open(&other), &["is not a folder", "GGUF"]);
}
