//! Model folders: shards, the index, and tensors that don't fit.

use super::refused;
use super::small::{
    Files, StoredTensor, config, config_json, container, on_disk, open, sharded, tensors, whole,
};
use fairy2i_gpu::files;
use serde_json::{Value, json};

const INDEX: &str = "model.safetensors.index.json";

/// The files after `change` was made to the tensors of the whole model.
fn changed(change: impl FnOnce(&mut Vec<StoredTensor>)) -> Files {
    let mut files = whole();
    let mut all = tensors(&config(&config_json()), None);
    change(&mut all);
    files.insert("model.safetensors".to_owned(), container(&all));
    files
}

fn reindexed(change: impl FnOnce(&mut Value)) -> Files {
    let mut files = sharded();
    let mut index: Value = serde_json::from_slice(&files[INDEX]).unwrap();
    change(&mut index);
    files.insert(INDEX.to_owned(), index.to_string().into_bytes());
    files
}

#[test]
fn whole_and_sharded_models_hold_the_same() {
    let (whole, shards) = (open(&whole()).unwrap(), open(&sharded()).unwrap());
    let disk = on_disk(&sharded());
    let mapped = files::open(disk.path()).unwrap();
    assert!(whole.recipe.is_none() && whole.tokenizer.is_none());
    for t in tensors(&whole.config, None) {
        for opened in [&whole, &shards, &mapped] {
            let read = opened.weights.tensor(&t.name).unwrap().unwrap();
            assert_eq!((read.shape, &*read.bytes), (t.shape.clone(), &t.bytes[..]));
        }
    }
    assert!(whole.weights.tensor("lm_head.codes").unwrap().is_none());
}

#[test]
fn all_mismatches_are_listed_at_once() {
    let files = changed(|all| {
        all.retain(|t| t.name != "model.norm.weight");
        let find = |all: &mut Vec<StoredTensor>, name: &str| {
            all.iter().position(|t| t.name.contains(name)).unwrap()
        };
        let q = find(all, "0.self_attn.q_proj");
        all[q].shape.reverse();
        all[q].shape.push(1);
        let up = find(all, "1.mlp.up_proj");
        all[up].dtype = "I32";
        all.push(StoredTensor {
            name: "surprise\n".to_owned(),
            dtype: "F32",
            shape: vec![0],
            bytes: Vec::new(),
        });
    });
    let message = refused(
        open(&files),
        &[
            "4 tensor(s)",
            "`model.norm.weight` [12] is missing",
            "`model.layers.0.self_attn.q_proj.weight` has shape [12, 12, 1], expected [12, 12]",
            "`model.layers.1.mlp.up_proj.weight` has type I32, expected F32, F16 or BF16",
            "`surprise\\n` is not a tensor of this model",
        ],
    );
    assert!(message.starts_with("small"), "{message}");
}

#[test]
fn a_million_problems_stay_a_readable_message() {
    let files = changed(|all| {
        all.clear();
        all.extend((0..10_000).map(|i| StoredTensor {
            name: format!("t{i}"),
            dtype: "F32",
            shape: vec![0],
            bytes: Vec::new(),
        }));
    });
    refused(open(&files), &["model.embed_tokens.weight", "more"]);
}

#[test]
fn old_buffers_and_copies_of_tied_heads_are_tolerated() {
    let files = changed(|all| {
        all.push(StoredTensor {
            name: "model.layers.0.self_attn.rotary_emb.inv_freq".to_owned(),
            dtype: "F32",
            shape: vec![3],
            bytes: vec![0; 12],
        });
    });
    assert!(open(&files).unwrap().notes.is_empty());
    let mut tied = whole(); // has lm_head.weight
    let mut json = config_json();
    json["tie_word_embeddings"] = json!(true);
    tied.insert("config.json".to_owned(), json.to_string().into_bytes());
    let opened = open(&tied).unwrap();
    assert!(opened.notes[0].contains("lm_head.weight"));
    assert!(opened.weights.tensor("lm_head.weight").unwrap().is_none());
}

#[test]
fn indexes_that_lie_are_refused() {
    let missing = reindexed(|i| i["weight_map"]["model.norm.weight"] = json!("c.safetensors"));
    refused(open(&missing), &["c.safetensors", "is missing"]);
    let elsewhere = reindexed(|i| i["weight_map"]["model.norm.weight"] = json!("a.safetensors"));
    refused(
        open(&elsewhere),
        &["`model.norm.weight`", "a.safetensors", "b.safetensors"],
    );
    let unknown = reindexed(|i| {
        i["weight_map"]
            .as_object_mut()
            .unwrap()
            .remove("model.norm.weight");
    });
    refused(
        open(&unknown),
        &["`model.norm.weight` is in b.safetensors, but not in the index"],
    );
    let typed = reindexed(|i| i["weight_map"] = json!(["a.safetensors"]));
    refused(open(&typed), &[INDEX]);
    let mut twice = sharded();
    twice.insert("b.safetensors".to_owned(), twice["a.safetensors"].clone());
    refused(open(&twice), &["is in two shards"]);
    let mut doubled = sharded();
    let index = br#"{"weight_map":{"a":"a.safetensors","a":"b.safetensors"}}"#;
    doubled.insert(INDEX.to_owned(), index.to_vec());
    refused(open(&doubled), &[INDEX, "duplicate key `a`"]);
}

