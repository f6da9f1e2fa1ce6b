//! Configurations: what is understood, and which field is named when one is not.

use super::small::{config_json, parse};
use super::{check, refused};
use fairy2i_gpu::files::config as format;
use fairy2i_gpu::model::{Dtype, Granularity, Method, Mixed, Recipe, RopeScaling};
use serde_json::{Value, json};

fn with(field: &str, value: Value) -> Value {
    let mut json = config_json();
    json[field] = value;
    json
}

fn without(field: &str) -> Value {
    let mut json = config_json();
    json.as_object_mut().unwrap().remove(field);
    json
}

#[test]
fn defaults_are_those_of_transformers() {
    let config = parse(&config_json()).unwrap();
    assert_eq!((config.head_dim, config.rope.theta), (6, 10_000.0));
    assert_eq!(config.rope.scaling, RopeScaling::None);
    assert_eq!(parse(&without("num_key_value_heads")).unwrap().kv_heads, 2);
    assert_eq!(parse(&without("bos_token_id")).unwrap().bos, Some(1));
    assert_eq!(parse(&with("bos_token_id", Value::Null)).unwrap().bos, None);
    assert_eq!(
        parse(&with("eos_token_id", json!([2, 7]))).unwrap().eos,
        [2, 7]
    );
    assert_eq!(parse(&with("head_dim", json!(8))).unwrap().head_dim, 8);
    assert_eq!(
        parse(&without("max_position_embeddings")).unwrap().context,
        2048
    );
}

#[test]
fn end_tokens_of_the_generation_config_are_added() {
    let json = config_json().to_string();
    let generation = br#"{"eos_token_id": [2, 9]}"#;
    let parsed = format::parse("c", json.as_bytes(), Some(("g", generation)));
    assert_eq!(parsed.unwrap().0.eos, [2, 9]);
    let generation = br#"{"eos_token_id": 100000}"#;
    let parsed = format::parse("c", json.as_bytes(), Some(("gen.json", generation)));
    refused(parsed, &["gen.json", "`eos_token_id`"]);
}

#[test]
fn bad_fields_are_named() {
    let cases = [
        ("num_key_value_heads", json!(3)),
        ("num_attention_heads", json!(5)),
        ("num_attention_heads", json!(12)), // heads of one value
        ("num_attention_heads", json!(0)),
        ("num_attention_heads", json!(-1)),
        ("head_dim", json!(7)),
        ("head_dim", json!("64")),
        ("hidden_size", json!(0)),
        ("hidden_size", json!(u64::MAX)),
        ("hidden_size", json!(1e300)),
        ("vocab_size", json!(1u64 << 40)),
        ("intermediate_size", json!(12.5)),
        ("num_hidden_layers", json!(4_000_000_000u64)),
        ("max_position_embeddings", json!(0)),
        ("rms_norm_eps", json!(0)),
        ("rms_norm_eps", json!(1e-300)),
        ("rope_theta", json!(-1)),
        ("hidden_act", json!("gelu")),
        ("attention_bias", json!("yes")),
        ("mlp_bias", json!(1)),
        ("tie_word_embeddings", json!("yes")),
        ("bos_token_id", json!(512)),
        ("bos_token_id", json!([1, 2])),
        ("eos_token_id", json!([2, 512])),
        ("eos_token_id", json!(-1)),
        ("architectures", json!(["GPT2LMHeadModel"])),
        ("architectures", json!(["LlamaForCausalLM", "x"])),
        ("model_type", json!("complexnet")),
        ("partial_rotary_factor", json!(0.5)),
        ("rope_scaling", json!([])),
        ("quantization_config", json!(4)),
    ];
    for (field, value) in cases {
        let message = refused(parse(&with(field, value)), &["config.json"]);
        assert!(message.contains(&format!("`{field}`")), "{message}");
    }
    for field in [
        "vocab_size",
        "hidden_size",
        "num_hidden_layers",
        "architectures",
    ] {
        let mut json = without(field);
        json.as_object_mut().unwrap().remove("model_type");
        refused(parse(&json), &[field, "missing"]);
    }
}

#[test]
fn sizes_that_overflow_together_are_refused() {
    let mut json = config_json();
    json["hidden_size"] = json!(1 << 20);
    json["intermediate_size"] = json!(1 << 22);
    json["num_hidden_layers"] = json!(1 << 12);
    json["vocab_size"] = json!(1 << 24);
    let big = parse(&json);
    if let Ok(config) = &big {
        assert!(config.parameters() < usize::MAX / 8);
    }
    json["head_dim"] = json!(1 << 14);
    json["num_attention_heads"] = json!(1 << 16);
    json["num_key_value_heads"] = json!(1 << 16);
    refused(parse(&json), &["`num_attention_heads`"]);
}

