//! The memory that is announced is the memory that is allocated.

use super::teacher::Taken;
use super::{W2, config, options};
use fairy2i_gpu::Result;
use fairy2i_gpu::backend::{Backend, Cpu, DeviceFacts, Wrapper};
use fairy2i_gpu::model::config::{Rope, RopeScaling};
use fairy2i_gpu::model::{Config, Granularity, Method, Recipe};
use fairy2i_gpu::ops::Features;
use fairy2i_gpu::ops::quantize::Activations;
use fairy2i_gpu::train::step::{Masters, Memory, Moments, Scope, Shard, TrainOptions, Trainer};
use std::cell::Cell;

/// A CPU that counts what is allocated.
struct Counting {
    cpu: Cpu,
    facts: DeviceFacts,
    words: Cell<usize>,
}

impl Wrapper for Counting {
    type Inner = Cpu;

    fn inner(&self) -> &Cpu {
        &self.cpu
    }

    fn facts(&self) -> &DeviceFacts {
        &self.facts
    }

    fn alloc(&self, label: &str, words: usize) -> Result<<Cpu as Backend>::Buffer> {
        self.words.set(self.words.get() + words);
        self.cpu.alloc(label, words)
    }
}

impl Counting {
    fn new() -> Self {
        Self {
            facts: DeviceFacts {
                max_words: 1 << 20,
                ..DeviceFacts::host("counting".to_owned())
            },
            cpu: Cpu::new(),
            words: Cell::new(0),
        }
    }

    /// Whether what was allocated is what was announced.
    fn judge(&self, announced: Memory) {
        let allocated = 4 * self.words.get();
        let off = announced.total().abs_diff(allocated) as f64 / allocated as f64;
        assert!(off < 0.01, "{announced} announced, {allocated}");
    }
}

/// What of a model is trained needs less than the whole, and no more than is announced.
#[test]
fn parts_of_a_model_take_what_they_need() -> Result<()> {
    let mut config = config();
    (config.hidden, config.intermediate, config.vocab) = (64, 200, 500);
    let mut whole = options(W2, true);
    (whole.n_seqs, whole.length, whole.learned_scales) = (2, 20, true);
    let cpu = Cpu::new();
    let weights = Taken::from(&Trainer::from_scratch(&cpu, &config, whole, 0)?)?;
    for scope in [Scope::Whole, Scope::Block(1), Scope::Head, Scope::Scales] {
        let taught = matches!(scope, Scope::Head | Scope::Scales);
        let options = TrainOptions {
            distill: if taught { 1.0 } else { 0.0 },
            ..whole.within(scope)
        };
        let counting = Counting::new();
        let facts = &counting.facts;
        let of = |options| Memory::of(&config, options, facts.features, facts.max_words);
        let (announced, all) = (of(&options), of(&whole));
        let mut trainer = Trainer::load(&counting, &config, &weights, options)?;
        if taught {
            trainer.teach(&weights)?;
        }
        counting.judge(announced);
        assert!(scope == Scope::Whole || announced.moments < all.moments / 2);
    }
    Ok(())
}

#[test]
fn announced_memory_of_a_complex_model_is_what_is_allocated() -> Result<()> {
    for (method, masters, activations) in [
        (Method::Full, Masters::F32, Activations::Float),
        (W2, Masters::F32, Activations::Int8),
        (W2, Masters::Bf16, Activations::Float),
    ] {
        let mut config = config();
        config.architecture = "ComplexNetForCausalLM".into();
        (config.hidden, config.intermediate, config.vocab) = (64, 200, 500);
        let mut options = options(method, true);
        (options.n_seqs, options.length) = (3, 40);
        (options.masters, options.activations) = (masters, activations);
        options.distill = 0.5;
        let counting = Counting::new();
        let facts = &counting.facts;
        let announced = Memory::of(&config, &options, facts.features, facts.max_words);
        let mut trainer = Trainer::from_scratch(&counting, &config, options, 0)?;
        trainer.teach(&Taken::from(&trainer)?)?;
        counting.judge(announced);
    }
    Ok(())
}

#[test]
fn announced_memory_is_what_is_allocated() -> Result<()> {
    let plain = (Moments::F32, Masters::F32);
    for (method, rotated, (moments, masters)) in [
        (Method::Full, false, plain),
        (W2, false, plain),
        (W2, true, plain),
        (Method::Binary, false, plain),
        (W2, false, (Moments::Bf16, Masters::F32)),
        (Method::Full, false, (Moments::Block8, Masters::F32)),
        (W2, true, (Moments::Block8, Masters::Bf16)),
    ] {
        for checkpoint in [false, true] {
            let mut config = config();
            (config.hidden, config.intermediate, config.vocab) = (64, 200, 500);
            let mut options = options(method, checkpoint);
            (options.n_seqs, options.length) = (3, 40);
            (options.moments, options.masters) = (moments, masters);
            options.recipe.rotated = rotated;
            options.distill = if checkpoint { 0.5 } else { 0.0 };
            let counting = Counting::new();
            let announced = Memory::of(
                &config,
                &options,
                counting.facts.features,
                counting.facts.max_words,
            );
            let mut trainer = Trainer::from_scratch(&counting, &config, options, 0)?;
            if checkpoint {
                trainer.teach(&Taken::from(&trainer)?)?;
            }
            counting.judge(announced);
            if (moments, masters) == plain {
                assert_eq!(announced.masters * 2, announced.moments);
            }
        }
    }
    Ok(())
}

