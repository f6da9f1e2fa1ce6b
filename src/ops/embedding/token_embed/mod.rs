//! Token embeddings.

use crate::ops::*;

mod cases;

/// Looks up token embeddings: `y[token] = scale * table[ids[token]]`, exact.
///
/// The table may be one shard of a split matrix; tokens whose id lies in another shard are left alone, so that
/// running every shard one after the other fills `y`.
///
/// Bindings: `table` [table_rows, row_words] u32 (see [`MatrixDtype`]); `ids` [ids_offset + tokens] u32; `y` [tokens, hidden] f32.
#[derive(Debug, Clone)]
pub struct TokenEmbed {
    /// Tokens.
    pub tokens: usize,
    /// Values per token.
    pub hidden: usize,
    /// Element type of the table.
    pub dtype: MatrixDtype,
    /// Words from row to row of the table.
    pub row_words: usize,
    /// Id of the shard's first row.
    pub first_row: usize,
    /// Rows of the shard.
    pub table_rows: usize,
    /// Index of the first token's id in `ids`.
    pub ids_offset: usize,
    /// What embeddings are multiplied by.
    pub scale: f32,
}

params! {
    /// Uniform block of [`TokenEmbed`].
    pub struct TokenEmbedParams {
        tokens: u32,
        hidden: u32,
        row_words: u32,
        first_row: u32,
        table_rows: u32,
        ids_offset: u32,
        scale: f32,
    }
}

impl Op for TokenEmbed {
    const NAME: &'static str = "token_embed";
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, embedding / "token_embed")];
    const BINDINGS: &'static [Binding] = &[
        read("table", Elem::U32),
        read("ids", Elem::U32),
        write("y", Elem::F32),
    ];
    const AGREE: Agree = Agree::Bits;
    type Params = TokenEmbedParams;

    fn shape(&self) -> String {
        let Self {
            tokens,
            hidden,
            dtype,
            row_words,
            first_row,
            table_rows,
            ids_offset,
            scale,
        } = self;
        let table = format!("row_words={row_words},first_row={first_row},table_rows={table_rows}");
        let scale = match *scale == 1.0 {
            true => String::new(),
            false => format!(",scale={scale}"),
        };
        format!(
            "tokens={tokens},hidden={hidden},dtype={dtype:?},{table},ids_offset={ids_offset}{scale}"
        )
    }

    fn params(&self) -> TokenEmbedParams {
        TokenEmbedParams {
            tokens: self.tokens as u32,
            hidden: self.hidden as u32,
            row_words: self.row_words as u32,
            first_row: self.first_row as u32,
            table_rows: self.table_rows as u32,
            ids_offset: self.ids_offset as u32,
            scale: self.scale,
        }
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        vec![("ELEM", self.dtype.code())]
    }

    fn grid(&self) -> Grid {
        Grid::element_wise(self.tokens * self.hidden)
    }

    fn lengths(&self) -> Vec<usize> {
        vec![
            self.table_rows * self.row_words,
            self.ids_offset + self.tokens,
            self.tokens * self.hidden,
        ]
    }

    fn cost(&self) -> Cost {
        let bytes = 4 * (self.dtype.words(self.hidden) + self.hidden + 1);
        Cost {
            bytes: (self.tokens * bytes) as f64,
            ops: 0.0,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (table, ids): (&[u32], &[u32]) = (b.read(0), b.read(1));
        let y: &mut [f32] = b.write(2);
        for (&id, y) in ids[self.ids_offset..]
            .iter()
            .zip(y.chunks_exact_mut(self.hidden))
            .take(self.tokens)
        {
            let here = (id as usize).checked_sub(self.first_row);
            if let Some(row) = here.filter(|&row| row < self.table_rows) {
                let words = &table[row * self.row_words..][..self.row_words];
                self.dtype.decode(words, y);
                if self.scale != 1.0 {
                    y.iter_mut().for_each(|y| *y *= self.scale);
                }
            }
        }
    }

    fn cases() -> Vec<Case<Self>> {
        cases::cases()
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        cases::bench_cases()
    }
}
