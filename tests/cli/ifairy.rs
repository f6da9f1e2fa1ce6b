//! A model that is complex throughout, through all commands that take a folder.

use super::{good, json, refused, small};
use serde_json::{Value, json as value};
use std::path::Path;

/// `config.json` of a tiny iFairy; 512 tokens so that the tokenizer of stories260k fits.
fn config() -> Value {
    value!({
        "model_type": "complexnet", "hidden_act": "relu2", "vocab_size": 512, "hidden_size": 24,
        "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
        "max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": 2
    })
}

/// Its folder with the tokenizer. Weights have both signs, norms are near 1.
fn model() -> tempfile::TempDir {
    let json = config();
    let mut tensors = small::tensors(&small::config(&json), None);
    for tensor in tensors.iter_mut().filter(|t| !t.name.contains("norm")) {
        for value in tensor.bytes.chunks_exact_mut(4) {
            // Packing rounds embedding and head to f16, which must not matter here.
            let x = f32::from_le_bytes([value[0], value[1], value[2], value[3]]);
            let x = ((x - 1.0) * 64.0).round() / 64.0;
            value.copy_from_slice(&x.to_le_bytes());
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tokenizer = root.join("tests/data/models/stories260k/tokenizer.json");
    let files = small::Files::from([
        ("config.json".to_owned(), json.to_string().into_bytes()),
        ("model.safetensors".to_owned(), small::container(&tensors)),
        (
            "tokenizer.json".to_owned(),
            std::fs::read(tokenizer).expect("a test file"),
        ),
    ]);
    small::on_disk(&files)
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn greedy(args: &[&str]) -> Value {
    let all = [
        &["generate", "--json", "--temp", "0", "-n", "12", "-p", "a"][..],
        args,
    ]
    .concat();
    json(&all)["ids"].clone()
}

/// Names of the tensors in a folder's only file.
fn names(folder: &str) -> Vec<String> {
    let bytes = std::fs::read(Path::new(folder).join("model.safetensors")).expect("a file");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("a safetensors file");
    tensors.names().into_iter().map(str::to_owned).collect()
}

#[test]
fn packed_equals_quantized_while_loading_equals_exported() {
    let (folder, out) = (model(), tempfile::tempdir().expect("a temporary folder"));
    let original = text(folder.path());
    let packed = text(&out.path().join("packed"));
    let plain = text(&out.path().join("plain"));
    for recipe in [
        &[][..],
        &["--stages", "2", "--granularity", "row"],
        &["--stages", "3", "--granularity", "group:16"],
        &["--stages", "2", "--granularity", "tile:4x16"],
        &["--stages", "4"],
    ] {
        let report = json(
            &[
                &["quantize", &original, &packed, "--force", "--json"][..],
                recipe,
            ]
            .concat(),
        );
        assert_eq!(
            report["layers"].as_array().expect("a list").len(),
            14,
            "{report}"
        );
        assert_eq!(report["layers"][0]["layer"], "layer.0.self_attn.q_proj");
        // What quantizes and says nothing else has one stage.
        let said = match recipe {
            [] => &["--stages", "1"][..],
            said => said,
        };
        for activations in ["8", "16"] {
            let bits = ["--activations", activations];
            let expected = greedy(&[&["-m", &original][..], said, &bits].concat());
            assert_eq!(
                greedy(&[&["-m", &packed][..], &bits].concat()),
                expected,
                "{recipe:?}"
            );
        }
        good(&["export", &packed, &plain, "--dtype", "f32", "--force"]);
        let mut as_before = names(&original);
        let mut exported = names(&plain);
        as_before.sort();
        exported.sort();
        assert_eq!(exported, as_before);
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
fn the_gpu_gives_the_bits_of_the_cpu() {
    if json(&["info", "--json"])["gpus"][0].is_null() {
        eprintln!("\n*** NO GPU ADAPTER: this test was SKIPPED ***\n");
        return;
    }
    let folder = model();
    let original = text(folder.path());
    for stages in ["1", "2"] {
        let model = ["-m", &original, "--stages", stages, "--activations", "8"];
        let on_cpu = greedy(&model);
        assert_eq!(
            greedy(&[&model[..], &["--device", "gpu", "--check"]].concat()),
            on_cpu
        );
    }
}

#[test]
fn info_counts_complex_values() {
    let folder = model();
    let info = json(&["info", "--json", &text(folder.path())]);
    assert_eq!(
        (&info["hidden"], &info["head_dim"]),
        (&value!(24), &value!(12)),
        "{info}"
    );
    assert_eq!(info["complex"], true);
}

#[test]
fn what_is_for_real_layers_is_refused() {
    let (folder, out) = (model(), tempfile::tempdir().expect("a temporary folder"));
    let (original, packed) = (text(folder.path()), text(&out.path().join("packed")));
    for (recipe, word) in [
        (&["--method", "bitnet"][..], "real layers"),
        (&["--rotate"], "complex"),
        (&["--calibrate", "text.txt"], "complex"),
    ] {
        let all = [&["quantize", &original, &packed][..], recipe].concat();
        refused(&all, 2, &[word]);
    }
    refused(&["analyze", &original], 2, &["complex"]);
}

#[test]
fn a_run_by_the_papers_recipe_trains_and_packs() {
    let (folder, out) = (model(), tempfile::tempdir().expect("a temporary folder"));
    let at = |name: &str| text(&out.path().join(name));
    let original = text(folder.path());
    let story = "Once upon a time there was a little dog who liked to run. ".repeat(60);
    let line = value!({ "text": story }).to_string();
    std::fs::write(at("story.jsonl"), line).expect("a file");
    let tokenizer = ["--tokenizer", &original, "--block", "32"];
    good(
        &[
            &["data", "--out", &at("data")][..],
            &tokenizer,
            &[&at("story.jsonl")],
        ]
        .concat(),
    );
    let settings = [
        "-m",
        &original,
        "--recipe",
        "ifairy",
        "--seq",
        "32",
        "--micro-batch",
        "2",
        "--warmup",
        "1",
        "--lr",
        "1e-2",
        "--save-every",
        "3",
    ];
    let train = |run: &str, steps: &str| {
        let (run, data) = (at(run), at("data"));
        good(
            &[
                &["train", "--out", &run, "--data", &data, "--steps", steps][..],
                &settings,
            ]
            .concat(),
        );
        run
    };
    let whole = train("whole", "6");
    let records =
        std::fs::read_to_string(Path::new(&whole).join("metrics.jsonl")).expect("records");
    let losses: Vec<f64> = records
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).expect("JSON")["loss"]
                .as_f64()
                .expect("a loss")
        })
        .collect();
    assert!(losses[5] < losses[0], "{losses:?}");
    // What was trained is a folder like any other, packed or not.
    let packed = text(&Path::new(&whole).join("packed"));
    let masters = text(&Path::new(&whole).join("model"));
    let again = at("again");
    good(&["quantize", &masters, &again]);
    let tensors =
        |folder: &str| std::fs::read(Path::new(folder).join("model.safetensors")).expect("a file");
    assert!(tensors(&again) == tensors(&packed));
    let ids = greedy(&["-m", &packed, "--activations", "8"]);
    assert!(ids.as_array().is_some_and(|ids| !ids.is_empty()), "{ids}");
    let evaluated = json(&[
        "eval",
        "ppl",
        "--json",
        "-m",
        &packed,
        "--activations",
        "8",
        &at("story.jsonl"),
    ]);
    let perplexity = evaluated[0]["ppl"].as_f64().expect("a perplexity");
    assert!((1.0..512.0).contains(&perplexity), "{evaluated}");
}
