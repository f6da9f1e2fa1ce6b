//! Products with dense matrices of f32, f16 or bf16, for layers that stay in full precision.

mod bias;
mod cases;
mod dense;
mod matmul_gemm;
mod matmul_gemm_coop;
mod matmul_gemm_coop_tall;
mod matmul_gemv;

pub use bias::{Bias, BiasParams};
pub use dense::Dense;
pub use matmul_gemm::{MatmulGemm, MatmulGemmParams};
pub use matmul_gemm_coop::{COOP_TOKENS, MatmulGemmCoop, MatmulGemmCoopParams};
pub use matmul_gemm_coop_tall::MatmulGemmCoopTall;
pub use matmul_gemv::{MatmulGemv, MatmulGemvParams};
