//! Products without vector instructions: table look-ups instead of additions.
//!
//! A nibble of a packed word is the symbols of two columns. For one token, a table of 16 entries per pair of
//! columns holds what each nibble contributes to the four sums, and every row, stage, U and W share it: two
//! complex multiply-adds become one load and one 4-wide addition.

use super::{Inputs, PhaseShape};
use crate::codebook::COLUMNS_PER_WORD;
use crate::fixed;
use crate::ops::Bindings;
use crate::ops::phase::codes::transposed;
use crate::ops::phase::integer::integer_at;
use crate::ops::quantize::Form;
use std::ops::{Add, Sub};

/// `sum Re(i^k) x_re, sum Im(i^k) x_re, sum Re(i^k) x_im, sum Im(i^k) x_im`.
type Sums<T> = [T; 4];

trait Lane: Copy + Default + Send + Sync + Add<Output = Self> + Sub<Output = Self> {}
impl Lane for i32 {}
impl Lane for f32 {}

fn add<T: Lane>(a: Sums<T>, b: Sums<T>) -> Sums<T> {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3]]
}

/// Words whose tables stay in the first-level cache together.
const BLOCK: usize = 8;

/// U and W in four stages.
const MOST_PLANES: usize = 8;

/// Tables of one word: 8 nibbles of 16 entries.
type WordTable<T> = [[Sums<T>; 16]; 8];

/// What symbol `g` of a column with activation `(re, im)` contributes.
fn entry<T: Lane>(g: u32, re: T, im: T) -> Sums<T> {
    let zero = T::default();
    match crate::codebook::code_of(g) {
        0 => [re, zero, im, zero],
        1 => [zero, re, zero, im],
        2 => [zero - re, zero, zero - im, zero],
        _ => [zero, zero - re, zero, zero - im],
    }
}

/// Tables of all words of one token; `x` gives the complex activation of a column.
fn tables<T: Lane>(words: usize, x: impl Fn(usize) -> [T; 2]) -> Vec<WordTable<T>> {
    (0..words)
        .map(|w| {
            std::array::from_fn(|nibble| {
                let first = w * COLUMNS_PER_WORD + 8 * (nibble % 2) + nibble / 2;
                let single = [0, 4].map(|step| {
                    let [re, im] = x(first + step);
                    [0, 1, 2, 3].map(|g| entry(g, re, im))
                });
                std::array::from_fn(|n| add(single[0][n & 3], single[1][n >> 2]))
            })
        })
        .collect()
}

/// Sums of one plane of a row of codes, which begins at `codes[0]`, over the words of one block.
fn row_sums<T: Lane>(codes: &[u32], planes: usize, tables: &[WordTable<T>]) -> Sums<T> {
    let mut even = [T::default(); 4];
    let mut odd = even;
    for (&word, table) in codes.iter().step_by(planes).zip(tables) {
        for pair in 0..4 {
            let byte = word >> (8 * pair);
            even = add(even, table[2 * pair as usize][(byte & 15) as usize]);
            odd = add(odd, table[2 * pair as usize + 1][(byte >> 4 & 15) as usize]);
        }
    }
    add(even, odd)
}

/// Sums of `rows` complex rows of `codes`, per row, group and plane.
fn sums<T: Lane>(shape: &PhaseShape, codes: &[u32], tables: &[WordTable<T>]) -> Vec<Sums<T>> {
    let (words, planes, groups) = (shape.words(), shape.planes(), shape.groups());
    let group_words = shape.group_words.min(words);
    let rows = codes.len() / (planes * words);
    let mut all = vec![[T::default(); 4]; rows * groups * planes];
    for group in 0..groups {
        let end = ((group + 1) * group_words).min(words);
        for first in (group * group_words..end).step_by(BLOCK) {
            let last = (first + BLOCK).min(end);
            for (local, row) in codes.chunks_exact(words * planes).enumerate() {
                let mut block = [0; BLOCK * MOST_PLANES];
                let block = &mut block[..(last - first) * planes];
                block.copy_from_slice(&row[first * planes..last * planes]);
                if planes.is_multiple_of(4) {
                    for four in block.as_chunks_mut::<4>().0 {
                        *four = transposed(*four);
                    }
                }
                for plane in 0..planes {
                    let i = (local * groups + group) * planes + plane;
                    all[i] = add(
                        all[i],
                        row_sums(&block[plane..], planes, &tables[first..last]),
                    );
                }
            }
        }
    }
    all
}

/// Runs `work(first local row, codes of these rows)` over chunks of the rows, on all threads when it is worth
/// it, and hands each chunk's results to `store` in order.
fn over_rows<R: Send>(
    shape: &PhaseShape,
    codes: &[u32],
    work: impl Fn(usize, &[u32]) -> Vec<R> + Sync + Send,
    mut store: impl FnMut(usize, R),
) {
    let stride = shape.planes() * shape.words();
    let codes = &codes[..shape.shard_rows * stride];
    // below a few microseconds of work, waking threads costs more than it saves
    let chunk = (16384 / stride).clamp(16, 4096);
    let results: Vec<(usize, Vec<R>)> = {
        let one = |(i, codes)| (i * chunk, work(i * chunk, codes));
        #[cfg(feature = "threads")]
        {
            use rayon::prelude::*;
            codes
                .par_chunks(chunk * stride)
                .enumerate()
                .map(one)
                .collect()
        }
        #[cfg(not(feature = "threads"))]
        codes.chunks(chunk * stride).enumerate().map(one).collect()
    };
    for (first, rows) in results {
        for (i, row) in rows.into_iter().enumerate() {
            store(first + i, row);
        }
    }
}

