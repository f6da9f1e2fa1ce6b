//! The sections of the page, in the order in which they are read.

use super::super::Analysis;
use super::figure::Section;
use super::{packed, text, weights};

/// All of them.
pub(super) fn all(analysis: &Analysis) -> Vec<Section> {
    let sections = [
        weights::angles(analysis),
        weights::alignment(analysis),
        weights::per_bit(analysis),
        weights::errors(analysis),
        weights::prediction(analysis),
        weights::third_stage(analysis),
        weights::outliers(analysis),
        weights::planes(analysis),
        packed::scales(analysis),
        packed::counts(analysis),
        text::inputs(analysis),
        text::rounding(analysis),
        text::outputs(analysis),
        packed::padding(analysis),
    ];
    sections.into_iter().flatten().collect()
}
