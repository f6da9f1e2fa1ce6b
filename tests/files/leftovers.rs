//! Folders that hold more, less or other tensors than the plan, and are read all the same: heads beside tied
//! embeddings, tensors under another one's name, and what nobody needs.

use super::refused;
use super::small::{Files, StoredTensor, config, config_json, container, framed, open, tensors};
use fairy2i_gpu::files::config::quantization_config;
use fairy2i_gpu::model::{Granularity, Method, Recipe};
use serde_json::{Value, json};

const EMBED: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";
const INDEX: &str = "model.safetensors.index.json";

fn tied_json(tied: bool) -> Value {
    let mut json = config_json();
    json["tie_word_embeddings"] = json!(tied);
    json
}

/// A folder of one file.
fn folder(json: &Value, file: Vec<u8>) -> Files {
    Files::from([
        ("config.json".to_owned(), json.to_string().into_bytes()),
        ("model.safetensors".to_owned(), file),
    ])
}

/// All tensors of the model whose head is a matrix of its own, which has the embedding's values.
fn both() -> Vec<StoredTensor> {
    tensors(&config(&tied_json(false)), None)
}

fn find<'a>(all: &'a mut [StoredTensor], name: &str) -> &'a mut StoredTensor {
    all.iter_mut().find(|t| t.name == name).unwrap()
}

fn made(name: &str, dtype: &'static str, shape: &[usize], bytes: usize) -> StoredTensor {
    StoredTensor {
        name: name.to_owned(),
        dtype,
        shape: shape.to_vec(),
        bytes: vec![0; bytes],
    }
}

/// [`container`] with `__metadata__`.
fn with_metadata(tensors: &[StoredTensor], metadata: &Value) -> Vec<u8> {
    let file = container(tensors);
    let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&file[8..8 + length]).unwrap();
    header["__metadata__"] = metadata.clone();
    framed(&header.to_string(), &file[8 + length..])
}

#[test]
fn a_head_with_other_values_than_the_tied_embedding_is_used() {
    let last = |t: &mut StoredTensor, bits: u8| {
        let at = t.bytes.len() - 4;
        t.bytes[at] ^= bits;
    };
    for bits in [1, 0] {
        let mut all = both();
        last(find(&mut all, HEAD), bits);
        let opened = open(&folder(&tied_json(true), container(&all))).unwrap();
        assert_eq!(opened.config.tied, bits == 0);
        assert!(opened.notes[0].contains(HEAD), "{:?}", opened.notes);
        let head = opened.weights.tensor(HEAD).unwrap();
        let expected = (bits != 0).then(|| find(&mut all, HEAD).bytes.clone());
        assert_eq!(head.map(|t| t.bytes.into_owned()), expected);
        // What counts is that the file is read as one whose configuration does not tie.
        if bits != 0 {
            let untied = open(&folder(&tied_json(false), container(&all))).unwrap();
            assert_eq!(opened.config, untied.config);
        }
    }
}

#[test]
fn heads_of_another_type_are_compared_by_value() {
    for (dtype, kept) in [("BF16", 2), ("F16", 0)] {
        let mut all = both();
        // Values that 16 bits hold: powers of two and what lies between the first of them.
        let values: Vec<f32> = (0..512 * 12).map(|i| 1.0 + (i % 8) as f32 / 8.0).collect();
        let head = find(&mut all, HEAD);
        head.bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let embed = find(&mut all, EMBED);
        embed.dtype = dtype;
        let half = |v: &f32| match kept {
            2 => half::bf16::from_f32(*v).to_le_bytes(),
            _ => half::f16::from_f32(*v).to_le_bytes(),
        };
        embed.bytes = values.iter().flat_map(half).collect();
        let open = |all: &[StoredTensor]| open(&folder(&tied_json(true), container(all))).unwrap();
        assert!(open(&all).config.tied, "{dtype}");
        find(&mut all, HEAD).bytes[0] = 1;
        assert!(!open(&all).config.tied, "{dtype}");
    }
}

