//! Token embeddings.

use crate::ops::*;
use bytemuck::Zeroable;

/// Looks up token embeddings: `y[row] = table[ids[row]]`, exact.
///
/// The table may be one shard of a split matrix; rows whose id lies in another shard are left alone, so that
/// running every shard in turn fills `y`.
///
/// Bindings: `table` [table_rows, row_words] u32 (see [`MatrixDtype`]); `ids` [ids_from + rows] u32; `y` [rows, hidden] f32.
#[derive(Debug, Clone)]
pub struct TokenEmbed {
    /// Tokens.
    pub rows: usize,
    /// Values per token.
    pub hidden: usize,
    /// Element type of the table.
    pub stored: MatrixDtype,
    /// Words from row to row of the table.
    pub row_words: usize,
    /// Id of the shard's first row.
    pub first_row: usize,
    /// Rows of the shard.
    pub table_rows: usize,
    /// Place of the first row's id in `ids`.
    pub ids_from: usize,
}

/// Uniform block of [`TokenEmbed`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct TokenEmbedParams {
    rows: u32,
    hidden: u32,
    row_words: u32,
    first_row: u32,
    table_rows: u32,
    ids_from: u32,
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

    fn params(&self) -> TokenEmbedParams {
        TokenEmbedParams {
            rows: self.rows as u32,
            hidden: self.hidden as u32,
            row_words: self.row_words as u32,
            first_row: self.first_row as u32,
            table_rows: self.table_rows as u32,
            ids_from: self.ids_from as u32,
        }
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        vec![("ELEM", self.stored.code())]
    }

    fn grid(&self) -> Grid {
        Grid::element_wise(self.rows * self.hidden)
    }

    fn lengths(&self) -> Vec<usize> {
        vec![
            self.table_rows * self.row_words,
            self.ids_from + self.rows,
            self.rows * self.hidden,
        ]
    }

    fn cost(&self) -> Cost {
        let bytes = 4 * (self.stored.words(self.hidden) + self.hidden + 1);
        Cost {
            bytes: (self.rows * bytes) as f64,
            ops: 0.0,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (table, ids): (&[u32], &[u32]) = (b.read(0), b.read(1));
        let y: &mut [f32] = b.write(2);
        for (&id, y) in ids[self.ids_from..]
            .iter()
            .zip(y.chunks_exact_mut(self.hidden))
            .take(self.rows)
        {
            let here = (id as usize).checked_sub(self.first_row);
            if let Some(row) = here.filter(|&row| row < self.table_rows) {
                let words = &table[row * self.row_words..][..self.row_words];
                self.stored.decode(words, y);
            }
        }
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        bench::token_embed()
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |name: &str, op: TokenEmbed, table: Vec<u32>, ids: &[u32]| {
            let out = Data::Out(op.rows * op.hidden);
            Case::new(name, op, vec![Data::Words(table), Data::u32(ids), out])
        };
        let mut cases = Vec::new();
        for (stored, name) in [
            (MatrixDtype::F32, "f32"),
            (MatrixDtype::F16, "f16"),
            (MatrixDtype::Bf16, "bf16"),
        ] {
            let op = |rows, hidden| TokenEmbed {
                rows,
                hidden,
                stored,
                row_words: stored.words(hidden),
                first_row: 0,
                table_rows: 20,
                ids_from: 0,
            };
            let values = noise(11, 20 * 301, 3.0);
            let table =
                |hidden| stored.encode_rows(&values[..20 * hidden], hidden, stored.words(hidden));
            cases.push(case(name, op(4, 288), table(288), &[19, 0, 7, 7]));
            cases.push(case(
                &format!("{name}, odd width, ids nowhere"),
                op(3, 301),
                table(301),
                &[20, 3, u32::MAX],
            ));
            let mut shard = op(5, 64);
            (shard.first_row, shard.table_rows, shard.row_words) = (100, 7, 68);
            let rows = stored.encode_rows(&values[..7 * 64], 64, 68);
            let ids = [99, 100, 106, 107, 3];
            cases.push(case(
                &format!("{name}, shard, padded rows"),
                shard,
                rows,
                &ids,
            ));
        }
        cases.push(every_half());
        cases
    }
}

/// All finite halves and the infinities; NaN has too many faces to be compared.
fn every_half() -> Case<TokenEmbed> {
    let halves = (0..=u16::MAX).filter(|&h| !half::f16::from_bits(h).is_nan());
    let table: Vec<u16> = halves.collect();
    let hidden = table.len();
    let op = TokenEmbed {
        rows: 1,
        hidden,
        stored: MatrixDtype::F16,
        row_words: hidden / 2,
        first_row: 0,
        table_rows: 1,
        ids_from: 0,
    };
    let words = table
        .chunks(2)
        .map(|h| u32::from(h[0]) | u32::from(h[1]) << 16);
    let data = vec![
        Data::Words(words.collect()),
        Data::u32(&[0]),
        Data::Out(hidden),
    ];
    Case::new("every half", op, data)
}
