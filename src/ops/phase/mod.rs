//! Products with {1, i, -1, -i} weights: add, subtract and swap (inference of arXiv 2512.02901).
//!
//! `y = U x + W conj(x)` for U and W given as T stages of codes with two scales each; U or W at one stage is a
//! *plane*. Several layers that share their input may be stacked: their rows follow each other, and each is a *segment* with
//! its own scales. Weights that share scales are a *scale block*.

mod cases;
mod codes;
mod cpu;
mod float;
mod integer;
mod layout;
mod phase_expand;
mod phase_gemm;
mod phase_gemm_bits;
mod phase_gemm_coop;
mod phase_gemm_float;
mod phase_gemv;
mod phase_gemv_float;
mod phase_gemv_fused;
mod scale_blocks;
mod shape;

pub use codes::{interleave, interleaved};
pub use layout::CodeLayout;
pub use phase_expand::{LIFT, PhaseExpand, PhaseExpandParams};
pub use phase_gemm::PhaseGemm;
pub use phase_gemm_bits::PhaseGemmBits;
pub use phase_gemm_coop::PhaseGemmCoop;
pub use phase_gemm_float::PhaseGemmFloat;
pub use phase_gemv::PhaseGemv;
pub use phase_gemv_float::PhaseGemvFloat;
pub use phase_gemv_fused::{Outcome, PhaseGemvFused};
pub use scale_blocks::{float_scale_blocks, integer_scale_blocks};
pub use shape::{MAX_COLUMNS, MAX_SEGMENTS, PhaseParams, PhaseShape};

/// Tokens of a tile of the products with cooperative matrices.
pub use super::matmul::COOP_TOKENS;

/// The instruction set of the integer products on the host.
pub(super) fn host_simd() -> &'static str {
    cpu::Kernel::best().name()
}

/// How the integer products on the host read codes.
pub(super) fn host_layout() -> CodeLayout {
    cpu::Kernel::best().layout()
}
