//! Products with {1, i, -1, -i} weights: add, subtract and swap (inference of arXiv 2512.02901).
//!
//! `y = U x + W conj(x)` for U and W given as T stages of codes with two scales each. Several layers that
//! share their input may be stacked: their rows follow each other, each is a *segment* with its own scales.

use super::*;
use crate::codebook::{COLUMNS_PER_WORD, code_at, unit, words_for};
use crate::fixed::{self, Mantissas};
use crate::ops::quantize::Activations;
use bytemuck::Zeroable;

mod bits;
mod coop;
mod cpu;
mod expand;
mod float;
mod integer;
mod round;

pub use bits::PhaseGemmBits;
pub use coop::{COOP_TOKENS, PhaseGemmCoop};
pub use expand::{LIFT, PhaseExpand};
pub use float::{PhaseGemmFloat, PhaseGemvFloat};
pub use integer::{PhaseGemm, PhaseGemv};
pub use round::{Outcome, PhaseGemvFused};

/// The instruction set of the integer products on the host.
pub(super) fn host_simd() -> &'static str {
    cpu::Kernel::best().name()
}

/// The WGSL that reads the codes of 16 columns, of all terms.
fn codes_prelude(stages: usize) -> &'static str {
    match stages {
        1 => include_str!("../../../shaders/lib/codes_1.wgsl"),
        2 => concat!(
            include_str!("../../../shaders/lib/codes_2.wgsl"),
            include_str!("../../../shaders/lib/transposed.wgsl")
        ),
        3 => include_str!("../../../shaders/lib/codes_3.wgsl"),
        _ => concat!(
            include_str!("../../../shaders/lib/codes_4.wgsl"),
            include_str!("../../../shaders/lib/transposed.wgsl")
        ),
    }
}

/// Most stacked layers.
pub const MAX_SEGMENTS: usize = 3;

/// Largest padded number of complex columns for which 16-bit activations cannot overflow 31 bits.
pub const MAX_COLUMNS: usize = 65535;

/// A stack of quantized layers and how one run uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhaseShape {
    /// Real outputs of each stacked layer, at most [`MAX_SEGMENTS`].
    pub segments: Vec<usize>,
    /// Real inputs.
    pub in_features: usize,
    /// Residual stages, 1 to 4.
    pub stages: usize,
    /// One cell of scales per complex row instead of one per segment.
    pub per_row: bool,
    /// Packed words (16 columns each) that share scales; at least the row's words if they are not grouped.
    pub group_words: usize,
    /// First complex row (of the whole stack) in the piece of codes that is bound.
    pub first_row: usize,
    /// Complex rows in that piece.
    pub piece_rows: usize,
    /// Add to `y` instead of overwriting it.
    pub accumulate: bool,
    /// Tokens.
    pub rows: usize,
}

impl PhaseShape {
    /// Packed words of one row of one stage of U or W.
    pub fn words(&self) -> usize {
        words_for(self.in_features.div_ceil(2))
    }

    /// Matrices of codes: U and W in all stages.
    pub fn terms(&self) -> usize {
        2 * self.stages
    }

    /// Groups of columns with their own scales.
    pub fn groups(&self) -> usize {
        self.words().div_ceil(self.group_words)
    }

    /// Complex rows of the stack.
    pub fn complex_rows(&self) -> usize {
        self.segments.iter().map(|s| s.div_ceil(2)).sum()
    }

    /// Real outputs of the stack.
    pub fn outputs(&self) -> usize {
        self.segments.iter().sum()
    }

    /// Words of one cell of scales.
    pub fn cell_words(&self) -> usize {
        1 + self.groups() * self.terms() * 2
    }

    /// Cells of scales.
    pub fn cells(&self) -> usize {
        if self.per_row {
            self.complex_rows()
        } else {
            self.segments.len()
        }
    }

    /// Where complex row `row` of the stack goes: its cell, and the places of its real and imaginary part
    /// in a row of `y` (an odd layer's last imaginary part does not exist).
    pub fn place(&self, row: usize) -> (usize, usize, Option<usize>) {
        let (mut start, mut base) = (0, 0);
        for (s, &outs) in self.segments.iter().enumerate() {
            let half = outs.div_ceil(2);
            if row < start + half {
                let local = row - start;
                let cell = if self.per_row { row } else { s };
                let im = (half + local < outs).then_some(base + half + local);
                return (cell, base + local, im);
            }
            start += half;
            base += outs;
        }
        unreachable!("row {row} beyond the stack")
    }