#[test]
fn heads_that_fit_nowhere_are_named() {
    let mut all = both();
    find(&mut all, HEAD).shape = vec![12, 512];
    let turned = folder(&tied_json(true), container(&all));
    refused(
        open(&turned),
        &["`lm_head.weight` has shape [12, 512], expected [512, 12]"],
    );
    find(&mut all, HEAD).dtype = "I32";
    let integers = folder(&tied_json(true), container(&all));
    refused(open(&integers), &["`lm_head.weight`"]);
    find(&mut all, HEAD).dtype = "F4_X";
    let unknown = folder(&tied_json(true), container(&all));
    refused(open(&unknown), &["`lm_head.weight`", "`F4_X`"]);

    // A packed head is there already.
    let recipe = Recipe {
        method: Method::Phase { stages: 1 },
        granularity: Granularity::Tensor,
        skip_head: false,
        rotated: false,
    };
    let mut json = tied_json(true);
    json["quantization_config"] = quantization_config(&recipe).unwrap();
    let mut packed = tensors(&config(&tied_json(true)), Some(&recipe));
    packed.push(find(&mut both(), HEAD).clone());
    assert!(
        open(&folder(&json, container(&packed)))
            .unwrap()
            .config
            .tied
    );
    find(&mut packed, HEAD).bytes[0] ^= 1;
    refused(
        open(&folder(&json, container(&packed))),
        &["`lm_head.weight` is not a tensor of this model"],
    );
}

#[test]
fn tensors_are_found_under_the_name_of_their_twin() {
    let read = |json: &Value, file: Vec<u8>, name: &str| {
        let opened = open(&folder(json, file)).unwrap();
        opened
            .weights
            .tensor(name)
            .unwrap()
            .map(|t| t.bytes.into_owned())
    };
    let head = find(&mut both(), HEAD).bytes.clone();
    let without = |name: &str| {
        let mut all = both();
        all.retain(|t| t.name != name);
        all
    };
    let alias = |from: &str, to: &str| json!({"format": "pt", from: to});
    // What save_model leaves of a tied model, whichever name it takes first.
    let only_head = with_metadata(&without(EMBED), &alias(EMBED, HEAD));
    let only_embed = with_metadata(&without(HEAD), &alias(HEAD, EMBED));
    for file in [&only_head, &only_embed] {
        assert_eq!(
            read(&tied_json(true), file.clone(), EMBED),
            Some(head.clone())
        );
        assert_eq!(read(&tied_json(true), file.clone(), HEAD), None);
        // Values are shared also where the configuration does not say so.
        assert_eq!(
            read(&tied_json(false), file.clone(), EMBED),
            Some(head.clone())
        );
        assert_eq!(
            read(&tied_json(false), file.clone(), HEAD),
            Some(head.clone())
        );
    }
    // Tied is tied, without metadata too.
    assert_eq!(
        read(&tied_json(true), container(&without(EMBED)), EMBED),
        Some(head)
    );
    refused(
        open(&folder(&tied_json(false), container(&without(EMBED)))),
        &["`model.embed_tokens.weight` [512, 12] is missing"],
    );
    // Any two tensors may share, if they are of one shape.
    let (first, second) = (
        "model.layers.0.mlp.up_proj.weight",
        "model.layers.1.mlp.up_proj.weight",
    );
    let shared = with_metadata(&without(second), &alias(second, first));
    let expected = find(&mut both(), first).bytes.clone();
    assert_eq!(read(&tied_json(false), shared, second), Some(expected));
    let down = "model.layers.0.mlp.down_proj.weight";
    let other = with_metadata(&without(second), &alias(second, down));
    refused(
        open(&folder(&tied_json(false), other)),
        &[second, "has shape"],
    );
    let nowhere = with_metadata(&without(second), &alias(second, "nobody"));
    refused(
        open(&folder(&tied_json(false), nowhere)),
        &[second, "is missing"],
    );
    // A tensor that is there is not replaced.
    let mut all = both();
    find(&mut all, second).bytes[0] ^= 1;
    let own = find(&mut all, second).bytes.clone();
    let file = with_metadata(&all, &alias(second, first));
    assert_eq!(read(&tied_json(false), file, second), Some(own));
}

/// Names of buffers that checkpoints hold.
const BUFFERS: [&str; 5] = [
    "model.layers.0.self_attn.rotary_emb.inv_freq",
    "model.rotary_emb.inv_freq",
    "model.layers.1.self_attn.rotary_emb.cos_cached",
    "rope.freqs",
    "model.rope.freqs",
];

#[test]
fn buffers_are_not_needed_whatever_they_are() {
    let mut all = both();
    for (i, name) in BUFFERS.iter().enumerate() {
        let dtype = ["F32", "", "F31"][i % 3];
        all.push(made(name, dtype, &[3], 12));
    }
    assert!(open(&folder(&tied_json(false), container(&all))).is_ok());
    // A name that only looks like one.
    all.push(made("my_rope.freqs", "F32", &[3], 12));
    refused(
        open(&folder(&tied_json(false), container(&all))),
        &[
            "1 tensor(s)",
            "`my_rope.freqs` is not a tensor of this model",
        ],
    );
}