/// The shape of LLaMA-2-7B.
pub fn llama() -> Config {
    Config {
        architecture: "LlamaForCausalLM".into(),
        vocab: 32_000,
        hidden: 4096,
        intermediate: 11_008,
        layers: 32,
        heads: 32,
        kv_heads: 32,
        head_dim: 128,
        context: 4096,
        rope: Rope {
            theta: 10_000.0,
            scaling: RopeScaling::None,
        },
        norm_eps: 1e-5,
        tied: false,
        bos: Some(1),
        eos: vec![2],
        variant: Default::default(),
    }
}

/// A tuning of it with a teacher and learned scales, on a device with matrix units and bindings of 2 GiB.
fn tuning(moments: Moments, masters: Masters, texts: usize) -> Memory {
    let recipe = Recipe {
        method: Method::Phase { stages: 2 },
        granularity: Granularity::Row,
        skip_head: false,
        rotated: false,
    };
    let options = TrainOptions {
        distill: 0.5,
        learned_scales: true,
        moments,
        masters,
        ..TrainOptions::new(recipe, texts, 512)
    };
    Memory::of(&llama(), &options, Features::ALL, 1 << 29)
}

#[test]
fn seven_billion_weights_are_tuned_in_130_gigabytes() {
    const ROOM: usize = 130_000_000_000;
    let mut totals = Vec::new();
    for (moments, masters, texts) in [
        (Moments::F32, Masters::F32, 8),
        (Moments::Bf16, Masters::F32, 16),
        (Moments::Block8, Masters::F32, 32),
        (Moments::Block8, Masters::Bf16, 64),
    ] {
        let memory = tuning(moments, masters, texts);
        println!(
            "{moments:?} {masters:?} {texts}: {} {memory}",
            memory.total()
        );
        totals.push(memory.total());
    }
    assert!(
        totals[0] > ROOM && totals[1..].iter().all(|&t| t < ROOM),
        "{totals:?}"
    );
    let memory = tuning(Moments::Block8, Masters::F32, 32);
    let parameters = llama().parameters() as f64;
    let each = |bytes: usize| bytes as f64 / parameters;
    assert!((each(memory.masters) - 4.0).abs() < 0.01);
    assert!((each(memory.moments) - 2.03).abs() < 0.01);
    // layers in f16, the embedding in f32, logits and the head's input
    assert!(each(memory.teacher) < 2.2, "{}", memory.teacher);
}

#[test]
fn announced_memory_of_a_shard_is_what_is_allocated() -> Result<()> {
    let mut config = config();
    (config.hidden, config.intermediate, config.vocab) = (64, 200, 500);
    let mut totals = Vec::new();
    for (method, moments, masters) in [
        (W2, Moments::F32, Masters::F32),
        (W2, Moments::Block8, Masters::Bf16),
        (Method::Full, Moments::F32, Masters::F32),
    ] {
        for rank in 0..3 {
            let mut options = options(method, true);
            (options.n_seqs, options.length) = (3, 40);
            (options.moments, options.masters) = (moments, masters);
            options.shard = Some(Shard { rank, ranks: 3 });
            let counting = Counting::new();
            let facts = &counting.facts;
            let announced = Memory::of(&config, &options, facts.features, facts.max_words);
            let trainer = Trainer::from_scratch(&counting, &config, options, 0)?;
            counting.judge(announced);
            drop(trainer);
            totals.push(announced);
        }
    }
    let (parameters, quantized) = (config.parameters() as f64, &totals[..3]);
    let moments: usize = quantized.iter().map(|m| m.moments).sum();
    assert!((moments as f64 / (8.0 * parameters) - 1.0).abs() < 0.01);
    Ok(())
}

/// Attention keeps one value for each token and head: eight times the context at as many tokens takes the same memory.
#[test]
fn contexts_of_8192_train_without_a_matrix_of_scores() -> Result<()> {
    const CONTEXT: usize = 8192;
    let mut config = config();
    (config.hidden, config.intermediate, config.vocab) = (64, 200, 500);
    config.context = CONTEXT;
    let of = |n_seqs, length| TrainOptions {
        n_seqs,
        length,
        ..options(W2, true)
    };
    let counting = Counting::new();
    let facts = &counting.facts;
    let memory = |n_seqs, length| {
        Memory::of(
            &config,
            &of(n_seqs, length),
            facts.features,
            facts.max_words,
        )
    };
    let (long, short) = (memory(1, CONTEXT), memory(8, CONTEXT / 8));
    let table = 2 * 4 * CONTEXT * config.head_dim; // cosines and sines
    assert!(long.total() <= short.total() + table, "{long}, not {short}");
    Trainer::from_scratch(&counting, &config, of(1, CONTEXT), 0)?;
    counting.judge(long);
    assert!(counting.words.get() < CONTEXT * CONTEXT, "{long}");
    Ok(())
}
