//! Large language models in {1, i, -1, -i} on any GPU.

pub mod backend;
pub mod error;
pub mod fixed;
pub mod ops;
pub mod quarter;

pub use error::{Error, Result};

pub mod files;
pub mod model;
#[cfg(feature = "cli")]
pub mod verbs;
