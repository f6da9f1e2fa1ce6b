//! Where the codes of a stack lie in a shard.

use super::PhaseShape;
use crate::codebook::{COLUMNS_PER_WORD, code_at, pack_row};
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
    /// Panels of 32 rows of a segment, of 64 where the number of planes is odd, in *blocks* of 32 rows of one plane:
    /// `[panels, blocks / 2, words, 4, 2, 32]` bytes. Byte `[.., word, group, block % 2, byte_of_row]` has the symbols of columns
    /// `group`, `4 + group`, `8 + group` and `12 + group` of a word: their first bits in its lower half, their second bits in its
    /// upper half. Rows that the last panel of a segment lacks are zero. It is what instructions of the host read that look up
    /// 32 bytes at a time by four bits each.
    Bytes,
}

/// Rows of a block of [`CodeLayout::Bytes`].
const BLOCK_ROWS: usize = 32;

/// For the symbols of four columns, a byte with their first bits in its lower half and their second bits in its upper half.
const APART: [u8; 256] = {
    let mut apart = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut bit = 0;
        while bit < 8 {
            apart[byte] |= ((byte >> bit & 1) << (bit / 2 + bit % 2 * 4)) as u8;
            bit += 1;
        }
        byte += 1;
    }
    apart
};

/// Which byte of a block a row is. In this order, sums of 16 bits of the even bytes, then those of the odd ones, unpack to
/// sums of 32 bits of the rows in their order.
const fn byte_of_row(row: usize) -> usize {
    16 * (row / 4 % 2) + row / 16 + 2 * (row % 4) + 8 * (row / 8 % 2)
}

/// The byte of a panel of [`CodeLayout::Bytes`] that has group 0 of a word of a row; the other groups follow 64 bytes apart.
fn byte_of_word(words: usize, planes: usize, (row, plane): (usize, usize), word: usize) -> usize {
    let block = plane * (1 + planes % 2) + row / BLOCK_ROWS;
    (block / 2 * words + word) * 8 * BLOCK_ROWS
        + block % 2 * BLOCK_ROWS
        + byte_of_row(row % BLOCK_ROWS)
}

/// Lays a word of a row and plane of a panel of [`CodeLayout::Bytes`].
pub(super) fn put_bytes(
    panel: &mut [u8],
    (words, planes): (usize, usize),
    at: (usize, usize),
    word: usize,
    code: u32,
) {
    let bytes = panel[byte_of_word(words, planes, at, word)..].iter_mut();
    for (byte, symbols) in bytes.step_by(2 * BLOCK_ROWS).zip(code.to_le_bytes()) {
        *byte = APART[usize::from(symbols)];
    }
}

impl CodeLayout {
    /// Rows that lie together: those of a panel, or one.
    pub fn panel_rows(self, planes: usize) -> usize {
        match self {
            Self::Rows => 1,
            Self::Words { lanes } => (lanes / planes).max(1),
            Self::Bytes => BLOCK_ROWS * (1 + planes % 2),
        }
    }

    /// Words of what lies together, where a row of one plane has `words`.
    pub fn panel_words(self, planes: usize, words: usize) -> usize {
        match self {
            Self::Rows => planes * words,
            Self::Words { lanes } => lanes * words,
            Self::Bytes => self.panel_rows(planes) * planes * words,
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
            Self::Bytes => {
                let panel = bytemuck::cast_slice_mut(panel);
                for (plane, codes) in packed.chunks_exact(words.max(1)).enumerate() {
                    for (word, code) in codes.iter().enumerate() {
                        put_bytes(panel, (words, planes), (row, plane), word, *code);
                    }
                }
            }
        }
    }

    /// The code of a column of a plane of row `row` of a panel, whose rows have `words`.
    fn code(
        self,
        panel: &[u32],
        (words, planes): (usize, usize),
        (row, plane): (usize, usize),
        column: usize,
    ) -> u8 {
        let (word, column) = (column / COLUMNS_PER_WORD, column % COLUMNS_PER_WORD);
        match self {
            // byte `column` of four words has the symbols of that column in four planes
            Self::Rows if planes.is_multiple_of(4) => {
                let four = panel[word * planes + plane / 4 * 4 + column / 4];
                code_at(&[four], plane % 4 * 4 + column % 4)
            }
            Self::Rows => code_at(&[panel[word * planes + plane]], column),
            Self::Words { lanes } => {
                let lane = plane * self.panel_rows(planes) + row;
                code_at(&[panel[word * lanes + lane]], column)
            }
            Self::Bytes => {
                let first = byte_of_word(words, planes, (row, plane), word);
                let bytes: &[u8] = bytemuck::cast_slice(panel);
                let bits = bytes[first + 2 * BLOCK_ROWS * (column % 4)] >> (column / 4);
                code_at(&[u32::from(bits & 1 | bits >> 3 & 2)], 0)
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

    /// The panel that has row `local` of the shard, and which of its rows that is.
    fn panel<'a>(&self, codes: &'a [u32], local: usize) -> (&'a [u32], usize) {
        let len = self.layout.panel_words(self.planes(), self.words());
        let (panel, row) = match self.layout {
            CodeLayout::Rows => (local, 0),
            _ => (self.panel_of(local), self.row_in_panel(local)),
        };
        (&codes[panel * len..][..len], row)
    }

    /// The code of a column of one plane (U's stages, then W's) of row `local` of the shard.
    pub(super) fn code(&self, codes: &[u32], local: usize, plane: usize, column: usize) -> u8 {
        let size = (self.words(), self.planes());
        let (panel, row) = self.panel(codes, local);
        self.layout.code(panel, size, (row, plane), column)
    }

    /// The codes of the shard row after row, whatever their layout: for products that read no panels.
    pub(super) fn codes_by_rows<'a>(&self, codes: &'a [u32]) -> Cow<'a, [u32]> {
        let (words, planes) = (self.words(), self.planes());
        if self.layout == CodeLayout::Rows {
            return Cow::Borrowed(&codes[..self.code_words()]);
        }
        let mut all = vec![0; self.shard_rows * words * planes];
        let mut packed = vec![0; words * planes];
        for (local, dst) in all.chunks_exact_mut((words * planes).max(1)).enumerate() {
            let (panel, row) = self.panel(codes, local);
            for (plane, packed) in packed.chunks_exact_mut(words).enumerate() {
                let columns = 0..words * COLUMNS_PER_WORD;
                let code = |column| {
                    self.layout
                        .code(panel, (words, planes), (row, plane), column)
                };
                pack_row(&columns.map(code).collect::<Vec<_>>(), packed);
            }
            CodeLayout::Rows.lay(&packed, planes, 0, dst);
        }
        Cow::Owned(all)
    }
}
