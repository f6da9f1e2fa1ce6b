//! Root-mean-square norms of tokens, alone and with the rounding that follows them.

mod center;
mod rms;
mod rms_norm;
mod rms_norm_f16;
mod rms_norm_heads;
mod rms_norm_quantize;

pub use center::*;
pub use rms::Rms;
pub use rms_norm::*;
pub use rms_norm_f16::*;
pub use rms_norm_heads::*;
pub use rms_norm_quantize::*;
