//! A look inside the weights, against the papers' numbers, the quantizer itself, and plain counting.
#![cfg(feature = "evaluate")]

#[allow(dead_code)] // the small model of the file tests
#[path = "files/small.rs"]
mod small;

use fairy2i_gpu::backend::{Cpu, block_on};
use fairy2i_gpu::evaluate::analysis::{
    Analysis, AnalysisOptions, Layer, TextOptions, analyze, html,
};
use fairy2i_gpu::model::quantize::quantize;
use fairy2i_gpu::model::{Form, Granularity, Method};
use fairy2i_gpu::ops::noise;
use fairy2i_gpu::ops::quantize::Activations;
use fairy2i_gpu::{Device, Error, Model, ModelFiles};
use serde_json::{Value, json};

/// A model whose tensor number k is noise of seed `first + k`; norms are ones.
fn model(config: &Value, first: u32, amplitude: f32) -> ModelFiles {
    let parsed = small::config(config);
    let mut tensors = small::tensors(&parsed, None);
    for (k, tensor) in (first..).zip(&mut tensors) {
        let n = tensor.shape.iter().product();
        let values = match tensor.shape.len() {
            1 => vec![1.0; n],
            _ => noise(k, n, amplitude),
        };
        tensor.bytes = values.iter().flat_map(|x: &f32| x.to_le_bytes()).collect();
    }
    let files = [
        ("config.json".to_owned(), config.to_string().into_bytes()),
        ("model.safetensors".to_owned(), small::container(&tensors)),
    ];
    Model::from_bytes("made up", files).expect("a model")
}

/// Odd sizes wherever the family allows them.
fn odd_config() -> Value {
    let mut config = small::config_json();
    config["vocab_size"] = 37.into();
    config["intermediate_size"] = 35.into();
    config
}

fn look(files: &ModelFiles) -> Analysis {
    analyze(files, &AnalysisOptions::default(), &mut |_| {}).expect("it is analysed")
}

fn values(files: &ModelFiles, layer: &Layer) -> Vec<f32> {
    let name = format!("{}.weight", layer.name);
    let tensor = files.opened().weights.tensor(&name);
    let tensor = tensor.expect("readable").expect("there");
    tensor.to_f32(0..tensor.elements())
}

/// The head of a model is given the matrix of each case of the papers' quantizer.
#[test]
fn errors_are_those_of_the_papers_code() {
    let fixture = std::fs::read("tests/data/quantizer.json").expect("the fixture");
    let fixture: Value = serde_json::from_slice(&fixture).expect("JSON");
    for case in fixture["cases"].as_array().expect("cases") {
        let number = |key: &str| case[key].as_u64().expect("a number");
        let (rows, columns) = (number("rows"), number("cols"));
        let config = json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
            "vocab_size": rows, "hidden_size": columns, "intermediate_size": 4, "num_hidden_layers": 1,
            "num_attention_heads": 1, "num_key_value_heads": 1, "max_position_embeddings": 64,
            "rms_norm_eps": 1e-5, "tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": 2
        });
        let parsed = small::config(&config);
        let tensors = small::tensors(&parsed, None);
        let head = tensors.iter().position(|t| t.name == "lm_head.weight");
        let head = head.expect("it is not tied") as u32;
        let amplitude = case["amplitude"].as_f64().expect("a number") as f32;
        let analysis = look(&model(&config, number("seed") as u32 - head, amplitude));
        let layer = analysis.layers.last().expect("the head");
        assert_eq!(layer.shape, [rows as usize, columns as usize]);
        let dense = layer.dense.as_ref().expect("full precision");
        let errors = dense.errors[0].relative_error.expect("not zero");
        for (stages, error) in (1..).zip(errors) {
            let theirs = &case["relative_error"][format!("complex_phase_v{stages}")];
            let theirs = theirs.as_f64().expect("a number");
            assert!(
                (error - theirs).abs() < 1e-6,
                "v{stages}: {error}, {theirs}"
            );
        }
        for stage in case["stages"].as_array().expect("stages") {
            let scales = dense.scales[stage["stage"].as_u64().expect("a number") as usize];
            let ours = if stage["part"] == "U" {
                scales.u
            } else {
                scales.w
            };
            for (ours, key) in ours.into_iter().zip(["s_re", "s_im"]) {
                let theirs = stage[key].as_f64().expect("a number") as f32;
                assert!(
                    (ours / theirs - 1.0).abs() < 1e-6,
                    "{key}: {ours}, {theirs}"
                );
            }
        }
    }
}

