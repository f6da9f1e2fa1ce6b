//! Root-mean-square norms of rows, alone and with what follows them.

mod rms_norm;
mod rms_norm_f16;
mod rms_norm_quantize;

pub use rms_norm::*;
pub use rms_norm_f16::*;
pub use rms_norm_quantize::*;
