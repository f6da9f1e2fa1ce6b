//! What `analyze` prints as JSON.

use super::padding::OddProduct;
use crate::evaluate::analysis::Analysis;
use serde::Serialize;

#[derive(Serialize)]
pub(super) struct Report {
    /// The folder, or `builtin`.
    pub model: String,
    /// Where a text or products of odd sizes ran; null if nothing did.
    pub device: Option<String>,
    #[serde(flatten)]
    pub analysis: Analysis,
    /// Times of products of odd layers beside those of their even neighbours.
    pub odd_products: Vec<OddProduct>,
}
