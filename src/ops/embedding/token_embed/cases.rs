//! Tables and tokens that the lookup is checked and timed on.

use super::TokenEmbed;
use crate::ops::*;

fn case(note: &str, op: TokenEmbed, table: Vec<u32>, ids: &[u32]) -> Case<TokenEmbed> {
    let rows = op.first_row..op.first_row + op.table_rows;
    let elsewhere = ids.iter().any(|&id| !rows.contains(&(id as usize)));
    // the rows of tokens whose ids lie elsewhere stay as they are
    let y = match elsewhere {
        true => Data::f32(&noise(12, op.tokens * op.hidden, 1.0)),
        false => Data::Out(op.tokens * op.hidden),
    };
    Case::new(note, op, vec![Data::Words(table), Data::u32(ids), y])
}

/// Every type of element in whole tables, with ids that are nowhere, and in a shard; and every f16.
pub(super) fn cases() -> Vec<Case<TokenEmbed>> {
    let mut cases = Vec::new();
    let values = noise(11, 20 * 301, 3.0);
    for dtype in [MatrixDtype::F32, MatrixDtype::F16, MatrixDtype::Bf16] {
        let op = |tokens, hidden| TokenEmbed {
            tokens,
            hidden,
            dtype,
            row_words: dtype.words(hidden),
            first_row: 0,
            table_rows: 20,
            ids_offset: 0,
            scale: 1.0,
        };
        let table = |hidden| dtype.encode_rows(&values[..20 * hidden], hidden, dtype.words(hidden));
        cases.push(case("", op(4, 288), table(288), &[19, 0, 7, 7]));
        cases.push(case("", op(3, 301), table(301), &[20, 3, u32::MAX]));
        let mut shard = op(5, 64);
        (shard.first_row, shard.table_rows, shard.row_words) = (100, 7, 68);
        shard.scale = 8.5;
        let rows = dtype.encode_rows(&values[..7 * 64], 64, 68);
        cases.push(case("", shard, rows, &[99, 100, 106, 107, 3]));
    }
    cases.push(every_half());
    cases
}

/// All finite f16 and the infinities. NaN is left out, since it has many encodings.
fn every_half() -> Case<TokenEmbed> {
    let halves = (0..=u16::MAX).filter(|&h| !half::f16::from_bits(h).is_nan());
    let halves: Vec<u16> = halves.collect();
    let op = TokenEmbed {
        tokens: 1,
        hidden: halves.len(),
        dtype: MatrixDtype::F16,
        row_words: halves.len() / 2,
        first_row: 0,
        table_rows: 1,
        ids_offset: 0,
        scale: 1.0,
    };
    let words = halves
        .chunks(2)
        .map(|h| u32::from(h[0]) | u32::from(h[1]) << 16);
    case("data=every_f16", op, words.collect(), &[0])
}

/// Decoding, and a prompt.
pub(super) fn bench_cases() -> Vec<BenchCase<TokenEmbed>> {
    let each = |tokens: usize| {
        let op = TokenEmbed {
            tokens,
            hidden: bench::HIDDEN,
            dtype: MatrixDtype::F16,
            row_words: MatrixDtype::F16.words(bench::HIDDEN),
            first_row: 0,
            table_rows: bench::VOCAB,
            ids_offset: 0,
            scale: 1.0,
        };
        let ids = (0..tokens as u32).map(|i| hash32(i, 3) % bench::VOCAB as u32);
        let data = [Made::Halves, Made::Words(ids.collect()), Made::Zeros];
        bench::case("", op, &data)
    };
    [1, bench::PROMPT].map(each).into()
}
