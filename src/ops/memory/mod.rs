//! Words that are made or moved and not computed with.

mod cases;
mod cast_f16;
mod copy;
mod copy_within;
mod fill;
mod gather;
mod noise;
mod scatter_add;

pub use cast_f16::*;
pub use copy::*;
pub use copy_within::*;
pub use fill::*;
pub use gather::*;
pub use noise::*;
pub use scatter_add::*;
