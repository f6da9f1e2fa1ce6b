//! Where the codes of a stack lie in a shard.

use super::PhaseShape;
use super::codes::transposed;
use crate::codebook::{COLUMNS_PER_WORD, code_at};
use std::borrow::Cow;

/// How the codes of a stack lie in a shard. A device has the one that its products read fastest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CodeLayout {
    /// Row after row, as [`super::interleaved`] has them: what shaders read.
    #[default]
    Rows,
    /// Panels of as many rows of a segment as fill this many lanes with a word of each plane: `[panels, words, lanes]`. The
    /// word of a plane is in lane `plane * rows + row`, where the panel has `rows` rows ([`CodeLayout::panel_rows`]); lanes
    /// that are left over, and those of rows that the last panel of a segment lacks, are zero. It is what vector
    /// instructions of the host read, each word in a lane of a register.
    Words {
        /// Words side by side, at least as many as there are planes.
        lanes: usize,
    },
}

impl CodeLayout {
    /// Rows that lie together: those of a panel, or one.
    pub fn panel_rows(self, planes: usize) -> usize {
        match self {
            Self::Rows => 1,
            Self::Words { lanes } => (lanes / planes).max(1),
        }
    }

    /// Words of what lies together, where a row of one plane has `words`.
    pub fn panel_words(self, planes: usize, words: usize) -> usize {
        match self {
            Self::Rows => planes * words,
            Self::Words { lanes } => lanes * words,
        }
    }

    /// Lays row `row` of a panel, whose planes lie behind each other as the packed format has them, into the panel.
    pub fn lay(self, packed: &[u32], planes: usize, row: usize, panel: &mut [u32]) {
        let words = packed.len() / planes.max(1);
        match self {
            Self::Rows => super::interleave(packed, panel, planes, words),
            Self::Words { lanes } => {
                for (plane, codes) in packed.chunks_exact(words.max(1)).enumerate() {
                    let lane = plane * self.panel_rows(planes) + row;
                    for (word, panel) in codes.iter().zip(panel.chunks_exact_mut(lanes)) {
                        panel[lane] = *word;
                    }
                }
            }
        }
    }
}

impl PhaseShape {
    /// Words of the codes of the shard.
    pub fn code_words(&self) -> usize {
        // the shard may end within a segment, and then its last panel is begun
        let last = self.shard_rows.checked_sub(1);
        let panels = last.map_or(0, |last| self.panel_of(last) + 1);
        panels * self.layout.panel_words(self.planes(), self.words())
    }

    /// The panel of the shard that has row `local` of it.
    pub(super) fn panel_of(&self, local: usize) -> usize {
        let rows = self.layout.panel_rows(self.planes());
        let panel_of_stack = |row: usize| {
            let (segment, row) = self.row_of_segment(row);
            let before = self.segments[..segment].iter();
            before
                .map(|outs| outs.div_ceil(2).div_ceil(rows))
                .sum::<usize>()
                + row / rows
        };
        panel_of_stack(self.first_row + local) - panel_of_stack(self.first_row)
    }

    /// Which row of its panel row `local` of the shard is.
    pub(super) fn row_in_panel(&self, local: usize) -> usize {
        let (_, row) = self.row_of_segment(self.first_row + local);
        row % self.layout.panel_rows(self.planes())
    }

    /// The segment of row `row` of the stack, and which row of it that is.
    fn row_of_segment(&self, mut row: usize) -> (usize, usize) {
        for (segment, outs) in self.segments.iter().enumerate() {
            let rows = outs.div_ceil(2);
            if row < rows {
                return (segment, row);
            }
            row -= rows;
        }
        (self.segments.len(), row)
    }

    /// The code of a column of one plane (U's stages, then W's) of row `local` of the shard.
    pub(super) fn code(&self, codes: &[u32], local: usize, plane: usize, column: usize) -> u8 {
        let (words, planes) = (self.words(), self.planes());
        let (word, column) = (column / COLUMNS_PER_WORD, column % COLUMNS_PER_WORD);
        match self.layout {
            CodeLayout::Rows => {
                let first = (local * words + word) * planes;
                if planes.is_multiple_of(4) {
                    // byte `column` of four words has the symbols of that column in four planes
                    let four = codes[first + plane / 4 * 4 + column / 4];
                    return code_at(&[four], plane % 4 * 4 + column % 4);
                }
                code_at(&[codes[first + plane]], column)
            }
            CodeLayout::Words { lanes } => {
                let (panel, row) = (self.panel_of(local), self.row_in_panel(local));
                let lane = plane * self.layout.panel_rows(planes) + row;
                code_at(&[codes[(panel * words + word) * lanes + lane]], column)
            }
        }
    }

    /// The codes of the shard row after row, whatever their layout: for products that read no panels.
    pub(super) fn codes_by_rows<'a>(&self, codes: &'a [u32]) -> Cow<'a, [u32]> {
        let (words, planes) = (self.words(), self.planes());
        let CodeLayout::Words { lanes } = self.layout else {
            return Cow::Borrowed(&codes[..self.code_words()]);
        };
        let mut all = vec![0; self.shard_rows * words * planes];
        for (local, row) in all.chunks_exact_mut((words * planes).max(1)).enumerate() {
            let (panel, first) = (self.panel_of(local), self.row_in_panel(local));
            let panel = codes[panel * words * lanes..].chunks_exact(lanes);
            for (codes, row) in panel.zip(row.chunks_exact_mut(planes)) {
                let of_row = codes.iter().skip(first);
                let of_row = of_row.step_by(self.layout.panel_rows(planes));
                row.iter_mut()
                    .zip(of_row)
                    .for_each(|(row, code)| *row = *code);
                if planes.is_multiple_of(4) {
                    for four in row.as_chunks_mut::<4>().0 {
                        *four = transposed(*four);
                    }
                }
            }
        }
        Cow::Owned(all)
    }
}
