//! Products with dense matrices of f32, f16 or bf16, for layers that stay in full precision.

mod cases;
mod dense;
mod matmul_gemm;
mod matmul_gemm_coop;
mod matmul_gemm_coop_tall;
mod matmul_gemv;

pub use dense::Dense;
pub use matmul_gemm::{MatmulGemm, MatmulGemmParams};
pub use matmul_gemm_coop::{COOP_TOKENS, MatmulGemmCoop, MatmulGemmCoopParams};
pub use matmul_gemm_coop_tall::MatmulGemmCoopTall;
pub use matmul_gemv::{MatmulGemv, MatmulGemvParams};
