//! Two-bit complex models as the GGUF files of Fairy2i's authors hold them: executed as they are, codes and scales
//! unchanged.
//!
//! Their container is llama.cpp's with element types of its own. A linear layer of Fairy2i is the widely-linear pair U and
//! W of this crate, one of iFairy a single complex matrix; codes are numbered 0 to 3 for -1, +1, -i and +i, each times the
//! real or the imaginary scale of its stage. There are three layouts: codes and scales apart, in tiles of 64 x 64 (schema 2
//! and later); blocks of 64 columns with the scales of their tile (schema 1); blocks of 256 columns with the scales of the
//! whole matrix (older files, and iFairy).
//!
//! Scales that were learned may be negative, which the packed format has none of: the codes that they multiply are negated
//! instead, so that every weight stays what it is.

mod config;
mod ifairy;
mod layer;
mod layout;
mod weights;

pub(super) use config::{ARCHITECTURE, config};
pub(super) use ifairy::{ARCHITECTURE as IFAIRY, config as ifairy_config};
pub(super) use layout::bundled;
pub(super) use weights::Phases;

/// Rows and columns of a tile.
const TILE: usize = 64;

/// How the codes of a file lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// In tiles, apart from the scales.
    Bundles,
    /// In blocks of 64 columns, each with the scales of its tile.
    Tiles,
    /// In blocks of 256 columns, each with the scales of the matrix, or none where a row is padding.
    Rows,
}

/// How the tensors of a file are called and lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Fairy2i: the names of llama.cpp, in one of three layouts.
    Fairy2i(Layout),
    /// iFairy.
    IFairy,
}

impl Dialect {
    /// Names that a tensor which Hugging Face calls `module` may have, without its last part.
    fn names(self, module: &str) -> Vec<String> {
        match self {
            Self::Fairy2i(_) => super::describe::stored_name(module).into_iter().collect(),
            Self::IFairy => ifairy::names(module),
        }
    }

    fn layout(self) -> Layout {
        match self {
            Self::Fairy2i(layout) => layout,
            Self::IFairy => Layout::Rows,
        }
    }
}
