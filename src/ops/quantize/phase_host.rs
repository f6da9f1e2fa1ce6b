//! What the CPU backend runs: rows in parallel, 16 columns at a time, without branches on the weights.

use super::Form;
use super::weight_shard::WeightShard;
use super::widely_linear::{flush, merge, split};
use crate::codebook::{COLUMNS_PER_WORD, shift_of, symbol, words_for};
use crate::fixed;
use crate::ops::Bindings;
use crate::ops::cpu::{each_chunk, each_pair};

/// Columns of a block: one word of codes.
const WIDE: usize = COLUMNS_PER_WORD;

/// One value of each of 16 columns.
type Lanes = [f32; WIDE];

/// `2^exponent`, for exponents of normal f64.
pub(in crate::ops) fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

/// [`fixed::square`] with `unit` = 2^(32 - exponent); `x` is not subnormal.
pub(in crate::ops) fn square(x: f32, unit: f64) -> u64 {
    let root = (f64::from(x.abs()) * unit) as i64 as u64;
    (root * root) >> fixed::SQUARE_SHIFT
}

/// [`crate::codebook::code`] without branches.
fn sector(re: f32, im: f32) -> u32 {
    let i = (im > re) & (re > -im);
    let minus = (im > re) & (im <= -re);
    let minus_i = (im <= re) & (re < -im);
    u32::from(i) + 2 * u32::from(minus) + 3 * u32::from(minus_i)
}

/// [`super::weight_shard::value`] without branches.
fn quantum(k: u32, s: [f32; 2]) -> [f32; 2] {
    let sign = (k >> 1) << 31;
    let odd = 0u32.wrapping_sub(k & 1);
    [
        f32::from_bits((s[0].to_bits() ^ sign) & !odd),
        f32::from_bits((s[1].to_bits() ^ sign) & odd),
    ]
}

/// Replaces a residual by the next stage's; returns the codes.
fn step([re, im]: &mut [Lanes; 2], s: [f32; 2]) -> [u32; WIDE] {
    let mut codes = [0; WIDE];
    for j in 0..WIDE {
        codes[j] = sector(re[j], im[j]);
        let q = quantum(codes[j], s);
        re[j] -= q[0];
        im[j] -= q[1];
    }
    codes
}

/// The four real weights of 16 columns, or Re W and Im W; 0 where there is none.
fn load(p: &WeightShard, r: &[f32], row: usize, first: usize) -> [Lanes; 4] {
    let (columns, half) = (p.columns, p.complex_columns());
    let upper = &r[row * columns..][..columns];
    let lower = if row < p.lower_rows {
        &r[(p.rows + row) * columns..][..columns]
    } else {
        &[]
    };
    let places: [(&[f32], _, _); 4] = match p.form {
        Form::WidelyLinear => [
            (upper, first, half),
            (upper, first + half, columns),
            (lower, first, half),
            (lower, first + half, columns),
        ],
        Form::Conjugate => [
            (upper, first, half),
            (lower, first, half),
            (&[], 0, 0),
            (&[], 0, 0),
        ],
    };
    places.map(|(source, start, end)| {
        let left = source.get(start..end.min(source.len())).unwrap_or_default();
        left.first_chunk().copied().unwrap_or_else(|| {
            let mut lanes = [0.0; WIDE];
            lanes[..left.len()].copy_from_slice(left);
            lanes
        })
    })
}

/// U and W of loaded blocks; where there is no U, W and zeros.
fn complex(p: &WeightShard, blocks: &[Lanes; 4]) -> [[Lanes; 2]; 2] {
    if p.form == Form::Conjugate {
        let [re, im, ..] = blocks.map(|lanes| lanes.map(flush));
        return [[re, im], [[0.0; WIDE]; 2]];
    }
    let mut z = [[[0.0; WIDE]; 2]; 2];
    for j in 0..WIDE {
        let [u_re, u_im, w_re, w_im] = split([0, 1, 2, 3].map(|k| blocks[k][j]));
        z[0][0][j] = u_re;
        z[0][1][j] = u_im;
        z[1][0][j] = w_re;
        z[1][1][j] = w_im;
    }
    z
}

