//! Folders in, folders out.

use super::{good, json, refused, small};
use std::path::Path;

/// The small model with a tokenizer.
fn model() -> tempfile::TempDir {
    let mut files = small::whole();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tokenizer = root.join("tests/data/models/stories260k/tokenizer.json");
    let tokenizer = std::fs::read(tokenizer).expect("a test file");
    files.insert("tokenizer.json".to_owned(), tokenizer);
    small::on_disk(&files)
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn greedy(args: &[&str]) -> serde_json::Value {
    let all = [
        &["generate", "--json", "--temp", "0", "-n", "12", "-p", "a"][..],
        args,
    ]
    .concat();
    json(&all)["ids"].clone()
}

#[test]
fn packed_equals_quantized_while_loading_equals_exported() {
    let (folder, out) = (model(), tempfile::tempdir().expect("a temporary folder"));
    let original = text(folder.path());
    let packed = text(&out.path().join("packed"));
    let plain = text(&out.path().join("plain"));
    for recipe in [
        &["--stages", "2"][..],
        &["--stages", "3", "--granularity", "row", "--skip-lm-head"],
        &["--stages", "1", "--granularity", "group:16"],
        &["--granularity", "tile:64"],
        &["--method", "bitnet"],
        &["--method", "bitnet_1_58"],
    ] {
        let force = ["--force", "--json"];
        let report = json(&[&["quantize", &original, &packed][..], recipe, &force].concat());
        let layers = report["layers"].as_array().expect("a list").len();
        let head = usize::from(!recipe.contains(&"--skip-lm-head"));
        assert_eq!(layers, 14 + head, "{recipe:?}");
        let error = report["layers"][0]["relative_error"].as_f64();
        assert!(error.is_some_and(|e| e > 0.0 && e < 1.5), "{report}");

        let expected = greedy(&[&["-m", &original][..], recipe].concat());
        assert_eq!(greedy(&["-m", &packed]), expected, "{recipe:?}");
        good(&["export", &packed, &plain, "--dtype", "f32", "--force"]);
        let float = ["--activations", "float"];
        let loaded = greedy(&[&["-m", &packed][..], &float].concat());
        assert_eq!(
            greedy(&[&["-m", &plain][..], &float].concat()),
            loaded,
            "{recipe:?}"
        );
    }
}

#[test]
fn a_folder_in_use_is_kept_without_force() {
    let (folder, out) = (model(), tempfile::tempdir().expect("a temporary folder"));
    let (original, packed) = (text(folder.path()), text(&out.path().join("packed")));
    good(&["quantize", &original, &packed]);
    refused(&["quantize", &original, &packed], 2, &["--force"]);
    good(&["quantize", &original, &packed, "--force"]);
    refused(
        &["quantize", &packed, &original, "--force"],
        2,
        &["packed already"],
    );
    refused(&["export", &packed, &original], 2, &["--force"]);
}

#[test]
fn the_table_of_layers_names_all_and_adds_up() {
    let (folder, out) = (model(), tempfile::tempdir().expect("a temporary folder"));
    let packed = text(&out.path().join("packed"));
    let table = good(&["quantize", &text(folder.path()), &packed]);
    for word in [
        "model.layers.1.mlp.down_proj",
        "lm_head",
        "relative error",
        "bits/weight",
        "15 layers",
        "fairy2i, stages 2, scales per tensor",
    ] {
        assert!(table.contains(word), "{word}: {table}");
    }
}

#[test]
fn info_describes_a_model() {
    let info = json(&["info", "--json", "builtin"]);
    assert_eq!(info["layers"], 6);
    assert_eq!(info["kv_heads"], 2);
    let bits = info["bits_per_linear_weight"].as_f64().expect("a number");
    assert!((2.0..2.01).contains(&bits), "{bits}");
    let folder = model();
    let path = text(folder.path());
    let bits = |args: &[&str]| {
        let all = [&["info", "--json", &path][..], args].concat();
        json(&all)["bits_per_linear_weight"].as_f64()
    };
    assert_eq!(bits(&[]), Some(32.0));
    assert!(bits(&["--stages", "2"]).is_some_and(|b| b > 2.0 && b < 32.0));
    assert!(good(&["info", "builtin"]).contains("fairy2i, stages 2"));
}
