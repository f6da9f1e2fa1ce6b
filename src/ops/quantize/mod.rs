//! From numbers to codes: of activations (one scale a token) and of weights (the phase quantizer, the papers' baselines),
//! and what weights and activations go through before.
//!
//! The phase quantizer is the recursive residual quantization of arXiv 2512.02901. Its residual stages are never stored:
//! every op reads R and computes `E_t` anew from the scales of the stages before. Codes are found by comparisons, sums are
//! integers, means are rounded once, and a float result is one addition at a time, so that all ops agree bit for bit with
//! their references on every device that rounds additions to nearest. R must be finite and below 2^127; subnormal weights
//! count as 0.

mod activations;
mod baseline_cases;
mod baseline_mean;
mod baseline_pack;
mod baseline_shard;
mod baseline_sum;
mod baseline_unpack;
mod cases;
mod conjugate_expand;
mod conjugate_fold;
mod conjugate_weight;
mod fake_quant;
mod form;
mod granularity;
mod hadamard;
mod phase_host;
mod phase_mean;
mod phase_pack;
mod phase_scale;
mod phase_unpack;
mod quantize_act;
mod round_rows;
mod weight_shard;
mod widely_linear;
mod widely_linear_merge;
mod widely_linear_split;

pub use activations::{Activations, LEAST_ABSMAX};
pub use baseline_mean::{BaselineMean, BaselineMeanParams};
pub use baseline_pack::BaselinePack;
pub use baseline_shard::{BaselineShard, BaselineShardParams, TERNARY_EPSILON};
pub use baseline_sum::BaselineSum;
pub use baseline_unpack::BaselineUnpack;
pub use conjugate_expand::ConjugateExpand;
pub use conjugate_fold::ConjugateFold;
pub use conjugate_weight::{ConjugateWeight, ConjugateWeightParams};
pub use fake_quant::{FakeQuant, FakeQuantParams};
pub use form::Form;
pub use granularity::Granularity;
pub use hadamard::{Hadamard, HadamardParams};
pub use phase_mean::{PhaseMean, PhaseMeanParams};
pub use phase_pack::PhasePack;
pub use phase_scale::PhaseScale;
pub use phase_unpack::PhaseUnpack;
pub use quantize_act::{QuantizeAct, QuantizeActParams};
pub use weight_shard::{LEAST_SCALE, MAX_STAGES, WeightShard, WeightShardParams};
pub use widely_linear::{WidelyLinearParams, flush, indices, merge, split};
pub use widely_linear_merge::WidelyLinearMerge;
pub use widely_linear_split::WidelyLinearSplit;

pub(in crate::ops) use activations::round;
pub(in crate::ops) use round_rows::round_rows;
pub(in crate::ops) use weight_shard::value;