/// A product, token by token: `tables` of a token, then `finish(token, scale block, sums of a row)` for every row, which
/// returns the real and the imaginary part of its result.
fn product<T: Lane>(
    shape: &PhaseShape,
    codes: &[u32],
    y: &mut [f32],
    tables: impl Fn(usize) -> Vec<WordTable<T>>,
    finish: impl Fn(usize, usize, &[Sums<T>]) -> [f32; 2] + Sync + Send,
) {
    let per_row = shape.groups() * shape.planes();
    for token in 0..shape.tokens {
        let tables = tables(token);
        let work = |first: usize, codes: &[u32]| {
            let all = sums(shape, codes, &tables);
            let rows = all.chunks_exact(per_row).enumerate();
            rows.map(|(i, row)| {
                let (block, ..) = shape.outputs_of(shape.first_row + first + i);
                finish(token, block, row)
            })
            .collect()
        };
        let y = &mut y[token * shape.outputs()..][..shape.outputs()];
        over_rows(shape, codes, work, |local, value| {
            store(shape, y, local, value);
        });
    }
}

/// [`crate::ops::phase::PhaseGemv`] and [`crate::ops::phase::PhaseGemm`] by table look-ups.
pub(super) fn integer(inputs: &Inputs<'_>, y: &mut [f32]) {
    let Inputs { shape, mode, .. } = *inputs;
    let Inputs {
        codes,
        scale_blocks,
        ..
    } = *inputs;
    let (q, absmax): (&[u8], _) = (bytemuck::cast_slice(inputs.q), inputs.absmax);
    let tables = |token| {
        tables(shape.words(), |c| {
            integer_at(q, shape, mode, token, c).map(|v| v as i32)
        })
    };
    let finish = |token: usize, block: usize, row: &[Sums<i32>]| {
        let block = &scale_blocks[block * shape.scale_block_words()..][..shape.scale_block_words()];
        // for the real and the imaginary output, what the real and what the imaginary inputs add
        let mut sums = [[0i64; 2]; 2];
        for (group, row) in row.chunks_exact(shape.planes()).enumerate() {
            let m = &block[1 + group * shape.planes() * 2..];
            for (plane, s) in row.iter().enumerate() {
                let conj = if shape.conjugates(plane) { -1 } else { 1 };
                let (re, im) = (i64::from(m[2 * plane]), i64::from(m[2 * plane + 1]));
                sums[0][0] += i64::from(s[0]) * re;
                sums[0][1] -= conj * i64::from(s[3]) * im;
                sums[1][0] += i64::from(s[1]) * im;
                sums[1][1] += conj * i64::from(s[2]) * re;
            }
        }
        let exponent = block[0] as i32;
        sums.map(|[by_re, by_im]| match shape.form {
            Form::WidelyLinear => fixed::to_f32(by_re + by_im, absmax[token], exponent),
            Form::Conjugate => {
                fixed::to_f32(by_re, absmax[2 * token], exponent)
                    + fixed::to_f32(by_im, absmax[2 * token + 1], exponent)
            }
        })
    };
    product(shape, codes, y, tables, finish);
}

/// [`crate::ops::phase::PhaseGemvFloat`] and [`crate::ops::phase::PhaseGemmFloat`] on the host.
pub(in crate::ops::phase) fn float(shape: &PhaseShape, b: &mut Bindings<'_>) {
    let (codes, x, scale_blocks): (&[u32], &[f32], &[f32]) = (b.read(0), b.read(1), b.read(2));
    let codes = &shape.codes_by_rows(codes);
    let half = shape.in_features.div_ceil(2);
    let tables = |token: usize| {
        let x = &x[token * shape.in_features..][..shape.in_features];
        let value = |i: usize| x.get(i).copied().unwrap_or(0.0);
        // columns that only pad the last word are zero
        tables(shape.words(), |c| {
            if c < half {
                [x[c], value(half + c)]
            } else {
                [0.0; 2]
            }
        })
    };
    let finish = |_, block: usize, row: &[Sums<f32>]| {
        let block = &scale_blocks[block * shape.scale_block_words()..][..shape.scale_block_words()];
        let mut sum = [0f32; 2];
        for (group, row) in row.chunks_exact(shape.planes()).enumerate() {
            let s = &block[1 + group * shape.planes() * 2..];
            for (plane, v) in row.iter().enumerate() {
                let conj = if shape.conjugates(plane) { -1.0 } else { 1.0 };
                sum[0] += v[0] * s[2 * plane] - conj * v[3] * s[2 * plane + 1];
                sum[1] += conj * v[2] * s[2 * plane] + v[1] * s[2 * plane + 1];
            }
        }
        sum
    };
    product(shape, codes, b.write(3), tables, finish);
}

fn store(shape: &PhaseShape, y: &mut [f32], local: usize, value: [f32; 2]) {
    let (_, re, im) = shape.outputs_of(shape.first_row + local);
    for (index, value) in [(Some(re), value[0]), (im, value[1])] {
        let Some(i) = index else { continue };
        y[i] = if shape.accumulate {
            y[i] + value
        } else {
            value
        };
    }
}
