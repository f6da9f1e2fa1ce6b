//! Sizes of realistic inputs for the bench: the layers of LLaMA-2-7B. The ops' own `cases.rs` make inputs of them.
//!
//! Nothing of it is compared with a reference; buffers are filled on the device.

use super::{BenchCase, Made, Op};

/// A case of the bench; `note` in the form of [`Op::shape`], the data in the order of the op's bindings.
pub(super) fn case<O: Op>(note: impl Into<String>, op: O, data: &[Made]) -> BenchCase<O> {
    BenchCase {
        note: note.into(),
        op,
        data: data.to_vec(),
    }
}

/// Tokens of a prompt that is processed at once.
pub(super) const PROMPT: usize = 512;
/// Workgroups that an NVIDIA H200 runs at a time. Ops whose grid depends on the device are timed with it, since the bench
/// does not know the device when it lists its cases.
pub(super) const BENCH_PROCESSORS: usize = 132;
/// Positions in the cache.
pub(super) const DEPTH: usize = 4096;
/// Width of the residual stream.
pub(super) const HIDDEN: usize = 4096;
/// Width between gate, up and down.
pub(super) const INTERMEDIATE: usize = 11_008;
/// Tokens of the vocabulary.
pub(super) const VOCAB: usize = 32_000;
/// Values of the largest weight of a block.
pub(super) const LARGEST_WEIGHT: usize = INTERMEDIATE * HIDDEN;

/// The linear layers of a block and the head: name, outputs of the stacked layers, inputs.
pub(super) fn layers() -> [(&'static str, Vec<usize>, usize); 5] {
    [
        ("qkv", vec![HIDDEN; 3], HIDDEN),
        ("o", vec![HIDDEN], HIDDEN),
        ("gate_up", vec![INTERMEDIATE; 2], HIDDEN),
        ("down", vec![HIDDEN], INTERMEDIATE),
        ("head", vec![VOCAB], HIDDEN),
    ]
}