#[test]
fn errors_are_what_the_quantizer_reports_for_odd_sizes_too() {
    let files = model(&odd_config(), 40, 0.05);
    let granularities = [
        Granularity::Tensor,
        Granularity::Row,
        Granularity::Group(64),
        Granularity::Group(128),
        Granularity::Tile {
            rows: 64,
            columns: 64,
        },
    ];
    for layer in &look(&files).layers {
        let r = values(&files, layer);
        let dense = layer.dense.as_ref().expect("full precision");
        for (found, granularity) in dense.errors.iter().zip(granularities) {
            for stages in 1..=4 {
                let [out, inputs] = layer.shape;
                let (cpu, method) = (Cpu::new(), Method::Phase { stages });
                let made = quantize(
                    &cpu,
                    "w",
                    &r,
                    Form::WidelyLinear,
                    out,
                    inputs,
                    method,
                    granularity,
                    false,
                );
                let made = block_on(&cpu, made).expect("it is quantized");
                let theirs = made.relative_error.expect("not zero");
                let ours = found.relative_error.expect("not zero")[stages - 1];
                let what = format!("{} {granularity} T={stages}", layer.name);
                assert!((ours - theirs).abs() < 1e-6, "{what}: {ours}, {theirs}");
                let bits = found.bits_per_weight[stages - 1];
                assert!((bits - made.bits_per_weight()).abs() < 1e-12, "{what}");
            }
        }
    }
}

#[test]
fn counts_and_norms_add_up() {
    let files = model(&odd_config(), 40, 0.05);
    for layer in &look(&files).layers {
        let dense = layer.dense.as_ref().expect("full precision");
        let [n, m] = layer.shape.map(|x| x.div_ceil(2));
        for phases in [&dense.u, &dense.w] {
            let counted = phases.histogram.iter().sum::<u64>() + phases.zeros;
            assert_eq!(counted as usize, n * m, "{}", layer.name);
        }
        // |R|^2 = 2 (|U|^2 + |W|^2), padding being zeros
        let planes = 2.0 * (dense.u.norm.powi(2) + dense.w.norm.powi(2));
        assert!((planes / dense.norm.powi(2) - 1.0).abs() < 1e-6);
        let p = layer.padding;
        let sum = p.ideal_bytes + p.odd_bytes + p.word_bytes;
        assert_eq!(sum, p.stored_bytes as f64, "{}", layer.name);
        let odd = layer.shape.iter().any(|x| x % 2 == 1);
        assert_eq!(p.odd_bytes > 0.0, odd, "{}", layer.name);
    }
}

/// Where a JSON value has null: numbers that are not finite become that.
fn nulls(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Null => found.push(path.to_owned()),
        Value::Array(all) => all.iter().for_each(|v| nulls(v, path, found)),
        Value::Object(all) => all
            .iter()
            .for_each(|(k, v)| nulls(v, &format!("{path}.{k}"), found)),
        _ => {}
    }
}

#[test]
fn json_has_no_number_that_is_none() {
    let files = model(&odd_config(), 40, 0.05);
    let device = Device::cpu();
    let ids: Vec<u32> = (0..20).map(|i| i * 7 % 37).collect();
    let text = TextOptions {
        device: &device,
        ids: &ids,
        stages: 2,
        granularity: Granularity::Row,
        activations: Activations::Int16,
    };
    let options = AnalysisOptions {
        allow_nonfinite: false,
        text: Some(text),
    };
    let mut steps = Vec::new();
    let analysis = analyze(&files, &options, &mut |p| steps.push((p.done, p.of)));
    let analysis = analysis.expect("it is analysed");
    assert!(steps.is_sorted() && steps.last().is_some_and(|(done, of)| done == of));
    let value = serde_json::to_value(&analysis).expect("JSON");
    let mut found = Vec::new();
    nulls(&value, "", &mut found);
    let meant = [".block", ".codes", ".kind"]; // of the head, of a layer that is not packed, of all layers
    let wrong: Vec<_> = found
        .iter()
        .filter(|path| !meant.iter().any(|end| path.ends_with(end)))
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    let activity = analysis.activity.expect("there was a text");
    assert_eq!(activity.tokens, 20);
    assert_eq!(activity.inputs.len(), 2 * 4 + 1);
    assert_eq!(activity.outputs.len(), 2 * 7 + 1);
    for input in &activity.inputs {
        assert!(
            input.error_16 < input.error_8 && input.error_8 < 0.02,
            "{input:?}"
        );
        assert!(input.largest >= input.rms);
    }
    for output in &activity.outputs {
        let errors = output.by_stages.expect("not zero");
        assert!(errors.is_sorted_by(|a, b| a > b), "{output:?}");
        assert_eq!(output.relative_error, Some(errors[1]));
    }
}

