//! The families that llama.cpp has files of: their keys become the configuration that Hugging Face has, and what the
//! converter changed in their tensors is taken back.

use super::gguf_make::Make;
use super::refused;
use fairy2i_gpu::files::{self, ModelFolder, Source};
use fairy2i_gpu::model::Config;
use serde_json::{Value, json};

/// Sizes that all families of this test have.
fn sizes(architecture: &str) -> Make {
    let key = |key: &str| format!("{architecture}.{key}");
    Make::default()
        .text("general.architecture", architecture)
        .u32(&key("block_count"), 8)
        .u32(&key("context_length"), 4096)
        .u32(&key("embedding_length"), 64)
        .u32(&key("feed_forward_length"), 96)
        .u32(&key("attention.head_count"), 4)
        .u32(&key("attention.head_count_kv"), 2)
        .f32(&key("attention.layer_norm_rms_epsilon"), 1e-6)
        .f32(&key("rope.freq_base"), 500_000.0)
        .u32("tokenizer.ggml.bos_token_id", 1)
        .u32("tokenizer.ggml.eos_token_id", 2)
        .floats("token_embd.weight", &[64, 16], &[0.5; 1024])
}

/// The same for Hugging Face, with other fields.
fn fields(architecture: &str, model_type: &str, more: Value) -> Value {
    let mut all = json!({
        "architectures": [architecture], "model_type": model_type, "vocab_size": 16, "hidden_size": 64,
        "intermediate_size": 96, "num_hidden_layers": 8, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 4096, "rms_norm_eps": 1e-6, "rope_theta": 500000.0, "bos_token_id": 1,
        "eos_token_id": 2, "tie_word_embeddings": true
    });
    for (field, value) in more.as_object().expect("fields") {
        all[field] = value.clone();
    }
    all
}

fn of_file(made: &Make) -> fairy2i_gpu::Result<Config> {
    let source = Source::memory("m", [("x.gguf".to_owned(), made.bytes())]);
    files::open_shape(source).map(|opened| opened.config)
}

#[track_caller]
fn same(made: Make, json: Value) {
    let text = json.to_string();
    let (want, _) = files::config::parse("config.json", text.as_bytes(), None).unwrap();
    assert_eq!(of_file(&made).unwrap(), want);
}

#[test]
fn qwen_is_understood() {
    let yarn = sizes("qwen2")
        .text("qwen2.rope.scaling.type", "yarn")
        .f32("qwen2.rope.scaling.factor", 4.0)
        .u32("qwen2.rope.scaling.original_context_length", 1024);
    let scaling =
        json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024});
    same(
        yarn,
        fields(
            "Qwen2ForCausalLM",
            "qwen2",
            json!({"rope_scaling": scaling}),
        ),
    );
    let wide = sizes("qwen3")
        .u32("qwen3.attention.key_length", 32)
        .u32("qwen3.attention.value_length", 32);
    same(
        wide,
        fields("Qwen3ForCausalLM", "qwen3", json!({"head_dim": 32})),
    );
    let experts = sizes("qwen3moe")
        .u32("qwen3moe.expert_count", 6)
        .u32("qwen3moe.expert_used_count", 2)
        .u32("qwen3moe.expert_feed_forward_length", 24);
    let more = json!({
        "num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "norm_topk_prob": true,
        "decoder_sparse_step": 1, "mlp_only_layers": [], "head_dim": 16
    });
    same(experts, fields("Qwen3MoeForCausalLM", "qwen3_moe", more));
    let unequal = sizes("qwen3")
        .u32("qwen3.attention.key_length", 32)
        .u32("qwen3.attention.value_length", 16);
    refused(of_file(&unequal), &["qwen3.attention.value_length", "16"]);
}

