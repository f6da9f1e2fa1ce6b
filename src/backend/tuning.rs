//! Numbers that were found by measuring, by class of device. Results do not depend on them, only speed does. They may have
//! any positive values: tests run kernels and whole models at values that fit no device.
//!
//! Whoever measures another device adds a class here, with its source. What a program's user has is measured there, as far
//! as no bit depends on it: [`crate::model::autotune`].

use crate::ops::attention::Ranges;

/// The numbers that the kernels and the queue of a class of devices are tuned to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tuning {
    /// Device, driver and date of the measurements, and where the numbers are assumed.
    pub source: &'static str,
    /// Workgroups that keep the device busy with the products of one token.
    pub processors: usize,
    /// How the positions of a step are split into ranges that are attended to in parallel.
    pub ranges: Ranges,
    /// Most tokens that go through the matrix-vector kernels; more go through the matrix-matrix ones.
    pub gemv_tokens: usize,
    /// Fewest tokens for which one-bit products compute the exact sums of several sequences, with activations of 8 and of
    /// 16 bits.
    pub bits_tokens: [usize; 2],
    /// Most tokens whose products are exact sums where cooperative matrices make those, with activations of 8 and of 16 bits;
    /// more are multiplied in half precision, which takes less time then.
    pub exact_tokens: [usize; 2],
    /// Whether the device goes on decoding while the host looks at what it chose before.
    pub ahead: bool,
    /// Fewest tokens for which cooperative matrices multiply with weights that were decoded before.
    pub expand_tokens: usize,
    /// Fewest tokens for which dense products take tall tiles.
    pub tall_tokens: usize,
    /// Narrowest subgroups with which a product quantizes its token by itself.
    pub fused_subgroup: usize,
    /// Workgroups of such a product at most, since each rounds the token for itself.
    pub fused_groups: usize,
    /// Most tokens whose products of integers go through the matrix-vector kernels, where cooperative matrices do not make
    /// their sums.
    pub integer_gemv_tokens: usize,
    /// Dispatches of the first submission after the host waited. The device starts on them while the host records
    /// more; later submissions grow.
    pub first_submission: usize,
    /// Bytes and operations of a submission at most: a tenth of a second of the slowest device of the class.
    pub submission_work: f64,
    /// Bytes of the blocks of memory that small buffers share, smallest and largest.
    pub memory_blocks: (u64, u64),
}

impl Tuning {
    /// A GPU with memory of its own and cooperative matrices.
    pub const LARGE_GPU: Self = Self {
        source: "NVIDIA H200, Vulkan, driver 580.159.04, 2026-11",
        processors: 132,
        ranges: Ranges {
            groups: 512,
            least: 128,
        },
        gemv_tokens: 8,
        bits_tokens: [5, 3],
        exact_tokens: [64, 32],
        ahead: true,
        expand_tokens: 512,
        tall_tokens: 1024,
        fused_subgroup: 16,
        fused_groups: 132,
        integer_gemv_tokens: 8,
        first_submission: 32,
        submission_work: 1e12,
        memory_blocks: (4 << 20, 16 << 20),
    };

    /// Any other GPU: the numbers of the large one, with submissions that stay short on a small one.
    pub const GPU: Self = Self {
        source: "as the NVIDIA H200, not measured on a small GPU; submissions of at most 1e11 operations",
        submission_work: 1e11,
        ..Self::LARGE_GPU
    };

    /// A driver that runs shaders on the CPU.
    pub const SOFTWARE: Self = Self {
        // Its processors are the host's.
        ahead: false,
        source: "as other GPUs; lavapipe, Mesa 22.3.6, was measured to be insensitive to them",
        ..Self::GPU
    };

    /// Host memory, whose kernels cut their work by themselves.
    pub const HOST: Self = Self {
        source: "the CPU backend takes only the numbers of tokens from here, which decide which kernel's code runs",
        ahead: false,
        // Heads keep its threads busy. Where no positions are split, a token of a prompt has the bits of one that is decoded.
        ranges: Ranges {
            groups: 1,
            least: 128,
        },
        ..Self::GPU
    };
}

impl Default for Tuning {
    fn default() -> Self {
        Self::GPU
    }
}
