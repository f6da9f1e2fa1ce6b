//! RMS norm and rounding of activations to integers in one step, exact on every device.

use crate::codebook::{COLUMNS_PER_WORD, words_for};
use crate::fixed;
use crate::ops::quantize::{Activations, LEAST_ABSMAX, QuantizeAct, round};
use crate::ops::*;
use bytemuck::Zeroable;

/// Invocations of a workgroup that rounds a token.
pub(in crate::ops) const WIDTH: usize = 256;
/// vec4s of each half of a token that one invocation rounds at most: its sums of squares stay within 32 bits.
pub(in crate::ops) const MOST_HELD: usize = 8;

/// Whether kernels that round whole tokens take tokens of `columns` values: they read them four at a time.
pub fn roundable(columns: usize) -> bool {
    columns.is_multiple_of(8) && columns <= 8 * MOST_HELD * WIDTH
}

/// A rounded token: byte planes as [`QuantizeAct`] writes them, and what one integer step is worth, times levels.
pub(in crate::ops) fn round_token(
    x: &[f32],
    norm: Option<(&[f32], f32)>,
    mode: Activations,
    q: &mut [u8],
) -> f32 {
    let half = x.len().div_ceil(2);
    let plane = words_for(half) * COLUMNS_PER_WORD;
    let planes = mode.planes();
    let weighed: Vec<f32> = match norm {
        Some((weight, _)) => x.iter().zip(weight).map(|(x, w)| x * w).collect(),
        None => x.to_vec(),
    };
    let least = norm.map_or(LEAST_ABSMAX, |_| fixed::FAINT);
    let top = weighed.iter().fold(least, |top, v| top.max(v.abs()));
    q.fill(0);
    for (i, &v) in weighed.iter().enumerate() {
        // a product below the normal range may be flushed; it rounds to 0 either way
        let value = round(v, top, mode);
        let at = i / half * planes * plane + i % half;
        if planes == 2 {
            q[at] = (value >> 8) as u8;
            q[at + plane] = value as u8;
        } else {
            q[at] = value as u8;
        }
    }
    match norm {
        Some((_, eps)) => {
            let (eps_n, root_n) = fixed::norm_constants(x.len(), eps);
            top * fixed::inverse_rms(x, eps_n, root_n)
        }
        None => top,
    }
}

/// Normalizes rows and rounds them to integers: `q` and `factor` such that `q factor / levels` is
/// `x / rms(x) * weight` rounded to the grid of its largest value, as in [`QuantizeAct`].
///
/// The integers are those of `x weight`, which the norm only scales; the factor carries `1 / rms`
/// ([`fixed::inverse_rms`], 24 bits). So every bit is the same on every device.
///
/// Bindings: `x` [rows, columns] f32; `weight` `[columns]` f32; `q` as in [`QuantizeAct`]; `factor` `[rows]` f32.
#[derive(Debug, Clone)]
pub struct RmsNormQuantize {
    /// Tokens.
    pub rows: usize,
    /// Real values per token; [`roundable`].
    pub columns: usize,
    /// Added to the mean of squares.
    pub eps: f32,
    /// [`Activations::Int16`] or [`Activations::Int8`].
    pub mode: Activations,
}

/// Uniform block of [`RmsNormQuantize`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct RmsNormQuantizeParams {
    rows: u32,
    quarter: u32,
    plane_words: u32,
    eps_n: f32,
    root_n: f32,
}

impl RmsNormQuantize {
    fn plane_words(&self) -> usize {
        words_for(self.columns.div_ceil(2)) * COLUMNS_PER_WORD / 4
    }

    fn run(&self, b: &mut Bindings<'_>) {
        let (x, weight): (&[f32], &[f32]) = (b.read(0), b.read(1));
        let (q, factor): (&mut [u8], &mut [f32]) = (b.write(2), b.write(3));
        let row_bytes = 4 * QuantizeAct::row_words(self.columns, self.mode);
        let q = &mut q[..self.rows * row_bytes];
        let rows = (q, row_bytes);
        cpu::each_pair(rows, (&mut factor[..self.rows], 1), |row, q, factor| {
            let x = &x[row * self.columns..][..self.columns];
            factor[0] = round_token(x, Some((weight, self.eps)), self.mode, q);
        });
    }
}

impl Op for RmsNormQuantize {
    const NAME: &'static str = "rms_norm_quantize";
    const SHADERS: &'static [Shader] = &[
        shader!(unchecked Features::SUBGROUP_INT64, norm / "rms_norm_quantize" as "norm_round_subgroup",
            "wide64", "bits", "round", "round_vector", "team_subgroup"),
        shader!(
            Features::NONE,
            norm / "rms_norm_quantize",
            "wide",
            "bits",
            "round",
            "round_vector",
            "team_shared"
        ),
    ];
    const BINDINGS: &'static [Binding] = &[
        read("x", Elem::F32),
        read("weight", Elem::F32),
        write("q", Elem::U32),
        write("factor", Elem::U32),
    ];
    const AGREE: Agree = Agree::Bits;
    type Params = RmsNormQuantizeParams;

    fn params(&self) -> RmsNormQuantizeParams {
        let (eps_n, root_n) = fixed::norm_constants(self.columns, self.eps);
        RmsNormQuantizeParams {
            rows: self.rows as u32,
            quarter: (self.columns / 8) as u32,
            plane_words: self.plane_words() as u32,
            eps_n,
            root_n,
        }
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        vec![("PLANES", self.mode.planes() as f64), ("TEAM", 32.0)]
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: self.rows as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        vec![
            self.rows * self.columns,
            self.columns,
            self.rows * QuantizeAct::row_words(self.columns, self.mode),
            self.rows,
        ]
    }

    fn cost(&self) -> Cost {
        let n = (self.rows * self.columns) as f64;
        Cost {
            bytes: n * (4.0 + self.mode.planes() as f64),
            ops: 8.0 * n,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        self.run(b);
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        bench::rms_norm_quantize()
    }

    fn cases() -> Vec<Case<Self>> {
        let mut cases = Vec::new();
        for mode in [Activations::Int16, Activations::Int8] {
            let mut add = |name: &str, rows, columns, x: Vec<f32>| {
                let op = Self {
                    rows,
                    columns,
                    eps: 1e-5,
                    mode,
                };
                let weight: Vec<f32> = noise(61, columns, 0.5).iter().map(|w| w + 1.0).collect();
                let (q, factor) = (op.lengths()[2], rows);
                let data = vec![
                    Data::f32(&x),
                    Data::f32(&weight),
                    Data::Out(q),
                    Data::Out(factor),
                ];
                cases.push(Case::new(format!("{name}, {mode:?}"), op, data));
            };
            add("several rows", 3, 384, noise(62, 3 * 384, 4.0));
            add("narrow", 2, 8, noise(63, 16, 0.01));
            add("wide", 1, 11008, noise(64, 11008, 300.0));
            add(
                "all zero, all faint",
                2,
                64,
                [vec![0.0; 64], noise(65, 64, 1e-31)].concat(),
            );
            let scales = noise(66, 2 * 512, 1.0).into_iter().enumerate();
            let scales = scales.map(|(i, v)| v * 2f32.powi(-(i as i32 % 60)));
            add("many magnitudes", 2, 512, scales.collect());
            // many rows, so that the square root sees many values
            let rows = (0..40).flat_map(|r| noise(70 + r, 64, 1.7f32.powi(r as i32 - 20)));
            add("forty sizes", 40, 64, rows.collect());
        }
        cases
    }
}