#[test]
fn llamas_are_understood() {
    // The divisors of LLaMA 3.1 for heads of 16 values, by the formula of its configuration.
    let divisors = (0..8).map(|i| {
        let wavelength = std::f64::consts::TAU * 500_000f64.powf(i as f64 / 8.0);
        let smooth = ((8192.0 / wavelength - 1.0) / 3.0).clamp(0.0, 1.0);
        (1.0 / ((1.0 - smooth) / 8.0 + smooth)) as f32
    });
    let divisors: Vec<f32> = divisors.collect();
    let made = sizes("llama").floats("rope_freqs.weight", &[8], &divisors);
    let scaling = json!({
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192
    });
    same(
        made,
        fields(
            "LlamaForCausalLM",
            "llama",
            json!({"rope_scaling": scaling}),
        ),
    );
    let other = sizes("llama").floats(
        "rope_freqs.weight",
        &[8],
        &[1.0, 3.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0],
    );
    refused(of_file(&other), &["rope_freqs.weight"]);
    let linear = sizes("llama")
        .text("llama.rope.scaling.type", "linear")
        .f32("llama.rope.scaling.factor", 2.0);
    let scaling = json!({"rope_type": "linear", "factor": 2.0});
    same(
        linear,
        fields(
            "LlamaForCausalLM",
            "llama",
            json!({"rope_scaling": scaling}),
        ),
    );
    let experts = sizes("llama")
        .u32("llama.expert_count", 4)
        .u32("llama.expert_used_count", 2);
    let more = json!({"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": null});
    same(experts, fields("MixtralForCausalLM", "mixtral", more));
    let more = json!({"no_rope_layer_interval": 4, "no_rope_layers": [1, 1, 1, 0, 1, 1, 1, 0]});
    same(
        sizes("smollm3"),
        fields("SmolLM3ForCausalLM", "smollm3", more),
    );
    same(
        sizes("olmo2"),
        fields("Olmo2ForCausalLM", "olmo2", json!({})),
    );
}

#[test]
fn granite_is_understood() {
    let made = sizes("granite")
        .f32("granite.attention.scale", 0.0625)
        .f32("granite.embedding_scale", 12.0)
        .f32("granite.residual_scale", 0.22)
        .f32("granite.logit_scale", 8.0);
    let more = json!({
        "attention_multiplier": 0.0625, "embedding_multiplier": 12.0, "residual_multiplier": 0.22,
        "logits_scaling": 8.0
    });
    same(made, fields("GraniteForCausalLM", "granite", more));
}

#[test]
fn phi_is_understood() {
    let factors = |from: f32| (0..6).map(|i| from + i as f32 / 8.0).collect::<Vec<_>>();
    let made = sizes("phi3")
        .u32("phi3.rope.dimension_count", 12)
        .u32("phi3.rope.scaling.original_context_length", 1024)
        .f32(
            "phi3.rope.scaling.attn_factor",
            (1.0 + 4f32.ln() / 1024f32.ln()).sqrt(),
        )
        .u32("phi3.attention.sliding_window", 0)
        .floats("rope_factors_long.weight", &[6], &factors(2.0))
        .floats("rope_factors_short.weight", &[6], &factors(1.0));
    let more = json!({
        "partial_rotary_factor": 0.75, "original_max_position_embeddings": 1024, "sliding_window": null,
        "rope_scaling": {
            "type": "longrope", "long_factor": factors(2.0), "short_factor": factors(1.0)
        }
    });
    same(made, fields("Phi3ForCausalLM", "phi3", more));
}

#[test]
fn windows_of_gemma_and_cohere_are_where_llama_cpp_has_them() {
    let kinds = |every: usize| -> Vec<&str> {
        let kind = |l: usize| {
            if l.is_multiple_of(every) {
                "full_attention"
            } else {
                "sliding_attention"
            }
        };
        (1..=8).map(kind).collect()
    };
    let made = sizes("gemma2")
        .u32("gemma2.attention.key_length", 32)
        .u32("gemma2.attention.sliding_window", 256)
        .f32("gemma2.attn_logit_softcapping", 40.0)
        .f32("gemma2.final_logit_softcapping", 20.0);
    let more = json!({
        "head_dim": 32, "sliding_window": 256, "layer_types": kinds(2), "attn_logit_softcapping": 40.0,
        "final_logit_softcapping": 20.0, "query_pre_attn_scalar": 32, "hidden_activation": "gelu_pytorch_tanh"
    });
    same(made, fields("Gemma2ForCausalLM", "gemma2", more));
    let gemma3 = || {
        sizes("gemma3")
            .u32("gemma3.attention.key_length", 32)
            .u32("gemma3.attention.sliding_window", 256)
    };
    let more = |kinds: Vec<&str>, local: f64| {
        json!({
            "head_dim": 32, "sliding_window": 256, "layer_types": kinds, "rope_local_base_freq": local,
            "query_pre_attn_scalar": 32, "hidden_activation": "gelu_pytorch_tanh"
        })
    };
    same(
        gemma3(),
        fields("Gemma3ForCausalLM", "gemma3_text", more(kinds(6), 10_000.0)),
    );
    let stated = gemma3()
        .u32("gemma3.attention.sliding_window_pattern", 3)
        .f32("gemma3.rope.freq_base_swa", 5_000.0);
    same(
        stated,
        fields("Gemma3ForCausalLM", "gemma3_text", more(kinds(3), 5_000.0)),
    );
    let made = sizes("cohere2")
        .f32("cohere2.attention.layer_norm_epsilon", 1e-5)
        .f32("cohere2.logit_scale", 0.25)
        .u32("cohere2.attention.sliding_window", 128)
        .without("cohere2.attention.layer_norm_rms_epsilon");
    let more = json!({
        "layer_norm_eps": 1e-5, "rms_norm_eps": null, "logit_scale": 0.25, "sliding_window": 128,
        "layer_types": kinds(4)
    });
    same(made, fields("Cohere2ForCausalLM", "cohere2", more));
}

