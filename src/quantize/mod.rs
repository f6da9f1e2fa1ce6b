//! Quantizing that looks at what goes through a model: error feedback on a text's activations, stages where they help
//! most, and short training of what was quantized.
//!
//! Rounding a folder's weights as they are is [`crate::convert::quantize_folder`].

pub mod calibrate;
#[cfg(feature = "evaluate")]
pub mod calibrated;
