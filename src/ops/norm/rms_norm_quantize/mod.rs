//! RMS norm and rounding of activations to integers in one step, exact on every device.

use crate::codebook::{COLUMNS_PER_WORD, words_for};
use crate::fixed;
use crate::ops::quantize::{Activations, LEAST_ABSMAX, round};
use crate::ops::*;

mod cases;

/// Invocations of a workgroup that rounds a token.
pub(in crate::ops) const WIDTH: usize = 256;
/// Most vec4s of each half of a token that one invocation rounds: its sums of squares stay within 32 bits.
pub(in crate::ops) const MOST_QUADS: usize = 8;

/// Whether kernels that round whole tokens take tokens of `columns` values: they read them four at a time.
pub fn roundable(columns: usize) -> bool {
    columns.is_multiple_of(8) && columns <= 8 * MOST_QUADS * WIDTH
}

/// Rounds a token: writes byte planes as [`crate::ops::quantize::QuantizeAct`] does, and returns the value of one integer step, times levels.
pub(in crate::ops) fn round_token(
    x: &[f32],
    norm: Option<(&[f32], f32)>,
    mode: Activations,
    q: &mut [u8],
) -> f32 {
    let half = x.len().div_ceil(2);
    let plane = words_for(half) * COLUMNS_PER_WORD;
    let planes = mode.byte_planes();
    let weighted: Vec<f32> = match norm {
        Some((weight, _)) => x.iter().zip(weight).map(|(x, w)| x * w).collect(),
        None => x.to_vec(),
    };
    let least = norm.map_or(LEAST_ABSMAX, |_| fixed::FAINT);
    let absmax = weighted.iter().fold(least, |absmax, v| absmax.max(v.abs()));
    q.fill(0);
    for (i, &v) in weighted.iter().enumerate() {
        // a product below the normal range may be flushed; it rounds to 0 either way
        let value = round(v, absmax, mode);
        let index = i / half * planes * plane + i % half;
        if planes == 2 {
            q[index] = (value >> 8) as u8;
            q[index + plane] = value as u8;
        } else {
            q[index] = value as u8;
        }
    }
    match norm {
        Some((_, eps)) => {
            let (eps_n, root_n) = fixed::norm_constants(x.len(), eps);
            absmax * fixed::inverse_rms(x, eps_n, root_n)
        }
        None => absmax,
    }
}

/// Normalizes tokens and rounds them to integers: `q` and `factor` such that `q * factor / levels` is
/// `x / rms(x) * weight` rounded to the grid of its largest value, as in [`crate::ops::quantize::QuantizeAct`].
///
/// The integers are those of `x * weight`, which the norm only scales; the factor carries `1 / rms`
/// ([`fixed::inverse_rms`], 24 bits). So every bit is the same on every device.
///
/// Bindings: `x` [tokens, columns] f32; `weight` `[columns]` f32; `q` as in [`crate::ops::quantize::QuantizeAct`]; `factor` `[tokens]` f32.
#[derive(Debug, Clone)]
pub struct RmsNormQuantize {
    /// Tokens.
    pub tokens: usize,
    /// Real values per token; [`roundable`].
    pub columns: usize,
    /// Added to the mean of squares.
    pub eps: f32,
    /// [`Activations::Int16`] or [`Activations::Int8`].
    pub mode: Activations,
}

params! {
    /// Uniform block of [`RmsNormQuantize`].
    pub struct RmsNormQuantizeParams {
        tokens: u32,
        quarter: u32,
        plane_words: u32,
        eps_n: f32,
        root_n: f32,
    }
}

impl RmsNormQuantize {
    fn plane_words(&self) -> usize {
        words_for(self.columns.div_ceil(2)) * COLUMNS_PER_WORD / 4
    }

    fn run(&self, b: &mut Bindings<'_>) {
        let (x, weight): (&[f32], &[f32]) = (b.read(0), b.read(1));
        let (q, factor): (&mut [u8], &mut [f32]) = (b.write(2), b.write(3));
        let token_bytes = 4 * self.mode.row_words(self.columns);
        let q = &mut q[..self.tokens * token_bytes];
        let tokens = (q, token_bytes);
        cpu::each_pair(
            tokens,
            (&mut factor[..self.tokens], 1),
            |token, q, factor| {
                let x = &x[token * self.columns..][..self.columns];
                factor[0] = round_token(x, Some((weight, self.eps)), self.mode, q);
            },
        );
    }
}

impl Op for RmsNormQuantize {
    const NAME: &'static str = "rms_norm_quantize";
    const SHADERS: &'static [Shader] = &[
        shader!(unchecked Features::SUBGROUP_INT64, norm / "rms_norm_quantize" as "rms_norm_quantize_subgroup", "wide64", "bits", "round", "round_bits", "round_token", "round_grid", "round_norm", "tile_subgroup", "round_vector"),
        shader!(
            Features::NONE,
            norm / "rms_norm_quantize",
            "wide",
            "bits",
            "round",
            "round_bits",
            "round_token",
            "round_grid",
            "round_norm",
            "tile_shared",
            "round_vector"
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

    fn shape(&self) -> String {
        let Self {
            tokens,
            columns,
            eps,
            mode,
        } = self;
        format!("tokens={tokens},columns={columns},eps={eps},mode={mode:?}")
    }

    fn params(&self) -> RmsNormQuantizeParams {
        let (eps_n, root_n) = fixed::norm_constants(self.columns, self.eps);
        RmsNormQuantizeParams {
            tokens: self.tokens as u32,
            quarter: (self.columns / 8) as u32,
            plane_words: self.plane_words() as u32,
            eps_n,
            root_n,
        }
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        vec![("BYTES", self.mode.byte_planes() as f64), ("TILE", 32.0)]
    }

    fn grid(&self) -> Grid {
        Grid {
            groups: self.tokens as u32,
            batch: 1,
        }
    }

    fn lengths(&self) -> Vec<usize> {
        vec![
            self.tokens * self.columns,
            self.columns,
            self.tokens * self.mode.row_words(self.columns),
            self.tokens,
        ]
    }

    fn cost(&self) -> Cost {
        let n = (self.tokens * self.columns) as f64;
        Cost {
            bytes: n * (4.0 + self.mode.byte_planes() as f64),
            ops: 8.0 * n,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        self.run(b);
    }

    fn cases() -> Vec<Case<Self>> {
        cases::cases()
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        cases::bench_cases()
    }
}