#[test]
fn types_that_do_not_exist_matter_where_the_tensor_does() {
    let without_head = tensors(&config(&tied_json(true)), None);
    let mut empty = without_head.clone();
    empty.push(made(HEAD, "", &[], 0));
    let opened = open(&folder(&tied_json(true), container(&empty))).unwrap();
    assert!(opened.config.tied && opened.notes[0].contains(HEAD));
    for (name, says) in [
        ("model.norm.weight", "has type F31\u{fffd}, expected F32"),
        ("surprise", "has type `F31\u{fffd}`, which cannot be read"),
    ] {
        let mut all = without_head.clone();
        all.retain(|t| t.name != name);
        all.push(made(name, "F31\u{fffd}", &[12], 48));
        let refusal = open(&folder(&tied_json(true), container(&all)));
        refused(refusal, &["1 tensor(s)", name, says]);
    }
    // Its bytes count: what lies behind them is still where the header says.
    let mut all = without_head;
    all.insert(0, made(BUFFERS[0], "F31", &[5], 8));
    let opened = open(&folder(&tied_json(true), container(&all))).unwrap();
    let read = opened.weights.tensor(EMBED).unwrap().unwrap();
    assert_eq!(&*read.bytes, &find(&mut all, EMBED).bytes[..]);
    let mut gap = container(&all);
    gap.truncate(gap.len() - 1);
    refused(open(&folder(&tied_json(true), gap)), &["truncated"]);
}

/// Two shards and an index: `a` holds what it is given, `b` all others.
fn sharded(json: &Value, a: Vec<u8>, b: Vec<u8>, index: &[(&str, &str)]) -> Files {
    let map: serde_json::Map<String, Value> = index
        .iter()
        .map(|&(n, s)| (n.to_owned(), s.into()))
        .collect();
    let index = json!({"weight_map": map}).to_string().into_bytes();
    Files::from([
        ("config.json".to_owned(), json.to_string().into_bytes()),
        ("a.safetensors".to_owned(), a),
        ("b.safetensors".to_owned(), b),
        (INDEX.to_owned(), index),
    ])
}

#[test]
fn index_and_shards_may_differ_in_what_nobody_needs() {
    let json = tied_json(true);
    let all = tensors(&config(&json), None);
    let (first, second) = all.split_at(5);
    let listed: Vec<(&str, &str)> = all
        .iter()
        .enumerate()
        .map(|(i, t)| {
            (
                t.name.as_str(),
                if i < 5 {
                    "a.safetensors"
                } else {
                    "b.safetensors"
                },
            )
        })
        .collect();
    let files = |extra: &[(&str, &str)], held: &[StoredTensor]| {
        let b = container(&[second, held].concat());
        let index = [&listed[..], extra].concat();
        sharded(&json, container(first), b, &index)
    };
    let copy = find(&mut both(), HEAD).clone();
    let buffers: Vec<(&str, &str)> = BUFFERS.iter().map(|&n| (n, "b.safetensors")).collect();
    // The index names them, and no shard has them.
    assert!(open(&files(&[], &[])).is_ok());
    assert!(open(&files(&[(HEAD, "b.safetensors")], &[])).is_ok());
    assert!(open(&files(&buffers, &[])).is_ok());
    assert!(open(&files(&[(BUFFERS[0], "gone.safetensors")], &[])).is_ok());
    // A shard has them, and the index does not name them, or elsewhere.
    let held = [copy.clone(), made(BUFFERS[0], "F32", &[3], 12)];
    assert!(open(&files(&[], &held)).is_ok());
    assert!(open(&files(&[(BUFFERS[0], "a.safetensors")], &held)).is_ok());
    // A head that is not the embedding is needed: it has to be where the index says.
    let mut other = copy;
    other.bytes[0] ^= 1;
    let moved = open(&files(&[(HEAD, "a.safetensors")], &[other.clone()]));
    refused(moved, &["`lm_head.weight`", "a.safetensors"]);
    let named = open(&files(&[(HEAD, "b.safetensors")], &[other])).unwrap();
    assert!(!named.config.tied);
    // Others stay errors, and so does a shard with the head that is not there.
    let surprise = open(&files(&[("surprise", "b.safetensors")], &[]));
    refused(surprise, &["`surprise` is not in b.safetensors"]);
    let gone = open(&files(&[(HEAD, "gone.safetensors")], &[]));
    refused(gone, &["gone.safetensors", "is missing"]);
    // What a shard's metadata calls another tensor's twin need not be in it.
    let mut renamed = second.to_vec();
    renamed.push(find(&mut both(), HEAD).clone());
    let alias = with_metadata(&renamed, &json!({EMBED: HEAD}));
    let mut index = listed.clone();
    index[0].1 = "b.safetensors";
    index.push((HEAD, "b.safetensors"));
    assert!(open(&sharded(&json, container(&first[1..]), alias, &index)).is_ok());
}
