//! Ops that training needs beyond inference: matrix products in all their forms, the gradients of every op of a block,
//! the loss, and the optimizer.
//!
//! Every sum has a fixed order, so that a step repeated on the same device has the same bits; there are no atomics.
//! The quantizer has no gradient of its own: its absence is the straight-through estimator.

mod adamw;
pub mod bf16;
mod bf16_pack;
mod bf16_unpack;
mod bias_backward;
pub mod block8;
mod block8_pack;
mod block8_unpack;
mod flash;
mod grad_norm;
mod lerp;
mod matmul_train;
mod matmul_train_coop;
mod matrix_view;
mod rms_norm_backward;
mod rms_norm_heads_backward;
mod rms_norm_heads_weight_backward;
mod rms_norm_weight_backward;
mod rope_in_place;
mod scale_exp;
mod scale_gradient;
mod soft_cap_backward;
mod squared_relu_glu_backward;
mod swiglu_backward;
mod token_distill;
mod token_embed_backward;
mod token_loss;

pub use adamw::*;
pub use bf16_pack::*;
pub use bf16_unpack::*;
pub use bias_backward::*;
pub use block8_pack::*;
pub use block8_unpack::*;
pub use flash::*;
pub use grad_norm::*;
pub use lerp::*;
pub use matmul_train::*;
pub use matmul_train_coop::*;
pub use matrix_view::*;
pub use rms_norm_backward::*;
pub use rms_norm_heads_backward::*;
pub use rms_norm_heads_weight_backward::*;
pub use rms_norm_weight_backward::*;
pub use rope_in_place::*;
pub use scale_exp::*;
pub use scale_gradient::*;
pub use soft_cap_backward::*;
pub use squared_relu_glu_backward::*;
pub use swiglu_backward::*;
pub use token_distill::*;
pub use token_embed_backward::*;
pub use token_loss::*;