/// `(s_re, s_im)` at an index.
fn scale_pair(scales: &[f32], index: usize) -> [f32; 2] {
    [scales[index], scales[index + 1]]
}

/// Exact sum and count on each axis.
#[derive(Default, Clone, Copy)]
struct Tally {
    all: u64,
    odd: u64,
    odd_count: u32,
}

impl Tally {
    fn add(&mut self, [re, im]: &[Lanes; 2], count: usize, unit: f64) {
        for j in 0..count {
            let odd = sector(re[j], im[j]) & 1;
            let size = if odd == 1 { im[j] } else { re[j] };
            let magnitude = (f64::from(size.abs()) * unit) as i64 as u64;
            self.all += magnitude;
            self.odd += magnitude & 0u64.wrapping_sub(u64::from(odd));
            self.odd_count += odd;
        }
    }

    fn words(self, count: usize) -> [u32; 6] {
        let even = self.all - self.odd;
        [
            even as u32,
            (even >> 32) as u32,
            count as u32 - self.odd_count,
            self.odd as u32,
            (self.odd >> 32) as u32,
            self.odd_count,
        ]
    }
}

/// [`super::PhaseScale`] of stage `stage`.
pub(super) fn scale(p: &WeightShard, stage: usize, b: &mut Bindings<'_>) {
    let (r, scales): (&[f32], &[f32]) = (b.read(0), b.read(1));
    let sums: &mut [u32] = b.write(2);
    let unit = power_of_two(fixed::MAGNITUDE_BITS - p.exponent);
    let matrices = p.form.matrices();
    let row_words = p.groups() * matrices * 6;
    let sums = &mut sums[p.first_row * row_words..][..p.rows * row_words];
    each_chunk(sums, row_words, |row, sums| {
        for (group, sums) in sums.chunks_mut(matrices * 6).enumerate() {
            let first = group * p.group();
            let end = p.complex_columns().min(first + p.group());
            let first_scale = p.scale_index(row, first);
            let mut tallies = [Tally::default(); 2];
            for c in (first..end).step_by(WIDE) {
                let mut z = complex(p, &load(p, r, row, c));
                for (i, z) in z[..matrices].iter_mut().enumerate() {
                    for t in 0..stage {
                        step(z, scale_pair(scales, first_scale + 2 * (i * p.stages + t)));
                    }
                    tallies[i].add(z, WIDE.min(end - c), unit);
                }
            }
            for (sums, tally) in sums.chunks_mut(6).zip(tallies) {
                sums.copy_from_slice(&tally.words(end - first));
            }
        }
    });
}

/// [`super::PhasePack`]; errors if `measure`.
pub(super) fn pack(p: &WeightShard, measure: bool, b: &mut Bindings<'_>) {
    let (r, scales): (&[f32], &[f32]) = (b.read(0), b.read(1));
    let (codes, errors): (&mut [u32], &mut [u32]) = (b.write(2), b.write(3));
    let words = words_for(p.complex_columns());
    let unit = power_of_two(32 - (p.exponent + 1));
    let squares = |blocks: &[Lanes; 4]| -> u64 {
        let lanes = blocks.as_flattened().iter();
        lanes.map(|&x| square(flush(x), unit)).sum()
    };
    each_pair(
        (&mut codes[..p.codes()], p.planes() * words),
        (&mut errors[..4 * p.rows], 4),
        |row, codes, errors| {
            let (mut error, mut power) = (0, 0);
            for word in 0..words {
                let first = word * WIDE;
                let blocks = load(p, r, row, first);
                if measure {
                    power += squares(&blocks);
                }
                let mut z = complex(p, &blocks);
                let first_scale = p.scale_index(row, first);
                let mask = mask(WIDE.min(p.complex_columns() - first));
                for plane in 0..p.planes() {
                    let found = step(
                        &mut z[plane / p.stages],
                        scale_pair(scales, first_scale + 2 * plane),
                    );
                    codes[plane * words + word] = packed(&found) & mask;
                }
                if measure {
                    error += squares(&rest(p, row, first, &z));
                }
            }
            if measure {
                let pair = [error, power].map(|s| [s as u32, (s >> 32) as u32]);
                errors.copy_from_slice(pair.as_flattened());
            }
        },
    );
}