/// With inputs that are all alike in power and independent, the error of an output is that of the weight: a check
/// of the tap against numbers that were found without it.
#[test]
fn errors_of_outputs_follow_those_of_weights() {
    let mut config = odd_config();
    config["hidden_size"] = 64.into();
    config["intermediate_size"] = 96.into();
    let files = model(&config, 3, 0.1);
    let device = Device::cpu();
    let ids: Vec<u32> = (0..60).map(|i| i * 11 % 37).collect();
    let text = |activations| TextOptions {
        device: &device,
        ids: &ids,
        stages: 3,
        granularity: Granularity::Tensor,
        activations,
    };
    let run = |activations| {
        let options = AnalysisOptions {
            allow_nonfinite: false,
            text: Some(text(activations)),
        };
        analyze(&files, &options, &mut |_| {}).expect("it is analysed")
    };
    let (float, short) = (run(Activations::Float), run(Activations::Int8));
    let outputs = |a: &Analysis| a.activity.clone().expect("a text").outputs;
    for ((layer, output), rounded) in float
        .layers
        .iter()
        .zip(outputs(&float))
        .zip(outputs(&short))
    {
        assert_eq!(layer.name, output.layer);
        let weights = layer
            .dense
            .as_ref()
            .and_then(|d| d.errors[0].relative_error);
        let (weights, outputs) = (weights.expect("known"), output.by_stages.expect("known"));
        for (w, y) in weights.into_iter().zip(outputs) {
            assert!((0.5..2.0).contains(&(y / w)), "{}: {y} of {w}", layer.name);
        }
        // eight bits a token add an error of their own, which deep stages show
        let rounded = rounded.by_stages.expect("known");
        assert!((rounded[3] - outputs[3]).abs() > 1e-7, "{}", layer.name);
        assert!((rounded[3] - outputs[3]).abs() < 0.05, "{}", layer.name);
    }
}

#[test]
fn packed_models_show_codes_and_scales() {
    let files = Model::builtin().expect("the built-in model");
    let recipe = files.recipe().expect("it is packed");
    let analysis = look(&files);
    assert_eq!(analysis.stored, recipe.to_string());
    assert_eq!(analysis.notes.len(), 1);
    for layer in &analysis.layers {
        let codes = layer.codes.as_ref().expect("packed");
        let [n, m] = layer.shape.map(|x| x.div_ceil(2) as u64);
        for stage in &codes.stages {
            for plane in [stage.u, stage.w] {
                assert_eq!(plane.counts.iter().sum::<u64>(), n * m, "{}", layer.name);
                assert!(plane.scales.iter().all(|s| *s > 0.0));
            }
        }
        assert!(layer.dense.is_none());
    }
}

#[test]
fn weights_that_are_no_numbers_are_named_or_count_as_zero() {
    let config = odd_config();
    let parsed = small::config(&config);
    let mut tensors = small::tensors(&parsed, None);
    let down = tensors.iter_mut().find(|t| t.name.contains("down_proj"));
    let down = down.expect("a layer");
    down.bytes[40..44].copy_from_slice(&f32::NAN.to_le_bytes());
    let files = [
        ("config.json".to_owned(), config.to_string().into_bytes()),
        ("model.safetensors".to_owned(), small::container(&tensors)),
    ];
    let files = Model::from_bytes("made up", files).expect("a model");
    let error = analyze(&files, &AnalysisOptions::default(), &mut |_| {});
    match error.expect_err("it is refused") {
        Error::NonFinite { tensor, index, .. } => {
            assert!(tensor.contains("down_proj"), "{tensor}");
            assert_eq!(index, 10);
        }
        error => panic!("{error}"),
    }
    let options = AnalysisOptions {
        allow_nonfinite: true,
        text: None,
    };
    analyze(&files, &options, &mut |_| {}).expect("it goes on");
}

/// Tags of a page in their order, with those that stand alone left out.
fn tags(page: &str) -> Vec<String> {
    let mut rest = page;
    let mut found = Vec::new();
    while let Some(start) = rest.find('<') {
        let end = rest[start..].find('>').expect("every tag ends") + start;
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        let name: String = tag.chars().take_while(|c| !c.is_whitespace()).collect();
        if !tag.starts_with('!') && !tag.ends_with('/') && name != "meta" {
            found.push(name);
        }
    }
    found
}

fn well_formed(page: &str) {
    let mut open = Vec::new();
    for tag in tags(page) {
        match tag.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop().as_deref(), Some(name)),
            None => open.push(tag),
        }
    }
    assert!(open.is_empty(), "{open:?}");
    for word in ["http", "NaN", "inf ", "<script", "url(", "@import"] {
        assert!(!page.contains(word), "{word}");
    }
}

#[test]
fn pages_are_whole_and_need_nothing_else() {
    let dense = model(&odd_config(), 40, 0.05);
    let packed = Model::builtin().expect("the built-in model");
    let device = Device::cpu();
    let ids = [1, 2, 3, 4, 5, 6];
    for files in [dense, packed] {
        for with_text in [false, true] {
            let text = with_text.then_some(TextOptions {
                device: &device,
                ids: &ids,
                stages: 2,
                granularity: Granularity::Tensor,
                activations: Activations::Int16,
            });
            let options = AnalysisOptions {
                allow_nonfinite: false,
                text,
            };
            let analysis = analyze(&files, &options, &mut |_| {}).expect("it is analysed");
            let page = html::page("<i>\"name\"</i> & co", &analysis);
            well_formed(&page);
            assert!(!page.contains("<i>"), "the name is escaped");
            assert!(page.matches("<svg").count() >= 2);
            // every heading is followed by a sentence with a number in it
            for section in page.split("<h2>").skip(1) {
                let says = section.split("<p>").nth(1).expect("a sentence");
                let says = says.split("</p>").next().expect("its end");
                assert!(says.contains(|c: char| c.is_ascii_digit()), "{says}");
            }
        }
    }
}
