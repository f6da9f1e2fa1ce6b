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

pub const W2: Recipe = Recipe {
    method: Method::Phase { stages: 2 },
    granularity: Granularity::Row,
    skip_head: false,
    rotated: false,
};

const TILES: Recipe = Recipe {
    granularity: Granularity::Tile {
        rows: 2,
        columns: 16,
    },
    ..W2
};

pub fn to(out: &Path) -> Destination<'_> {
    Destination::new(out, "quantize")
}

/// Codes and scales by a formula.
pub fn packed_layer(recipe: Recipe, linear: &LinearShape) -> Packed {
    let (out_features, in_features) = (linear.out_features, linear.in_features);
    let (method, granularity) = (recipe.method.of(&linear.prefix), recipe.granularity);
    let (codes, scales) =
        Packed::shapes(method, linear.form, granularity, out_features, in_features);
    let word = |i: usize| (i as u32 + linear.prefix.len() as u32).wrapping_mul(0x9E37_79B1);
    let count = |shape: &[usize]| shape.iter().product::<usize>();
    let mut codes: Vec<u32> = (0..count(&codes)).map(word).collect();
    if method == Method::Ternary {
        codes.iter_mut().for_each(|w| *w |= (*w >> 1) & 0x5555_5555);
    }
    Packed {
        method,
        form: linear.form,
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
pub fn layers(opened: &ModelFolder, recipe: Recipe) -> Vec<LinearShape> {
    let mut all = opened.config.linears();
    if recipe.skip_head {
        all.pop();
    }
    all
}

pub fn write(
    opened: &ModelFolder,
    recipe: Recipe,
    out: &Path,
    shard: u64,
) -> fairy2i_gpu::Result<()> {
    let mut writer = packed::Writer::create(&to(out), opened.original(), recipe, shard)?;
    for linear in layers(opened, recipe).iter().rev() {
        writer.linear(&linear.prefix, &packed_layer(recipe, linear))?;
    }
    writer.finish().map(drop)
}

/// The small model with `change` made to its configuration.
pub fn model(change: impl FnOnce(&mut Value)) -> ModelFolder {
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

pub fn names(folder: &Path) -> Vec<String> {
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
    for (bad, recipe) in [(f32::NAN, W2), (-1.0, W2), (-0.0, W2), (f32::INFINITY, W2)] {
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

/// Other programs write them where no weight of a scale block has such a code.
#[test]
fn scales_of_zero_are_read_and_written() {
    let opened = model(|_| {});
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let mut writer =
        packed::Writer::create(&to(&out), opened.original(), TILES, packed::SHARD_BYTES).unwrap();
    let mut all = Vec::new();
    for linear in layers(&opened, TILES) {
        let mut layer = packed_layer(TILES, &linear);
        layer.scales.iter_mut().step_by(3).for_each(|s| *s = 0.0);
        writer.linear(&linear.prefix, &layer).unwrap();
        all.push((linear, layer));
    }
    writer.finish().unwrap();
    let back = files::open(&out).unwrap();
    for (linear, layer) in all {
        let read = weights::packed(&*back.weights, TILES, &linear).unwrap();
        assert_eq!(read, PackedView::from(layer).into_packed());
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
