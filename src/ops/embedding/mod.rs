//! Tokens become vectors.

mod token_embed;

pub use token_embed::*;
