//! Configurations of models that are LLaMA's relatives: rotary embeddings under every spelling, and fields that ask
//! for another computation.

use super::refused;
use super::small::{config, config_json, parse};
use fairy2i_gpu::model::{Config, RopeScaling, Rotary};
use serde_json::{Value, json};

fn with(field: &str, value: Value) -> Value {
    let mut json = config_json();
    json[field] = value;
    json
}

/// `rope_parameters` or `rope_scaling` in `field`.
fn rope(field: &str, value: Value) -> fairy2i_gpu::Result<fairy2i_gpu::model::Rope> {
    parse(&with(field, value)).map(|config| config.rope)
}

#[test]
fn a_kind_of_scaling_runs_under_each_spelling() {
    let kinds = [
        (json!({"factor": 4.0}), "linear"),
        (
            json!({"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192}),
            "llama3",
        ),
        (json!({}), "default"),
    ];
    for (fields, kind) in kinds {
        let spelled = |keys: &[&str]| {
            let mut value = fields.clone();
            for key in keys {
                value[*key] = json!(kind);
            }
            value
        };
        let expected = rope("rope_scaling", spelled(&["type"])).unwrap();
        assert_eq!(expected.scaling == RopeScaling::None, kind == "default");
        for field in ["rope_scaling", "rope_parameters"] {
            for keys in [&["type"][..], &["rope_type"], &["type", "rope_type"]] {
                let mut value = spelled(keys);
                assert_eq!(rope(field, value.clone()).unwrap(), expected, "{value}");
                // What says nothing new, or nothing at all.
                value["rope_theta"] = json!(10_000);
                value["partial_rotary_factor"] = json!(1);
                value["attention_factor"] = json!(1.0);
                value["beta_fast"] = Value::Null;
                value["original_max_position_embeddings"] = json!(8192);
                assert_eq!(rope(field, value).unwrap(), expected, "{kind}");
            }
        }
    }
}

#[test]
fn objects_that_say_nothing_do_not_scale() {
    for field in ["rope_scaling", "rope_parameters"] {
        for value in [
            json!({}),
            Value::Null,
            json!({"rope_type": null, "factor": null}),
            json!({"rope_theta": 10_000.0}),
            json!({"rope_type": "default", "factor": 1.0}),
        ] {
            let plain = parse(&config_json()).unwrap().rope;
            assert_eq!(
                rope(field, value.clone()).unwrap(),
                plain,
                "{field} {value}"
            );
        }
    }
    let mut both = with("rope_scaling", json!({}));
    both["rope_parameters"] = json!({"type": "linear", "factor": 2, "rope_theta": 5e5});
    let rope = parse(&both).unwrap().rope;
    assert_eq!(rope.theta, 5e5);
    assert_eq!(rope.scaling, RopeScaling::Linear { factor: 2.0 });
}

#[test]
fn rope_keys_that_are_not_understood_are_named() {
    let linear = |key: &str, value: Value| {
        let mut set = json!({"rope_type": "linear", "factor": 4.0});
        set[key] = value;
        set
    };
    let full = json!({"rope_type": "linear", "factor": 4.0});
    let cases = [
        (linear("type", json!("llama3")), "type"),
        (linear("rope_type", json!("ntk")), "rope_type"),
        (linear("rope_type", json!(1)), "rope_type"),
        (linear("beta_fast", json!(32)), "beta_fast"),
        (linear("high_freq_factor", json!(4)), "high_freq_factor"),
        (
            linear("llama_4_scaling_beta", json!(0.1)),
            "llama_4_scaling_beta",
        ),
        (linear("attention_factor", json!(1.2)), "attention_factor"),
        (
            linear("partial_rotary_factor", json!(0.5)),
            "partial_rotary_factor",
        ),
        (linear("truncate", json!(false)), "truncate"),
        (linear("Factor", json!(2)), "Factor"),
        (
            linear("original_max_position_embeddings", json!("4096")),
            "original_max_position_embeddings",
        ),
        (json!({"type": "default", "factor": 4}), "factor"),
        (json!({"type": "dynamic"}), "factor"),
        (
            json!({"type": "longrope", "short_factor": [1.0]}),
            "short_factor",
        ),
        (
            json!({"type": "yarn", "factor": 4, "beta_fast": 1, "beta_slow": 2}),
            "beta_fast",
        ),
        (json!({"type": "yarn", "factor": 4, "beta": 1}), "beta"),
        (json!({"factor": 4}), "rope_type"),
        (json!({"kind": "linear", "factor": 4}), "rope_type"),
        (json!({"full_attention": full.clone()}), "full_attention"),
        (
            json!({"full_attention": full, "sliding_attention": {"rope_type": "default"}}),
            "full_attention",
        ),
    ];
    for (value, key) in cases {
        for field in ["rope_scaling", "rope_parameters"] {
            let named = format!("`{field}.{key}`");
            refused(rope(field, value.clone()), &["config.json", &named]);
        }
    }
}

#[test]
fn places_that_disagree_about_rope_are_named() {
    let mut json = with("rope_theta", json!(10_000.0));
    json["rope_parameters"] = json!({"rope_type": "default", "rope_theta": 500_000.0});
    refused(
        parse(&json),
        &["`rope_parameters.rope_theta`", "500000", "10000"],
    );
    json["rope_theta"] = json!(5e5);
    assert_eq!(parse(&json).unwrap().rope.theta, 5e5);
    json["rope_scaling"] = json!({"type": "default", "rope_theta": 1e6});
    refused(parse(&json), &["`rope_scaling.rope_theta`"]);

    let mut json = with("original_max_position_embeddings", json!(4096));
    let set =
        json!({"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4});
    json["rope_scaling"] = set;
    assert!(parse(&json).is_ok());
    json["rope_scaling"]["original_max_position_embeddings"] = json!(8192);
    refused(
        parse(&json),
        &["`rope_scaling.original_max_position_embeddings`", "4096"],
    );
}

/// The configuration of another family.
fn family(architecture: &str, model_type: &str, fields: Value) -> fairy2i_gpu::Result<Config> {
    let mut json = config_json();
    json["architectures"] = json!([architecture]);
    json["model_type"] = json!(model_type);
    for (field, value) in fields.as_object().unwrap() {
        json[field] = value.clone();
    }
    parse(&json)
}

#[test]
fn layers_with_windows_are_found_by_every_rule() {
    let windows = |config: Config| [0, 1].map(|l| config.attention(l).window);
    const ALL: usize = usize::MAX;
    let qwen = |fields| family("Qwen2ForCausalLM", "qwen2", fields);
    let on = json!({"use_sliding_window": true, "sliding_window": 9, "max_window_layers": 1});
    assert_eq!(windows(qwen(on.clone()).unwrap()), [ALL, 9]);
    let off = json!({"sliding_window": 9, "max_window_layers": 0});
    assert_eq!(windows(qwen(off).unwrap()), [ALL; 2]);
    let mut listed = on;
    listed["layer_types"] = json!(["sliding_attention", "full_attention"]);
    assert_eq!(windows(qwen(listed.clone()).unwrap()), [9, ALL]);
    listed["use_sliding_window"] = json!(false);
    refused(qwen(listed), &["`layer_types`", "sliding_window"]);
    let gelu = json!({"hidden_act": "gelu_pytorch_tanh", "head_dim": 6, "sliding_window": 9});
    let gemma = family("Gemma2ForCausalLM", "gemma2", gelu).unwrap();
    assert_eq!(windows(gemma), [9, ALL]);
    refused(
        qwen(json!({"layer_types": ["full_attention"]})),
        &["`layer_types`", "2 values"],
    );
}

#[test]
fn layers_without_rotation_are_found_by_both_rules() {
    let smol = |fields| family("SmolLM3ForCausalLM", "smollm3", fields);
    let rotated = |config: Config| [0, 1].map(|l| config.attention(l).rotary == Rotary::Main);
    let listed = smol(json!({"no_rope_layers": [0, 1]})).unwrap();
    assert_eq!(rotated(listed), [false, true]);
    let counted = smol(json!({"no_rope_layer_interval": 2})).unwrap();
    assert_eq!(rotated(counted), [true, false]);
    refused(
        smol(json!({"no_rope_layers": [1, 2]})),
        &["`no_rope_layers`", "2"],
    );
}

#[test]
fn the_part_that_reads_text_has_the_usual_values_of_its_family() {
    let outer = json!({
        "architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3",
        "eos_token_id": [1, 106], "vision_config": {"hidden_size": 1152},
        "text_config": {
            "model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10_240,
            "num_hidden_layers": 34, "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
            "sliding_window": 1024
        }
    });
    let config = parse(&outer).unwrap();
    let heads = (config.heads, config.kv_heads, config.head_dim);
    assert_eq!((heads, config.vocab), ((8, 4, 256), 262_208));
    assert_eq!((config.tied, &config.eos[..]), (true, &[1, 106][..]));
    assert_eq!(config.attention(4).window, 1024);
    assert_eq!(config.attention(5).window, usize::MAX);
    assert_eq!(config.rope.scaling, RopeScaling::Linear { factor: 8.0 });
    let local = config.variant.local_rope.unwrap();
    assert_eq!((local.theta, local.scaling), (1e4, RopeScaling::None));
    let mut strange = outer;
    strange["text_config"]["model_type"] = json!("mamba");
    refused(parse(&strange), &["Gemma3ForConditionalGeneration"]);
}

/// A configuration that is made from nothing but what was read means the same model, in every family.
#[test]
fn every_family_is_written_as_it_was_read() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/families.json");
    let all: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    for (name, case) in all["families"].as_object().unwrap() {
        for spelling in ["config", "config_4x"] {
            let read = parse(&case[spelling]).unwrap();
            let written = Value::Object(fairy2i_gpu::files::config::plain(&read));
            assert_eq!(parse(&written).unwrap(), read, "{name}: {written}");
        }
    }
}

#[test]
fn variants_that_compute_something_else_are_named() {
    for (field, asks, harmless) in [
        ("logit_scale", json!(0.0625), json!(1.0)),
        ("logits_scaling", json!(8), json!(1)),
        ("embedding_multiplier", json!(12.0), json!(1.0)),
        ("residual_multiplier", json!(0.22), json!(1)),
        ("attention_multiplier", json!(1.0), json!(6f64.powf(-0.5))),
        ("query_pre_attn_scalar", json!(256), json!(6)),
        ("use_qk_norm", json!(true), json!(false)),
        ("clip_qkv", json!(8.0), Value::Null),
        ("final_logit_softcapping", json!(30.0), Value::Null),
        ("attn_logit_softcapping", json!(50.0), json!(0)),
        ("alibi", json!(true), json!(false)),
        ("hidden_act", json!("relu"), json!("swish")),
        (
            "hidden_activation",
            json!("gelu_pytorch_tanh"),
            json!("silu"),
        ),
        (
            "layer_types",
            json!(["full_attention", "sliding_attention"]),
            json!(["full_attention", "full_attention"]),
        ),
        ("no_rope_layers", json!([1, 0]), json!([1, 1])),
        ("rope_interleaved", json!(true), json!(false)),
        ("rotary_pct", json!(0.25), json!(1.0)),
        ("rotary_dim", json!(3), json!(6)),
        ("rotary_emb_base", json!(500_000), Value::Null),
        ("ropeScaling", json!({"type": "linear"}), Value::Null),
    ] {
        refused(
            parse(&with(field, asks)),
            &["config.json", &format!("`{field}`")],
        );
        let read = parse(&with(field, harmless));
        assert_eq!(read.unwrap(), config(&config_json()), "{field}");
    }
    // The word is in the middle of another one.
    assert!(parse(&with("property", json!(7))).is_ok());
}
