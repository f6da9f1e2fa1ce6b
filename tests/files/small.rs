//! A tiny model, made of formulas, as the files of a folder.

use fairy2i_gpu::Result;
use fairy2i_gpu::files::plan::{Planned, Role, plan};
use fairy2i_gpu::files::{self, ModelFolder, Source};
use fairy2i_gpu::model::{Config, Recipe};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Files by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// A stored tensor.
#[derive(Clone)]
pub struct StoredTensor {
    pub name: String,
    pub dtype: &'static str,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

/// `config.json` with odd sizes; 512 tokens so that the tokenizer of stories260k fits.
pub fn config_json() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "vocab_size": 512, "hidden_size": 12, "intermediate_size": 7, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5, "tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": 2
    })
}

pub fn config(json: &Value) -> Config {
    parse(json).expect("the test's configuration is good")
}

pub fn parse(json: &Value) -> Result<Config> {
    files::config::parse("config.json", json.to_string().as_bytes(), None).map(|(c, _)| c)
}

/// Every tensor of the model, filled by a formula: values 0.5 to 1.5, any bits for codes.
pub fn tensors(config: &Config, recipe: Option<&Recipe>) -> Vec<StoredTensor> {
    plan(config, recipe).iter().flat_map(stored).collect()
}

/// A tensor, or its halves.
fn stored(planned: &Planned) -> Vec<StoredTensor> {
    let names = planned.stored().into_iter();
    names
        .map(|(name, shape)| filled(planned.role, name, shape))
        .collect()
}

fn filled(role: Role, name: String, shape: Vec<usize>) -> StoredTensor {
    let n: usize = shape.iter().product();
    let word = |i: usize| (i as u32).wrapping_mul(0x9E37_79B1);
    let value = |i: usize| 0.5 + (word(i) >> 8) as f32 / (1 << 24) as f32;
    let bytes = (0..n).flat_map(|i| match role {
        Role::Codes => word(i).to_le_bytes(),
        _ => value(i).to_le_bytes(),
    });
    StoredTensor {
        name,
        dtype: if role == Role::Codes { "U32" } else { "F32" },
        shape,
        bytes: bytes.collect(),
    }
}

/// A safetensors file.
pub fn container(tensors: &[StoredTensor]) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut at = 0;
    for t in tensors {
        let end = at + t.bytes.len();
        let entry = json!({"dtype": t.dtype, "shape": t.shape, "data_offsets": [at, end]});
        header.insert(t.name.clone(), entry);
        at = end;
    }
    let data: Vec<u8> = tensors.iter().flat_map(|t| t.bytes.clone()).collect();
    framed(&Value::from(header).to_string(), &data)
}

/// Header and data as they are, right or wrong.
pub fn framed(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

/// The model in one file.
pub fn whole() -> Files {
    let json = config_json();
    let tensors = tensors(&config(&json), None);
    Files::from([
        ("config.json".to_owned(), json.to_string().into_bytes()),
        ("model.safetensors".to_owned(), container(&tensors)),
    ])
}

/// The model in two shards with an index.
pub fn sharded() -> Files {
    let json = config_json();
    let tensors = tensors(&config(&json), None);
    let (a, b) = tensors.split_at(tensors.len() / 2);
    let mut map = serde_json::Map::new();
    for (shard, part) in [("a.safetensors", a), ("b.safetensors", b)] {
        for t in part {
            map.insert(t.name.clone(), shard.into());
        }
    }
    let index = json!({"metadata": {"total_size": 1}, "weight_map": map});
    Files::from([
        ("config.json".to_owned(), json.to_string().into_bytes()),
        ("a.safetensors".to_owned(), container(a)),
        ("b.safetensors".to_owned(), container(b)),
        (
            "model.safetensors.index.json".to_owned(),
            index.to_string().into_bytes(),
        ),
    ])
}

pub fn open(files: &Files) -> Result<ModelFolder> {
    files::open_source(Source::memory("small", files.clone()))
}

/// Writes the files into a new folder.
pub fn on_disk(files: &Files) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for (name, bytes) in files {
        std::fs::write(dir.path().join(name), bytes).expect("a file is written");
    }
    dir
}