#[test]
fn nothing_outside_the_folder_is_read() {
    let outside = on_disk(&whole());
    let secret = outside.path().join("model.safetensors");
    let absolute = secret.to_str().unwrap();
    let names = [
        "../a.safetensors",
        absolute,
        "sub/a.safetensors",
        "..",
        "",
        "a\\..\\b",
        "c:x",
    ];
    for name in names {
        let files = reindexed(|i| i["weight_map"]["model.norm.weight"] = json!(name));
        refused(
            files::open(on_disk(&files).path()),
            &[INDEX, "not a file of the model folder"],
        );
        refused(open(&files), &[INDEX]);
    }
}

#[cfg(unix)]
#[test]
fn links_out_of_the_folder_are_refused() {
    use std::os::unix::fs::symlink;
    let outside = on_disk(&whole());
    let inside = on_disk(&whole());
    let file = inside.path().join("model.safetensors");
    std::fs::remove_file(&file).unwrap();
    symlink(outside.path().join("model.safetensors"), &file).unwrap();
    refused(
        files::open(inside.path()),
        &["model.safetensors", "outside the model folder"],
    );
    // A link within the folder is fine.
    std::fs::remove_file(&file).unwrap();
    std::fs::copy(
        outside.path().join("model.safetensors"),
        inside.path().join("real"),
    )
    .unwrap();
    symlink("real", &file).unwrap();
    assert!(files::open(inside.path()).is_ok());
}

#[cfg(unix)]
#[test]
fn snapshots_of_the_hub_cache_link_to_its_blobs() {
    use std::os::unix::fs::symlink;
    let cache = tempfile::tempdir().unwrap();
    let (blobs, snapshot) = (
        cache.path().join("blobs"),
        cache.path().join("snapshots/abc"),
    );
    std::fs::create_dir_all(&blobs).unwrap();
    std::fs::create_dir_all(&snapshot).unwrap();
    for (i, (name, bytes)) in whole().iter().enumerate() {
        std::fs::write(blobs.join(i.to_string()), bytes).unwrap();
        symlink(format!("../../blobs/{i}"), snapshot.join(name)).unwrap();
    }
    assert!(files::open(&snapshot).is_ok());
}

#[test]
fn missing_files_and_folders_are_named() {
    refused(files::open("/no/such/folder"), &["/no/such/folder"]);
    let dir = on_disk(&whole());
    refused(
        files::open(dir.path().join("config.json")),
        &["is not a folder"],
    );
    std::fs::remove_file(dir.path().join("model.safetensors")).unwrap();
    refused(
        files::open(dir.path()),
        &["model.safetensors", "is missing"],
    );
    std::fs::write(dir.path().join("pytorch_model.bin"), b"").unwrap();
    refused(files::open(dir.path()), &["PyTorch"]);
    std::fs::remove_file(dir.path().join("config.json")).unwrap();
    refused(files::open(dir.path()), &["config.json"]);
    std::fs::create_dir(dir.path().join("config.json")).unwrap();
    refused(files::open(dir.path()), &["config.json", "regular file"]);
    let empty = on_disk(&Files::from([
        (
            "config.json".to_owned(),
            config_json().to_string().into_bytes(),
        ),
        ("model.safetensors".to_owned(), Vec::new()),
    ]));
    refused(
        files::open(empty.path()),
        &["model.safetensors", "truncated"],
    );
}

/// Models that read pictures too, as transformers has saved them: the part that reads text is used, of which a note tells.
#[test]
fn the_part_that_reads_text_is_taken_out_of_a_larger_model() {
    let plain = open(&whole()).unwrap();
    for (place, own) in [("language_model.", ""), ("model.language_model.", "model.")] {
        let files = changed(|all| {
            for tensor in all.iter_mut() {
                if let Some(rest) = tensor.name.strip_prefix(own)
                    && (own.is_empty() || tensor.name != "lm_head.weight")
                {
                    tensor.name = format!("{place}{rest}");
                }
            }
            all.push(StoredTensor {
                name: "vision_tower.patch.weight".to_owned(),
                dtype: "F32",
                shape: vec![1],
                bytes: vec![0; 4],
            });
        });
        let opened = open(&files).unwrap();
        assert!(
            opened
                .notes
                .iter()
                .any(|note| note.contains("vision_tower")),
            "{place}"
        );
        for tensor in tensors(&plain.config, None) {
            let read = opened.weights.tensor(&tensor.name).unwrap().unwrap();
            assert_eq!(&*read.bytes, &tensor.bytes[..], "{}", tensor.name);
        }
    }
}
