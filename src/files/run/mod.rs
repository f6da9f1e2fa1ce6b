//! What a training run leaves in its folder: metrics, curves, checkpoints, configuration, the model's card.

mod card;
pub mod checkpoints;
#[cfg(feature = "records")]
pub mod config;
#[cfg(feature = "records")]
mod curves;
pub mod disk;
pub mod folder;
mod metrics;

pub use card::Card;
pub use checkpoints::{Before, Checkpoints, LossScale, Part, Piece, RunState, Saved, Saving};
#[cfg(feature = "records")]
pub use curves::{comparison, curves};
pub use folder::{CARD, MODELS, Record, RunFolder};
pub use metrics::{METRICS, Metrics, Step};

/// Name of the plot.
pub const CURVES: &str = "curves.svg";
/// Name of the effective configuration.
pub const RUN_CONFIG: &str = "config.toml";