/// Bits of the first `count` columns of a word.
fn mask(count: usize) -> u32 {
    (0..count).fold(0, |mask, j| mask | 3 << shift_of(j))
}

fn packed(codes: &[u32; WIDE]) -> u32 {
    let pack = |word, (j, &k): (usize, &u32)| word | symbol(k as u8) << shift_of(j);
    codes.iter().enumerate().fold(0, pack)
}

/// What is stored of 16 columns, from the complex weights of the matrices.
fn stored(p: &WeightShard, z: &[[Lanes; 2]; 2]) -> [Lanes; 4] {
    if p.form == Form::Conjugate {
        let [re, im] = z[0].map(|lanes| lanes.map(flush));
        return [re, im, [0.0; WIDE], [0.0; WIDE]];
    }
    let mut lanes = [[0.0; WIDE]; 4];
    for j in 0..WIDE {
        let v = merge([z[0][0][j], z[0][1][j], z[1][0][j], z[1][1][j]]);
        for k in 0..4 {
            lanes[k][j] = v[k];
        }
    }
    lanes
}

/// `R - Rq` of 16 columns; 0 where there is no weight.
fn rest(p: &WeightShard, row: usize, first: usize, z: &[[Lanes; 2]; 2]) -> [Lanes; 4] {
    let half = p.complex_columns();
    let left = WIDE.min(half - first);
    let mut error = stored(p, z);
    if p.form == Form::Conjugate {
        error.iter_mut().for_each(|lanes| lanes[left..].fill(0.0));
        return error;
    }
    let right = left.min((p.columns - half).saturating_sub(first));
    let lower = usize::from(row < p.lower_rows);
    for (lanes, count) in error
        .iter_mut()
        .zip([left, right, left * lower, right * lower])
    {
        lanes[count..].fill(0.0);
    }
    error
}

/// [`super::PhaseUnpack`].
pub(super) fn unpack(p: &WeightShard, b: &mut Bindings<'_>) {
    let (codes, scales): (&[u32], &[f32]) = (b.read(0), b.read(1));
    let r: &mut [f32] = b.write(2);
    let (upper, lower) = r[..p.reals()].split_at_mut(p.rows * p.columns);
    let (paired, alone) = upper.split_at_mut(p.lower_rows * p.columns);
    let row_of = |row: usize, upper: &mut [f32], lower: &mut [f32]| {
        unpack_row(p, codes, scales, row, upper, lower);
    };
    each_pair((paired, p.columns), (lower, p.columns), row_of);
    for (i, upper) in alone.chunks_mut(p.columns).enumerate() {
        row_of(p.lower_rows + i, upper, &mut []);
    }
}

fn unpack_row(
    p: &WeightShard,
    codes: &[u32],
    scales: &[f32],
    row: usize,
    upper: &mut [f32],
    lower: &mut [f32],
) {
    let (half, words) = (p.complex_columns(), words_for(p.complex_columns()));
    let codes = &codes[row * p.planes() * words..][..p.planes() * words];
    for word in 0..words {
        let first = word * WIDE;
        let first_scale = p.scale_index(row, first);
        let mut z = [[[0.0; WIDE]; 2]; 2];
        for plane in 0..p.planes() {
            let s = scale_pair(scales, first_scale + 2 * plane);
            let [re, im] = &mut z[plane / p.stages];
            for j in 0..WIDE {
                let g = codes[plane * words + word] >> shift_of(j) & 3;
                let q = quantum(g ^ g >> 1, s);
                re[j] += q[0];
                im[j] += q[1];
            }
        }
        let lanes = stored(p, &z);
        // Blocks of a stored row: a left and a right half, or one.
        let of_row = p.form.matrices();
        store(upper, half, first, &lanes[..of_row]);
        store(lower, half, first, &lanes[of_row..2 * of_row]);
    }
}

/// Left and right half of 16 complex columns of a real row, as far as it has them.
fn store(row: &mut [f32], half: usize, first: usize, lanes: &[Lanes]) {
    for (k, lanes) in lanes.iter().enumerate() {
        let end = [half.min(row.len()), row.len()][k];
        let start = (first + k * half).min(end);
        let count = WIDE.min(end - start);
        row[start..start + count].copy_from_slice(&lanes[..count]);
    }
}