#[test]
fn json_is_read_strictly() {
    let parse = |text: &str| format::parse("config.json", text.as_bytes(), None);
    refused(parse("{"), &["config.json"]);
    refused(parse("[1]"), &["config.json", "object"]);
    refused(
        parse(r#"{"hidden_size": 1, "hidden_size": 2}"#),
        &["duplicate key `hidden_size`"],
    );
    refused(parse(&"[".repeat(100_000)), &["config.json"]);
    refused(
        parse("{\"architectures\": \"a\\nb\"}"),
        &["`architectures`"],
    );
}

#[test]
fn rope_scalings() {
    let llama3 = json!({
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192
    });
    let expected = RopeScaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_context: 8192.0,
    };
    let scaling = |json: &Value| parse(json).unwrap().rope.scaling;
    assert_eq!(scaling(&with("rope_scaling", llama3.clone())), expected);
    let linear = json!({"type": "linear", "factor": 2});
    assert_eq!(
        scaling(&with("rope_scaling", linear)),
        RopeScaling::Linear { factor: 2.0 }
    );
    assert_eq!(
        scaling(&with("rope_scaling", json!({"rope_type": "default"}))),
        RopeScaling::None
    );
    // transformers 5
    let mut five = llama3.clone();
    five["rope_theta"] = json!(500000.0);
    let config = parse(&with("rope_parameters", five.clone())).unwrap();
    assert_eq!(
        (config.rope.theta, config.rope.scaling),
        (500000.0, expected)
    );
    let only_theta = with("rope_parameters", json!({"rope_theta": 5e5}));
    assert_eq!(parse(&only_theta).unwrap().rope.theta, 5e5);
    let mut both = with("rope_parameters", five);
    both["rope_scaling"] = json!({"type": "linear", "factor": 2});
    refused(parse(&both), &["`rope_scaling`", "contradicts"]);

    let mut order = llama3.clone();
    order["low_freq_factor"] = json!(4.0);
    refused(
        parse(&with("rope_scaling", order)),
        &["`rope_scaling.low_freq_factor`"],
    );
    let cases = [
        (json!({"type": "ntk", "factor": 2}), "`rope_scaling.type`"),
        (
            json!({"rope_type": "proportional", "factor": 2}),
            "`rope_scaling.rope_type`",
        ),
        (json!({"factor": 2}), "`rope_scaling.rope_type`"),
        (json!({"type": "linear"}), "`rope_scaling.factor`"),
        (
            json!({"type": "linear", "factor": 0.5}),
            "`rope_scaling.factor`",
        ),
        (
            json!({"rope_type": "llama3", "factor": 8}),
            "`rope_scaling.low_freq_factor`",
        ),
    ];
    for (value, field) in cases {
        refused(parse(&with("rope_scaling", value)), &[field]);
    }
}

#[test]
fn mistral_sees_a_window_where_it_slides() {
    let mistral = |window: Option<Value>, context: usize| {
        let mut json = with("architectures", json!(["MistralForCausalLM"]));
        json["model_type"] = json!("mistral");
        json["max_position_embeddings"] = json!(context);
        if let Some(window) = window {
            json["sliding_window"] = window;
        }
        parse(&json)
    };
    let window = |window: Option<Value>, context| {
        let config = mistral(window, context).unwrap();
        [0, 1].map(|l| config.attention(l).window)
    };
    assert_eq!(window(Some(Value::Null), 32768), [usize::MAX; 2]);
    assert_eq!(window(Some(json!(4096)), 4096), [usize::MAX; 2]);
    assert_eq!(window(None, 4096), [usize::MAX; 2]);
    assert_eq!(window(Some(json!(1024)), 32768), [1024; 2]);
    assert_eq!(window(None, 32768), [4096; 2]);
    refused(mistral(Some(json!(0)), 32768), &["`sliding_window`", "0"]);
}

#[test]
fn packed_recipes_round_trip() {
    let mixed = Mixed::from(2).with("down", 3).expect("stages");
    let methods = [
        Method::Phase { stages: 1 },
        Method::Phase { stages: 4 },
        Method::phase(mixed),
        Method::phase(mixed.with("down@1", 2).expect("stages")),
        Method::phase("2,0=3,gateup@1=4".parse().expect("stages")),
    ];
    let grains = [
        Granularity::Tensor,
        Granularity::Row,
        Granularity::Group(32),
        Granularity::Tile {
            rows: 3,
            columns: 16,
        },
    ];
    let mut recipes = Vec::new();
    for method in methods {
        recipes.extend(grains.map(|g| (method, g)));
    }
    recipes.extend([Method::Binary, Method::Ternary].map(|m| (m, Granularity::Tensor)));
    for (method, granularity) in recipes {
        for skip_head in [false, true] {
            let recipe = Recipe {
                method,
                granularity,
                skip_head,
                rotated: false,
            };
            let json = with(
                "quantization_config",
                format::quantization_config(&recipe).unwrap(),
            );
            let parsed = format::parse("c", json.to_string().as_bytes(), None).unwrap();
            assert_eq!(parsed.1, Some(recipe));
        }
    }
}

