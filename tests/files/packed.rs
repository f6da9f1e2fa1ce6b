//! The packed format and the plain export: what is written reads back, and nothing half-written stays.

use super::refused;
use super::small::{self, Files, config, config_json, on_disk, tensors};
use fairy2i_gpu::files::staging::Destination;
use fairy2i_gpu::files::{self, ModelFolder, Source, export, packed};
use fairy2i_gpu::model::config::LinearShape;
use fairy2i_gpu::model::{Dtype, Granularity, Method, Mixed, Packed, PackedView, Recipe, weights};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::path::Path;

const W2: Recipe = Recipe {
    method: Method::Phase { stages: 2 },
    granularity: Granularity::Row,
    skip_head: false,
    rotated: false,
};

fn to(out: &Path) -> Destination<'_> {
    Destination::new(out, "quantize")
}

/// Codes and scales by a formula.
fn packed_layer(recipe: Recipe, linear: &LinearShape) -> Packed {
    let (out_features, in_features) = (linear.out_features, linear.in_features);
    let (method, granularity) = (recipe.method.of(&linear.prefix), recipe.granularity);
    let (codes, scales) = Packed::shapes(method, granularity, out_features, in_features);
    let word = |i: usize| (i as u32 + linear.prefix.len() as u32).wrapping_mul(0x9E37_79B1);
    let count = |shape: &[usize]| shape.iter().product::<usize>();
    let mut codes: Vec<u32> = (0..count(&codes)).map(word).collect();
    if method == Method::Ternary {
        codes.iter_mut().for_each(|w| *w |= (*w >> 1) & 0x5555_5555);
    }
    Packed {
        method,
        granularity,
        out_features,
        in_features,
        codes,
        scales: (0..count(&scales))
            .map(|i| (word(i) >> 8) as f32 * 1e-6 + 1e-6)
            .collect(),
        relative_error: None,
    }
}

/// The layers a recipe packs.
fn layers(opened: &ModelFolder, recipe: Recipe) -> Vec<LinearShape> {
    let mut all = opened.config.linears();
    if recipe.skip_head {
        all.pop();
    }
    all
}

fn write(opened: &ModelFolder, recipe: Recipe, out: &Path, shard: u64) -> fairy2i_gpu::Result<()> {
    let mut writer = packed::Writer::create(&to(out), opened.original(), recipe, shard)?;
    for linear in layers(opened, recipe).iter().rev() {
        writer.linear(&linear.prefix, &packed_layer(recipe, linear))?;
    }
    writer.finish().map(drop)
}

