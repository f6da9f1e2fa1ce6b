//! `config.json` of Hugging Face from the metadata of a GGUF file, so that one reader checks both.

use super::families::{Family, family};
use super::keys::Keys;
use super::rope;
use super::value::Value as Stored;
use crate::error::Result;
use serde_json::{Map, Value, json};

/// The fields of `config.json`, and the family that names the tensors.
///
/// # Errors
/// [`crate::Error::Config`] naming the key.
pub(super) fn config(keys: &Keys<'_>) -> Result<(Map<String, Value>, Family)> {
    let family = family(keys)?;
    let mut map = Map::new();
    map.insert("architectures".to_owned(), json!([family.architecture]));
    map.insert("model_type".to_owned(), family.model_type.into());
    sizes(keys, &mut map)?;
    tokens(keys, &mut map);
    map.insert("hidden_act".to_owned(), "silu".into());
    rope::rope(keys, head_dim(keys)?, &mut map)?;
    (family.fields)(keys, &mut map)?;
    keys.refuse_others()?;
    Ok((map, family))
}

/// What every family has.
fn sizes(keys: &Keys<'_>, map: &mut Map<String, Value>) -> Result<()> {
    let embedding = keys.tensor("token_embd.weight");
    let vocab = embedding.and_then(|tensor| tensor.shape.first());
    let vocab = vocab.ok_or_else(|| keys.error_of("token_embd.weight", "is missing"))?;
    let hidden = keys.required("embedding_length")?;
    let heads = keys.required("attention.head_count")?;
    let mut put = |field: &str, value: Value| {
        map.insert(field.to_owned(), value);
    };
    put("vocab_size", (*vocab).into());
    put("hidden_size", hidden.into());
    put(
        "intermediate_size",
        keys.count("feed_forward_length")?.into(),
    );
    put("num_hidden_layers", keys.required("block_count")?.into());
    put("num_attention_heads", heads.into());
    let kv_heads = keys.count("attention.head_count_kv")?.unwrap_or(heads);
    put("num_key_value_heads", kv_heads.into());
    put("head_dim", head_dim(keys)?.into());
    put(
        "max_position_embeddings",
        keys.required("context_length")?.into(),
    );
    let eps = keys.number("attention.layer_norm_rms_epsilon")?;
    put("rms_norm_eps", eps.into());
    let head = keys.tensor("output.weight").is_some();
    put("tie_word_embeddings", (!head).into());
    for (field, tensor) in [
        ("attention_bias", "blk.0.attn_output.bias"),
        ("mlp_bias", "blk.0.ffn_up.bias"),
    ] {
        put(field, keys.tensor(tensor).is_some().into());
    }
    Ok(())
}

/// Values per head: those of keys and of values, which must be the same, or what follows from the other sizes.
pub(super) fn head_dim(keys: &Keys<'_>) -> Result<u64> {
    let key = keys.count("attention.key_length")?;
    let value = keys.count("attention.value_length")?;
    if let (Some(key), Some(value)) = (key, value)
        && key != value
    {
        let what = format!("{value} is not attention.key_length {key}");
        return Err(keys.error("attention.value_length", what));
    }
    let (hidden, heads) = (
        keys.required("embedding_length")?,
        keys.required("attention.head_count")?,
    );
    if let Some(length) = key.or(value) {
        return Ok(length);
    }
    let dim = hidden
        .checked_div(heads)
        .filter(|dim| dim * heads == hidden);
    dim.ok_or_else(|| {
        let what = format!("{heads} does not divide embedding_length {hidden}");
        keys.error("attention.head_count", what)
    })
}

/// Begin and end token. Files of SentencePiece tokenizers that name none have 1 and 2, as llama.cpp reads them.
fn tokens(keys: &Keys<'_>, map: &mut Map<String, Value>) {
    let model = keys.any("tokenizer.ggml.model").and_then(Stored::text);
    for (field, key, usual) in [
        ("bos_token_id", "tokenizer.ggml.bos_token_id", 1),
        ("eos_token_id", "tokenizer.ggml.eos_token_id", 2),
    ] {
        let id = keys.any(key).and_then(Stored::unsigned);
        let id = id.or((model == Some("llama")).then_some(usual));
        map.insert(field.to_owned(), id.into());
    }
}