#[test]
fn versions_are_the_lowest_that_suffice() {
    for (stages, version) in [("3", 1), ("2,head=3", 2), ("2,down@1=3", 3), ("2,0-1=3", 3)] {
        let mixed: Mixed = stages.parse().expect("stages");
        let recipe = Recipe {
            method: Method::phase(mixed),
            granularity: Granularity::Row,
            skip_head: false,
            rotated: false,
        };
        let config = format::quantization_config(&recipe).unwrap();
        assert_eq!(config["version"], version, "{stages}");
        let tile = Granularity::Tile {
            rows: 8,
            columns: 64,
        };
        let tiles = Recipe {
            granularity: tile,
            ..recipe
        };
        let tiles = format::quantization_config(&tiles).unwrap();
        assert_eq!(tiles["version"], 3, "{stages}");
        // a folder of an unknown later version is refused
        let mut newer = config;
        newer["version"] = json!(version + 1);
        let json = with("quantization_config", newer).to_string();
        let message = refused(format::parse("c", json.as_bytes(), None), &["version"]);
        assert!(message.contains("newer"), "{message}");
    }
}

#[test]
fn bad_quantization_configs_are_named() {
    let good = json!({
        "quant_method": "fairy2i", "version": 1, "method": "fairy2i", "stages": 2,
        "granularity": "group", "group_size": 32
    });
    let cases = [
        ("quant_method", json!("gptq")),
        ("version", json!(2)),
        ("version", json!(3)),
        ("stages_of", json!(3)),
        ("stages_of", json!({"knee_proj": 3})),
        ("stages_of", json!({"down_proj": 5})),
        ("stages_of", json!({"v_proj": 3})),
        ("stages_of", json!({"down_proj": "3"})),
        ("stages_of", json!({"model.layers.9.mlp.down_proj": 3})),
        ("stages_of", json!({"model.layers.0.mlp.up_proj": 3})),
        ("stages_of", json!({"model.layers.0.down_proj": 3})),
        ("version", json!(0)),
        ("method", json!("fairy3i")),
        ("stages", json!(5)),
        ("stages", json!(0)),
        ("stages", Value::Null),
        ("granularity", json!("column")),
        ("tile_rows", json!(3)),
        ("granularity", json!(null)),
        ("group_size", json!(17)),
        ("group_size", json!(0)),
        ("group_size", Value::Null),
        ("skip_lm_head", json!(1)),
    ];
    for (field, value) in cases {
        let mut bad = good.clone();
        bad[field] = value.clone();
        let json = with("quantization_config", bad).to_string();
        let result = format::parse("c", json.as_bytes(), None);
        let message = refused(result, &[&format!("`quantization_config.{field}`")]);
        if field == "version" && value != json!(0) {
            assert!(message.contains("newer"), "{message}");
        }
    }
    let mut binary = good;
    binary["method"] = json!("bitnet");
    binary["stages"] = json!(1);
    let json = with("quantization_config", binary).to_string();
    refused(
        format::parse("c", json.as_bytes(), None),
        &["`quantization_config.granularity`"],
    );
}

#[test]
fn written_configurations_read_back() {
    let mut json = with("rope_scaling", json!({"rope_type": "linear", "factor": 4}));
    json["head_dim"] = json!(10);
    json["num_key_value_heads"] = json!(2);
    let config = parse(&json).unwrap();
    let written = format::to_json(&config, None, Dtype::F16, None);
    assert_eq!(parse(&written.clone().into()).unwrap(), config);
    assert_eq!(written["torch_dtype"], "float16");
    assert_eq!(written["rms_norm_eps"], 1e-5);
    // Fields we know nothing about stay.
    json["chat"] = json!("kept");
    let written = format::to_json(&config, None, Dtype::F16, json.as_object());
    assert_eq!(written["chat"], "kept");
}

#[test]
fn long_and_hostile_values_make_short_lines() {
    let value = "x\n\u{1b}[31m".repeat(10_000);
    let error = parse(&with("hidden_act", json!(value))).unwrap_err();
    assert!(check(&error, &["`hidden_act`"]).len() < 1000);
}