/// The small model with `change` made to its configuration.
fn model(change: impl FnOnce(&mut Value)) -> ModelFolder {
    let mut json = config_json();
    change(&mut json);
    let all = tensors(&config(&json), None);
    let files = Files::from([
        ("config.json".to_owned(), json.to_string().into_bytes()),
        ("model.safetensors".to_owned(), small::container(&all)),
        (
            "tokenizer.json".to_owned(),
            include_bytes!("../data/stories260k.tokenizer.json").to_vec(),
        ),
        ("README.md".to_owned(), b"of the original".to_vec()),
    ]);
    files::open_source(Source::memory("small", files)).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn recipes() -> impl Strategy<Value = Recipe> {
    let stages = || 1usize..=4;
    let mixed = (1u8..=4, stages(), stages(), stages()).prop_map(|(base, down, head, first)| {
        let mixed = Mixed::from(base).with("down", down);
        let mixed = mixed.and_then(|m| m.with("head", head));
        Method::phase(mixed.and_then(|m| m.with("qkv@0", first)).expect("stages"))
    });
    let phase = prop_oneof![
        (1usize..=4).prop_map(|stages| Method::Phase { stages }),
        mixed
    ];
    let grain = prop_oneof![
        Just(Granularity::Tensor),
        Just(Granularity::Row),
        (1usize..4).prop_map(|g| Granularity::Group(16 * g)),
        (1usize..9, 1usize..4).prop_map(|(rows, g)| Granularity::Tile {
            rows,
            columns: 16 * g
        }),
    ];
    let real = prop_oneof![Just(Method::Binary), Just(Method::Ternary)];
    let method = prop_oneof![(phase, grain), real.prop_map(|m| (m, Granularity::Tensor)),];
    (method, any::<bool>()).prop_map(|((method, granularity), skip_head)| Recipe {
        method,
        granularity,
        skip_head,
        rotated: false,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn packed_models_round_trip(
        recipe in recipes(),
        (hidden, intermediate, layers_n) in (1usize..40, 1usize..70, 1usize..3),
        (heads, kv, head_dim) in (1usize..3, 1usize..3, 1usize..5),
        tied in any::<bool>(),
        shard in prop_oneof![Just(1u64), 1000u64..50_000, Just(packed::SHARD_BYTES)],
    ) {
        let opened = model(|c| {
            c["hidden_size"] = json!(hidden);
            c["intermediate_size"] = json!(intermediate);
            c["num_hidden_layers"] = json!(layers_n);
            c["num_attention_heads"] = json!(heads * kv);
            c["num_key_value_heads"] = json!(kv);
            c["head_dim"] = json!(2 * head_dim);
            c["tie_word_embeddings"] = json!(tied);
            c["unknown"] = json!({"kept": [1, 2]});
        });
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("packed");
        write(&opened, recipe, &out, shard).unwrap();
        prop_assert_eq!(names(dir.path()), ["packed"]);
        prop_assert_eq!(out.join("model.safetensors").exists(), shard == packed::SHARD_BYTES || !out.join("model.safetensors.index.json").exists());

        let back = files::open(&out).unwrap();
        prop_assert_eq!(&back.config, &opened.config);
        prop_assert_eq!(back.recipe, Some(recipe));
        prop_assert_eq!(back.weights.recipe(), recipe);
        prop_assert_eq!(&back.fields["unknown"], &json!({"kept": [1, 2]}));
        prop_assert!(back.tokenizer.is_some() && back.notes.is_empty());
        for linear in layers(&opened, recipe) {
            let read = weights::packed(&*back.weights, recipe, &linear).unwrap();
            // as kernels take it: the rows of a tile have its scales again each
            let wanted = PackedView::from(packed_layer(recipe, &linear)).into_packed();
            prop_assert_eq!(read, wanted);
        }
        dense_tensors_stay(&opened, &back, recipe)?;
    }
}

/// Norms bit for bit; embedding and skipped head rounded to f16.
fn dense_tensors_stay(
    a: &ModelFolder,
    b: &ModelFolder,
    recipe: Recipe,
) -> Result<(), TestCaseError> {
    for name in a.config.norms() {
        let (a, b) = (
            a.weights.tensor(&name).unwrap(),
            b.weights.tensor(&name).unwrap(),
        );
        prop_assert_eq!(a.unwrap().bytes, b.unwrap().bytes);
    }
    let head = (recipe.skip_head && !a.config.tied).then_some("lm_head.weight");
    for name in ["model.embed_tokens.weight"].into_iter().chain(head) {
        let a = a.weights.tensor(name).unwrap().unwrap();
        let b = b.weights.tensor(name).unwrap().unwrap();
        prop_assert_eq!(b.dtype, Dtype::F16);
        let rounded = a
            .to_f32(0..a.elements())
            .into_iter()
            .map(|x| half::f16::from_f32(x).to_f32());
        prop_assert_eq!(rounded.collect::<Vec<_>>(), b.to_f32(0..b.elements()));
    }
    Ok(())
}

#[test]
fn nothing_half_written_stays() {
    let opened = model(|_| {});
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("packed");
    let create =
        || packed::Writer::create(&to(&out), opened.original(), W2, packed::SHARD_BYTES).unwrap();
    let first = &opened.config.linears()[0];
    drop(create());
    assert!(names(dir.path()).is_empty());
    refused(create().finish(), &["was never written"]);
    assert!(names(dir.path()).is_empty());
    let mut writer = create();
    let layer = packed_layer(W2, first);
    refused(
        writer.linear("model.layers.9.mlp.up_proj", &layer),
        &["was not planned"],
    );
    let mut bad = layer.clone();
    bad.codes.pop();
    refused(writer.linear(&first.prefix, &bad), &["planned were"]);
    bad = layer.clone();
    bad.scales[1] = f32::NAN;
    refused(writer.linear(&first.prefix, &bad), &["finite and positive"]);
    bad = layer;
    bad.method = Method::Binary;
    refused(writer.linear(&first.prefix, &bad), &["another recipe"]);
    assert_eq!(names(dir.path()).len(), 2, "the folder and its lock");
    drop(writer);
    assert!(names(dir.path()).is_empty());
}

/// Names of the files of a packed folder of the test model.
const WRITTEN: [&str; 4] = [
    ".fairy2i-gpu.json",
    "config.json",
    "model.safetensors",
    "tokenizer.json",
];

#[test]
fn leftovers_of_killed_runs_are_no_obstacle() {
    let (opened, dir) = (model(|_| {}), tempfile::tempdir().unwrap());
    let at = |name: &str| dir.path().join(name);
    let again = || write(&opened, W2, &at("out"), 1 << 30);
    again().unwrap();
    // Killed while writing: a folder that is only marked, and a lock that nobody holds.
    std::fs::create_dir(at("out.fairy2i-tmp")).unwrap();
    std::fs::copy(
        at("out/.fairy2i-gpu.json"),
        at("out.fairy2i-tmp/.fairy2i-gpu.json"),
    )
    .unwrap();
    std::fs::write(at("out.fairy2i-tmp/model.safetensors"), b"half").unwrap();
    std::fs::write(at("out.fairy2i-lock"), b"").unwrap();
    // Killed between the two renamings: the old folder comes back, and is not replaced without a word.
    std::fs::rename(at("out"), at("out.fairy2i-old")).unwrap();
    refused(again(), &["not empty"]);
    assert_eq!(names(dir.path()), ["out"]);
    assert_eq!(names(&at("out")), WRITTEN);
    // Others' folders that are called like that stay.
    for name in ["out.fairy2i-tmp", "out.fairy2i-old"] {
        std::fs::remove_dir_all(at("out")).unwrap();
        std::fs::create_dir(at(name)).unwrap();
        std::fs::write(at(name).join("mine"), b"").unwrap();
        refused(again(), &[name, "mine"]);
        std::fs::remove_file(at(name).join("mine")).unwrap();
        again().unwrap();
        assert_eq!(names(dir.path()), ["out"]);
    }
}

#[test]
fn two_writers_do_not_meet() {
    let (opened, dir) = (model(|_| {}), tempfile::tempdir().unwrap());
    let out = dir.path().join("out");
    let create = || packed::Writer::create(&to(&out), opened.original(), W2, packed::SHARD_BYTES);
    let first = create().unwrap();
    refused(create(), &["another process is writing"]);
    drop(first);
    drop(create().unwrap());
    assert!(names(dir.path()).is_empty());
}

#[test]
fn folders_in_use_are_not_replaced_unless_forced() {
    let opened = model(|_| {});
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    std::fs::create_dir(&out).unwrap();
    write(&opened, W2, &out, 10_000).unwrap(); // it was empty
    refused(write(&opened, W2, &out, 10_000), &["not empty"]);
    let forced_by = |out: &Path, command: &str| {
        let forced = Destination {
            replace: true,
            ..Destination::new(out, command)
        };
        let mut w = packed::Writer::create(&forced, opened.original(), W2, packed::SHARD_BYTES)?;
        for linear in opened.config.linears() {
            w.linear(&linear.prefix, &packed_layer(W2, &linear))?;
        }
        w.finish()
    };
    let forced = |out: &Path| forced_by(out, "quantize");
    let replaced = forced(&out).unwrap().expect("something was there");
    let told = replaced.to_string();
    assert!(
        told.contains("out") && told.contains("`quantize`"),
        "{told}"
    );
    assert_eq!(names(&out), WRITTEN);
    assert_eq!(names(dir.path()), ["out"]);
    // What came later is not ours to delete, nor what another command wrote, nor what was changed.
    refused(forced_by(&out, "export"), &["by `quantize`"]);
    std::fs::write(out.join("notes.txt"), b"").unwrap();
    refused(forced(&out), &["notes.txt"]);
    std::fs::remove_file(out.join("notes.txt")).unwrap();
    std::fs::write(out.join("tokenizer.json"), b"{}").unwrap();
    refused(forced(&out), &["tokenizer.json", "changed"]);
    std::fs::remove_file(out.join(".fairy2i-gpu.json")).unwrap();
    refused(forced(&out), &["config.json", "no .fairy2i-gpu.json"]);
    // A folder with other things is never deleted.
    let home = dir.path().join("home");
    std::fs::create_dir(&home).unwrap();
    std::fs::write(home.join("thesis.txt"), b"").unwrap();
    refused(forced(&home), &["thesis.txt"]);
    refused(forced(&home.join("thesis.txt")), &["not a folder"]);
    assert_eq!(names(&home), ["thesis.txt"]);
    // Nor one that something was put into while it was being replaced.
    let late = dir.path().join("late");
    let writer = packed::Writer::create(&to(&late), opened.original(), W2, 1 << 30);
    let mut writer = writer.unwrap();
    for linear in opened.config.linears() {
        writer
            .linear(&linear.prefix, &packed_layer(W2, &linear))
            .unwrap();
    }
    std::fs::create_dir(&late).unwrap();
    std::fs::write(late.join("thesis.txt"), b"").unwrap();
    refused(writer.finish(), &["thesis.txt"]);
    assert_eq!(names(&late), ["thesis.txt"]);
}

#[test]
fn a_model_is_never_its_own_destination() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("a/model");
    write(&model(|_| {}), W2, &folder, 1 << 30).unwrap();
    let opened = files::open(&folder).unwrap();
    let before = names(&folder);
    for out in ["a/model", "a/model/new", "a", "a/../a/model/", "a/model/."] {
        let out = dir.path().join(out);
        let to = Destination {
            replace: true,
            ..Destination::new(&out, "quantize")
        };
        let (recipe, shard) = (opened.recipe.as_ref(), export::SHARD_BYTES);
        let made = export::Writer::create(&to, opened.original(), recipe, Dtype::F16, shard);
        refused(made, &["a/model, which is read"]);
    }
    assert_eq!(names(&folder), before);
    assert_eq!(names(dir.path()), ["a"]);
}

#[test]
fn folders_from_the_future_or_with_bad_contents_are_refused() {
    let opened = model(|_| {});
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    write(&opened, W2, &out, packed::SHARD_BYTES).unwrap();
    let text = std::fs::read_to_string(out.join("config.json")).unwrap();
    let rewrite = |from: &str, to: &str| {
        assert!(text.contains(from));
        std::fs::write(out.join("config.json"), text.replace(from, to)).unwrap();
        files::open(&out)
    };
    refused(
        rewrite("\"version\": 1", "\"version\": 2"),
        &["config.json", "version", "newer"],
    );
    // One stage more than stored: every layer is listed.
    let message = refused(
        rewrite("\"stages\": 2", "\"stages\": 3"),
        &[
            "30 tensor(s)",
            "lm_head.codes",
            "model.layers.0.self_attn.q_proj.scales",
        ],
    );
    assert!(message.contains("expected [256, 2, 3, 1]"), "{message}");
    refused(
        rewrite("\"quantization_config\"", "\"other\""),
        &["q_proj.weight` [12, 12] is missing"],
    );
}

#[test]
fn scales_that_are_not_scales_are_refused() {
    let json = config_json();
    for (bad, recipe) in [(f32::NAN, W2), (-1.0, W2), (0.0, W2), (f32::INFINITY, W2)] {
        let mut with = json.clone();
        with["quantization_config"] = files::config::quantization_config(&recipe).unwrap();
        let mut all = tensors(&config(&json), Some(&recipe));
        let name = "model.layers.1.mlp.down_proj.scales";
        let tensor = all.iter_mut().find(|t| t.name == name).unwrap();
        tensor.bytes[12..16].copy_from_slice(&bad.to_le_bytes());
        let folder = Files::from([
            ("config.json".to_owned(), with.to_string().into_bytes()),
            ("model.safetensors".to_owned(), small::container(&all)),
        ]);
        refused(small::open(&folder), &[name, "element 3", "not a scale"]);
        refused(files::open(on_disk(&folder).path()), &[name]);
    }
}

#[test]
fn nonfinite_and_overflowing_dense_weights_are_named() {
    let opened = |value: f32| {
        let json = config_json();
        let mut all = tensors(&config(&json), None);
        all[0].bytes[40..44].copy_from_slice(&value.to_le_bytes());
        let folder = Files::from([
            ("config.json".to_owned(), json.to_string().into_bytes()),
            ("model.safetensors".to_owned(), small::container(&all)),
        ]);
        small::open(&folder).unwrap()
    };
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let (nan, large) = (opened(f32::NAN), opened(1e5));
    let at = ["model.embed_tokens.weight", "element 10"];
    refused(write(&nan, W2, &out, 1 << 30), &at);
    refused(write(&large, W2, &out, 1 << 30), &at);
    assert!(names(dir.path()).is_empty());
    let mut allowed = nan.original();
    allowed.allow_nonfinite = true;
    assert!(packed::Writer::create(&to(&out), allowed, W2, 1 << 30).is_ok());
}

#[test]
fn recipes_without_meaning_are_refused() {
    let opened = model(|_| {});
    let dir = tempfile::tempdir().unwrap();
    for (method, granularity) in [
        (Method::Full, Granularity::Tensor),
        (Method::Phase { stages: 0 }, Granularity::Tensor),
        (Method::Phase { stages: 5 }, Granularity::Tensor),
        (Method::Phase { stages: 1 }, Granularity::Group(0)),
        (Method::Phase { stages: 1 }, Granularity::Group(24)),
        (Method::Ternary, Granularity::Row),
    ] {
        let recipe = Recipe {
            method,
            granularity,
            skip_head: false,
            rotated: false,
        };
        refused(write(&opened, recipe, &dir.path().join("x"), 1 << 30), &[]);
    }
}

#[test]
fn exports_are_plain_checkpoints() {
    for (tied, recipe, shard) in [
        (false, None, export::SHARD_BYTES),
        (true, None, 5000),
        (true, Some(W2), 5000),
    ] {
        let opened = model(|c| c["tie_word_embeddings"] = json!(tied));
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("plain");
        let original = opened.original();
        let mut writer =
            export::Writer::create(&to(&out), original, recipe.as_ref(), Dtype::BF16, shard)
                .unwrap();
        let planned = writer.planned().to_vec();
        for (k, tensor) in planned.iter().enumerate() {
            let n: usize = tensor.shape.iter().product();
            let values: Vec<f32> = (0..n).map(|i| (i % 128 + k) as f32).collect();
            writer.tensor(&tensor.name, &values).unwrap();
        }
        writer.finish().unwrap();
        let back = files::open(&out).unwrap();
        assert!(back.recipe.is_none());
        // A tied head that was quantized is no longer the embedding.
        assert_eq!(back.config.tied, tied && recipe.is_none());
        assert_eq!(back.fields["torch_dtype"], "bfloat16");
        for (k, tensor) in planned.iter().enumerate() {
            let read = back.weights.tensor(&tensor.name).unwrap().unwrap();
            assert_eq!(read.to_f32(1..2), [(1 + k) as f32]);
        }
    }
}