/// A value for each element.
fn value(name: &str, i: usize) -> f32 {
    let seed = name
        .bytes()
        .fold(7u32, |h, b| h.wrapping_mul(31) ^ u32::from(b));
    (seed.wrapping_add(i as u32).wrapping_mul(0x9E37_79B1) >> 16) as f32 / 65536.0 - 0.5
}

/// `made` with all tensors of its configuration under names of llama.cpp.
fn filled(made: Make, names: &[(&str, &str)], shifted: bool) -> ModelFolder {
    let config = of_file(&made).unwrap();
    let mut made = made.without_tensors();
    let mut experts: Vec<(String, Vec<u64>, Vec<f32>)> = Vec::new();
    for planned in files::plan::plan(&config, None) {
        let renamed = names
            .iter()
            .fold(planned.name.clone(), |name, (a, b)| name.replace(a, b));
        let count: usize = planned.shape.iter().product();
        let values: Vec<f32> = (0..count).map(|i| value(&planned.name, i)).collect();
        let mut dimensions: Vec<u64> = planned.shape.iter().rev().map(|d| *d as u64).collect();
        if let Some((block, expert)) = renamed.split_once(".experts.") {
            let (number, matrix) = expert.split_once('.').unwrap();
            let name = format!("{block}.{matrix}");
            match number {
                "0" => experts.push((name, dimensions, values)),
                _ => experts
                    .iter_mut()
                    .find(|e| e.0 == name)
                    .unwrap()
                    .2
                    .extend(values),
            }
            continue;
        }
        let add = if shifted && dimensions.len() == 1 {
            1.0
        } else {
            0.0
        };
        let values: Vec<f32> = values.into_iter().map(|v| v + add).collect();
        dimensions.truncate(2);
        made = made.floats(&renamed, &dimensions, &values);
    }
    for (name, mut dimensions, values) in experts {
        dimensions.push(values.len() as u64 / dimensions.iter().product::<u64>());
        made = made.floats(&name, &dimensions, &values);
    }
    files::open_source(Source::memory("m", [("x.gguf".to_owned(), made.bytes())])).unwrap()
}

fn check(opened: &ModelFolder, paired: bool) {
    for planned in files::plan::plan(&opened.config, None) {
        let tensor = opened.weights.tensor(&planned.name).unwrap().unwrap();
        let got = tensor.to_f32(0..tensor.elements());
        let rotated = planned.name.contains("q_proj") || planned.name.contains("k_proj");
        let row = *planned.shape.last().unwrap();
        let stored = |i: usize| match paired && rotated {
            false => i,
            true => {
                let (r, c, d) = (i / row, i % row, opened.config.head_dim);
                (r / d * d + r % d % (d / 2) * 2 + r % d / (d / 2)) * row + c
            }
        };
        for (i, got) in got.iter().enumerate() {
            let want = value(&planned.name, stored(i));
            assert!(
                (got - want).abs() < 1e-7,
                "{} {i}: {got} {want}",
                planned.name
            );
        }
    }
}

const NAMES: [(&str, &str); 11] = [
    ("model.layers.", "blk."),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("input_layernorm", "attn_norm"),
    ("model.embed_tokens", "token_embd"),
    ("model.norm", "output_norm"),
    ("lm_head", "output"),
];

#[test]
fn norms_of_gemma_are_without_their_one() {
    let made = sizes("gemma3").u32("gemma3.attention.key_length", 32);
    let mut names = NAMES.to_vec();
    names.extend([
        ("post_attention_layernorm", "post_attention_norm"),
        ("pre_feedforward_layernorm", "ffn_norm"),
        ("post_feedforward_layernorm", "post_ffw_norm"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ]);
    check(&filled(made, &names, true), false);
}

#[test]
fn experts_are_taken_apart() {
    let made = sizes("llama")
        .u32("llama.expert_count", 3)
        .u32("llama.expert_used_count", 2);
    let mut names = NAMES.to_vec();
    names.extend([
        ("post_attention_layernorm", "ffn_norm"),
        ("block_sparse_moe.gate", "ffn_gate_inp"),
        (".block_sparse_moe.experts.", ".experts."),
        (".w1.", ".ffn_gate_exps."),
        (".w2.", ".ffn_down_exps."),
        (".w3.", ".ffn_up_exps."),
    ]);
    check(&filled(made, &names, false), true);
}
