//! Calibrated quantization: codes and scales that make a model's outputs, not its weights, come out right.
//!
//! The method is error feedback (GPTQ, OPTQ) on the widely-linear form. Layer by layer, in the order in which they run:
//! - the inputs of the layer are taken from the model whose layers so far are quantized, and from the full-precision one;
//! - the weight is corrected for the drift between both, and quantized so that each column makes up for the errors of the
//!   columns before it, U and W and all stages together, in the metric of the inputs' second moments;
//! - scales are solved from the normal equations under the same metric; both are done twice.
//!
//! The text goes through the blocks once, all of it through one block before the next: device memory holds one block, the
//! residual streams, and the matrices of one layer. Everything is summed in a fixed order, so that the same text on the
//! same device gives the same bits.

mod allocate;
mod factor;
mod layer;
mod moments;
mod needs;
mod ops;
mod options;
mod run;
mod scales;
mod sensitivity;
mod streams;
mod weight;

pub use allocate::{allocate, bits_per_weight, fewest};
pub use layer::LayerErrors;
pub use options::CalibrateOptions;
pub use run::{Journal, calibrate, calibrate_behind};
pub use sensitivity::{Judged, Sensitivity, sensitivities};
pub use weight::{Seen, calibrate_weight};