    /// The code of a column of one term (U's stages, then W's) of local row `local`, in interleaved `codes`.
    fn code(&self, codes: &[u32], local: usize, term: usize, column: usize) -> u8 {
        let cell = (local * self.words() + column / COLUMNS_PER_WORD) * self.terms();
        let column = column % COLUMNS_PER_WORD;
        if self.terms().is_multiple_of(4) {
            // byte `column` of the four words of a group has its symbols of four terms
            let four = codes[cell + term / 4 * 4 + column / 4];
            return code_at(&[four], term % 4 * 4 + column % 4);
        }
        code_at(&[codes[cell + term]], column)
    }

    /// Words of the codes, the activations and scales they are multiplied with, and the result.
    fn lengths(&self, activations: [usize; 2]) -> Vec<usize> {
        let [q, absmax] = activations;
        vec![
            self.piece_rows * self.terms() * self.words(),
            q,
            absmax,
            self.cells() * self.cell_words(),
            self.rows * self.outputs(),
        ]
    }

    fn cost(&self, activation_bytes: f64) -> Cost {
        let codes = (self.piece_rows * self.terms() * self.words()) as f64;
        let y = (self.rows * self.piece_rows * 2 * 4) as f64;
        Cost {
            bytes: 4.0 * codes + activation_bytes + y,
            // one add for the real and one for the imaginary part of every code
            ops: codes * COLUMNS_PER_WORD as f64 * 2.0 * self.rows as f64,
        }
    }

    fn params(&self) -> PhaseParams {
        let mut outs = [0; MAX_SEGMENTS];
        for (o, s) in outs.iter_mut().zip(&self.segments) {
            *o = *s as u32;
        }
        PhaseParams {
            rows: self.rows as u32,
            in_features: self.in_features as u32,
            words: self.words() as u32,
            group_words: self.group_words.min(self.words()) as u32,
            groups: self.groups() as u32,
            per_row: self.per_row.into(),
            first_row: self.first_row as u32,
            piece_rows: self.piece_rows as u32,
            accumulate: self.accumulate.into(),
            outputs: self.outputs() as u32,
            outs,
            quarter: (self.in_features / 8) as u32,
            eps_n: 0.0,
            root_n: 0.0,
            normed: 0,
            paired: 0,
            slots: 0,
            parts: 0,
        }
    }
}

/// Uniform block of the phase products.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct PhaseParams {
    rows: u32,
    in_features: u32,
    words: u32,
    group_words: u32,
    groups: u32,
    per_row: u32,
    first_row: u32,
    piece_rows: u32,
    accumulate: u32,
    outputs: u32,
    outs: [u32; MAX_SEGMENTS],
    quarter: u32,
    eps_n: f32,
    root_n: f32,
    normed: u32,
    paired: u32,
    slots: u32,
    parts: u32,
}

/// Codes as the products read them: `[rows, words, 2 T]` instead of the packed format's `[rows, 2, T, words]`, so
/// that what one invocation needs at a time lies together.
///
/// With two stages and four, each four words of a cell are transposed: a byte then has one column's symbols of four
/// terms, and masks for the bits of any term need no shift.
pub fn interleaved(codes: &[u32], terms: usize, words: usize) -> Vec<u32> {
    let mut out = vec![0; codes.len()];
    interleave(codes, &mut out, terms, words);
    out
}

/// [`interleaved`] of some rows, into as many words.
pub fn interleave(codes: &[u32], out: &mut [u32], terms: usize, words: usize) {
    let row = terms * words;
    for (from, to) in codes.chunks_exact(row).zip(out.chunks_exact_mut(row)) {
        match terms {
            2 => transpose::<2>(from, to, words),
            4 => transpose::<4>(from, to, words),
            6 => transpose::<6>(from, to, words),
            8 => transpose::<8>(from, to, words),
            _ => {
                for (i, &code) in from.iter().enumerate() {
                    to[i % words * terms + i / words] = code;
                }
            }
        }
    }
}

/// One row, with the number of terms known to the compiler: loading a model spends its host time here.
fn transpose<const TERMS: usize>(from: &[u32], to: &mut [u32], words: usize) {
    let terms: [&[u32]; TERMS] = std::array::from_fn(|t| &from[t * words..][..words]);
    let (to, _) = to.as_chunks_mut::<TERMS>();
    for (w, to) in to.iter_mut().enumerate() {
        *to = terms.map(|term| term[w]);
        if TERMS.is_multiple_of(4) {
            for four in to.as_chunks_mut::<4>().0 {
                *four = transposed(*four);
            }
        }
    }
}

