//! One page with plots.

use super::Analysis;

/// The page.
pub fn page(model: &str, analysis: &Analysis) -> String {
    format!("{model}{}", analysis.stored)
}
