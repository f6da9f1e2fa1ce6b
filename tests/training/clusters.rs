//! The tables of the page on clusters are what the code that plans memory says, and what the model of a step does.

use super::W2;
use super::memory::llama;
use fairy2i_gpu::model::{Config, Granularity, Recipe};
use fairy2i_gpu::ops::Features;
use fairy2i_gpu::train::step::{Memory, Shard, TrainOptions};

/// The shape of LLaMA-2-70B.
fn large() -> Config {
    Config {
        hidden: 8192,
        intermediate: 28_672,
        layers: 80,
        heads: 64,
        kv_heads: 8,
        ..llama()
    }
}

/// What the rank that holds most takes, in a row of the page on clusters: GiB.
fn row(name: &str, config: &Config, ranks: usize) -> (String, Memory) {
    let recipe = Recipe {
        method: W2,
        granularity: Granularity::Tensor,
        skip_head: false,
        rotated: false,
    };
    let of = |rank| {
        let options = TrainOptions {
            shard: Some(Shard { rank, ranks }),
            ..TrainOptions::new(recipe, 1, 2048)
        };
        Memory::of(config, &options, Features::ALL, 1 << 29)
    };
    let most = (0..ranks).map(of).max_by_key(Memory::total).expect("ranks");
    let rest = most.activations + most.scratch;
    let parts = [
        most.masters,
        most.moments,
        most.gradients,
        most.quantized,
        rest,
        most.total(),
    ];
    let gib = parts.map(|bytes| format!("{:.1}", bytes as f64 / f64::from(1 << 30)));
    (format!("| {name} | {ranks} | {} |", gib.join(" | ")), most)
}

#[test]
fn the_page_on_clusters_says_what_ranks_hold() {
    let page = include_str!("../../src/docs/clusters.md");
    let mut missing = Vec::new();
    for (name, config) in [("7B", llama()), ("70B", large())] {
        let mut before = usize::MAX;
        for ranks in [1, 8, 64] {
            let (row, memory) = row(name, &config, ranks);
            assert!(memory.total() < before, "{row}");
            before = memory.total();
            if !page.contains(&row) {
                missing.push(row);
            }
        }
    }
    assert!(
        missing.is_empty(),
        "the page has no lines\n{}",
        missing.join("\n")
    );
}

/// Tokens of a step of all ranks together.
const STEP: f64 = 1_048_576.0;
/// Tokens of a micro-batch.
const MICRO: f64 = 2048.0;
/// What one card computes of a 7B model: tokens per second, as the page on performance has them.
const RATE: f64 = 3396.0;
/// Bytes per second of a card's bus, and of gradients that a host adds: what explains steps of TinyLlama's shape and of 7B on
/// two H200s of one host.
const BUS: f64 = 21.6e9;
const HOST: f64 = 14.5e9;

/// What a step takes, in a row of the page on clusters: seconds of computing, then for networks of 10, 100 and 400 Gb/s
/// seconds of a step and thousands of card-hours for 30 billion tokens.
fn pace(name: &str, config: &Config, ranks: usize) -> String {
    let recipe = Recipe {
        method: W2,
        granularity: Granularity::Tensor,
        skip_head: false,
        rotated: false,
    };
    let options = TrainOptions::new(recipe, 1, 2048);
    let rate = RATE * options.work(&llama(), 1) / options.work(config, 1);
    let (n, parameters) = (ranks as f64, config.parameters() as f64);
    let compute = STEP / n / rate;
    // The last micro-batch's backward pass, with what it computes again: three of four passes.
    let hidden = 0.75 * MICRO / rate;
    let bus = 4.0 * parameters * (1.0 + 1.0 / n) / BUS;
    let network = 8.0 * parameters * (n - 1.0) / n;
    let step = |gigabits: f64| {
        let exchange = 4.0 * parameters / HOST + network / (gigabits * 1e9 / 8.0);
        let exposed = exchange - hidden;
        compute + bus + exposed.max(0.0)
    };
    let steps = [10.0, 100.0, 400.0].map(step);
    let hours = steps.map(|step| 30e9 / STEP * step * n / 3600.0 / 1e3);
    let shown = |all: [f64; 3]| all.map(|v| format!("{v:.1}")).join(" / ");
    format!(
        "| {name} | {ranks} | {:.0} | {compute:.1} | {} | {} |",
        STEP / n,
        shown(steps),
        shown(hours)
    )
}

#[test]
fn the_page_on_clusters_says_what_steps_take() {
    let page = include_str!("../../src/docs/clusters.md");
    let mut missing = Vec::new();
    for (name, config) in [("7B", llama()), ("70B", large())] {
        for ranks in [8, 64, 512] {
            let row = pace(name, &config, ranks);
            if !page.contains(&row) {
                missing.push(row);
            }
        }
    }
    assert!(
        missing.is_empty(),
        "the page has no lines\n{}",
        missing.join("\n")
    );
}