/// Symbol `t` of the bytes of word `k` changes places with symbol `k` of those of word `t`: from a word a term to a
/// byte a column, and back.
#[inline(always)]
fn transposed([a, b, c, d]: [u32; 4]) -> [u32; 4] {
    // pairs of symbols in pairs of words, then single ones
    let (p, q) = ((a >> 4 ^ c) & 0x0f0f_0f0f, (b >> 4 ^ d) & 0x0f0f_0f0f);
    let (a, b, c, d) = (a ^ p << 4, b ^ q << 4, c ^ p, d ^ q);
    let (p, q) = ((a >> 2 ^ b) & 0x3333_3333, (c >> 2 ^ d) & 0x3333_3333);
    [a ^ p << 2, b ^ p, c ^ q << 2, d ^ q]
}

/// Cells of scales for the integer products: per cell the exponent, then the mantissas
/// `[groups, 2, T, 2]`. `scales` in the order of [`crate::model::Packed`]; the activations' `1 / levels`
/// is part of them.
pub fn integer_cells(scales: &[f32], cells: usize, mode: Activations) -> Vec<u32> {
    scales
        .chunks(scales.len() / cells)
        .flat_map(|cell| {
            let m = Mantissas::new(cell, mode.levels());
            std::iter::once(m.exponent as u32).chain(m.values)
        })
        .collect()
}

/// Cells of scales for the float products: a zero, then the scales as they are.
pub fn float_cells(scales: &[f32], cells: usize) -> Vec<u32> {
    scales
        .chunks(scales.len() / cells)
        .flat_map(|cell| std::iter::once(0).chain(cell.iter().map(|s| s.to_bits())))
        .collect()
}

/// The complex activation of column `c` of row `row` in the byte planes of [`crate::ops::quantize::QuantizeAct`].
fn integer_at(q: &[u8], shape: &PhaseShape, mode: Activations, row: usize, c: usize) -> [i64; 2] {
    let (planes, plane) = (mode.planes(), shape.words() * COLUMNS_PER_WORD);
    [0, 1].map(|part| {
        let at = (row * 2 + part) * planes * plane + c;
        let first = i64::from(q[at] as i8);
        if planes == 2 {
            first * 256 + i64::from(q[at + plane])
        } else {
            first
        }
    })
}

/// All shapes on which the products are checked, with what is special about them.
fn case_shapes() -> Vec<(&'static str, PhaseShape)> {
    let shape = |segments: &[usize], in_features, stages, rows| PhaseShape {
        segments: segments.to_vec(),
        in_features,
        stages,
        per_row: false,
        group_words: usize::MAX,
        first_row: 0,
        piece_rows: segments.iter().map(|s| s.div_ceil(2)).sum(),
        accumulate: false,
        rows,
    };
    let mut all = vec![
        ("one stage", shape(&[64], 64, 1, 1)),
        ("two stages", shape(&[96], 384, 2, 1)),
        ("three stages", shape(&[40], 160, 3, 2)),
        ("four stages", shape(&[32], 96, 4, 3)),
        ("odd sizes", shape(&[37], 75, 2, 2)),
        ("stacked", shape(&[64, 31, 32], 130, 2, 2)),
        ("long rows", shape(&[10], 5000, 2, 1)),
        ("tiny", shape(&[1], 1, 2, 1)),
        ("many tokens", shape(&[70], 100, 2, 37)),
    ];
    let mut add = |name, base: usize, change: &dyn Fn(&mut PhaseShape)| {
        let mut s = all[base].1.clone();
        change(&mut s);
        all.push((name, s));
    };
    add("per row", 5, &|s| s.per_row = true);
    add("groups of 32 columns", 1, &|s| {
        s.per_row = true;
        s.group_words = 2;
    });
    add("ragged groups", 6, &|s| {
        s.per_row = true;
        s.group_words = 4;
    });
    add("accumulating", 5, &|s| s.accumulate = true);
    add("a piece", 5, &|s| {
        s.first_row = 20;
        s.piece_rows = 30;
    });
    all
}

/// Bindings of a case: codes, two for the activations, cells, y.
fn case_data(
    shape: &PhaseShape,
    activations: [Data; 2],
    cells: impl Fn(&[f32], usize) -> Vec<u32>,
) -> Vec<Data> {
    let codes = noise_u32(7, shape.piece_rows * shape.terms() * shape.words());
    let count = shape.cells() * shape.groups() * shape.terms() * 2;
    let scales: Vec<f32> = noise(8, count, 0.02)
        .iter()
        .enumerate()
        .map(|(i, s)| (s.abs() + 1e-3) / (1 << (i / 2 % shape.stages)) as f32)
        .collect();
    let [a, b] = activations;
    let y = shape.rows * shape.outputs();
    let y = if shape.accumulate || shape.piece_rows < shape.complex_rows() {
        Data::f32(&noise(9, y, 1.0))
    } else {
        Data::Out(y)
    };
    vec![
        Data::u32(&codes),
        a,
        b,
        Data::u32(&cells(&scales, shape.cells())),
        y,
    ]
}
