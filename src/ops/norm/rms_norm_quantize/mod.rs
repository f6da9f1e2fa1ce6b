//! RMS norm and rounding of activations to integers in one step, exact on every device.

use super::Rms;
use crate::codebook::{COLUMNS_PER_WORD, words_for};
use crate::fixed;
use crate::ops::quantize::{Activations, Form, LEAST_ABSMAX, round};
use crate::ops::*;

mod cases;
mod host;

/// Invocations of a workgroup that rounds a token.
pub(in crate::ops) const WIDTH: usize = 256;
/// Most vec4s of each half of a token that one invocation rounds: its sums of squares stay within 32 bits.
pub(in crate::ops) const MOST_QUADS: usize = 8;

/// Whether kernels that round whole tokens take tokens of `columns` values: they read them four at a time.
pub fn roundable(columns: usize) -> bool {
    columns.is_multiple_of(8) && columns <= 8 * MOST_QUADS * WIDTH
}

/// Rounds a token: writes byte planes as [`crate::ops::quantize::QuantizeAct`] does, and [`Form::token_scales`] `factors`, each
/// the value of one integer step, times levels.
pub(in crate::ops) fn round_token(
    x: &[f32],
    norm: Option<(&[f32], Rms)>,
    (form, mode): (Form, Activations),
    q: &mut [u8],
    factors: &mut [f32],
) {
    let half = x.len().div_ceil(2);
    let plane = words_for(half) * COLUMNS_PER_WORD;
    let planes = mode.byte_planes();
    let weighted: Vec<f32> = match norm {
        Some((weight, _)) => x.iter().zip(weight).map(|(x, w)| x * w).collect(),
        None => x.to_vec(),
    };
    let least = norm.map_or(LEAST_ABSMAX, |_| fixed::FAINT);
    let shared = x.len() / form.token_scales();
    for (absmax, values) in factors.iter_mut().zip(weighted.chunks_exact(shared)) {
        *absmax = values.iter().fold(least, |absmax, v| absmax.max(v.abs()));
    }
    q.fill(0);
    for (i, &v) in weighted.iter().enumerate() {
        // a product below the normal range may be flushed; it rounds to 0 either way
        let value = round(v, factors[i / shared], mode);
        let index = i / half * planes * plane + i % half;
        if planes == 2 {
            q[index] = (value >> 8) as u8;
            q[index + plane] = value as u8;
        } else {
            q[index] = value as u8;
        }
    }
    if let Some((_, rms)) = norm {
        let (eps_n, root_n) = fixed::norm_constants(rms.count(x.len()), rms.eps);
        let inverse = fixed::inverse_rms(x, eps_n, root_n);
        factors.iter_mut().for_each(|factor| *factor *= inverse);
    }
}

/// Normalizes tokens and rounds them to integers: `q` and `factor` such that `q * factor / levels` is
/// `x / rms(x) * weight` rounded to the grid of its largest value, as in [`crate::ops::quantize::QuantizeAct`].
///
/// The integers are those of `x * weight`, which the norm only scales; the factor carries `1 / rms`
/// ([`fixed::inverse_rms`], 24 bits). So every bit is the same on every device. In the conjugate form each half of a token has
/// a factor of its own: its largest value times the `1 / rms` of the whole token.
///
/// Bindings: `x` [tokens, columns] f32; `weight` `[columns]` f32; `q` as in [`crate::ops::quantize::QuantizeAct`]; `factor`
/// [tokens, [`Form::token_scales`]] f32.
#[derive(Debug, Clone)]
pub struct RmsNormQuantize {
    /// Tokens.
    pub tokens: usize,
    /// Real values per token; [`roundable`].
    pub columns: usize,
    /// What a token is divided by.
    pub rms: Rms,
    /// Of the layers that read the tokens: whether a token has one scale, or one for each half.
    pub form: Form,
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
}

impl Op for RmsNormQuantize {
    const NAME: &'static str = "rms_norm_quantize";
    const SHADERS: &'static [Shader] = &[
        shader!(unchecked Features::SUBGROUP_INT64, norm / "rms_norm_quantize" as "rms_norm_quantize_subgroup", "form", "wide64", "bits", "round", "round_bits", "round_token", "round_grid", "round_norm", "tile_subgroup", "round_vector"),
        shader!(
            Features::NONE,
            norm / "rms_norm_quantize",
            "form",
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
            rms: Rms { eps, complex },
            form,
            mode,
        } = self;
        let mut shape = format!("tokens={tokens},columns={columns},eps={eps},mode={mode:?}");
        if *complex {
            shape += ",rms=complex";
        }
        if *form == Form::Conjugate {
            shape += ",form=conjugate";
        }
        shape
    }

    fn params(&self) -> RmsNormQuantizeParams {
        let Rms { eps, .. } = self.rms;
        let (eps_n, root_n) = fixed::norm_constants(self.rms.count(self.columns), eps);
        RmsNormQuantizeParams {
            tokens: self.tokens as u32,
            quarter: (self.columns / 8) as u32,
            plane_words: self.plane_words() as u32,
            eps_n,
            root_n,
        }
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("BYTES", self.mode.byte_planes() as f64),
            self.form.constant(),
            ("TILE", 32.0),
        ]
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
            self.tokens * self.form.token_scales(),
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
        let (x, weight): (&[f32], &[f32]) = (b.read(0), b.read(1));
        let (q, factors): (&mut [u8], &mut [f32]) = (b.write(2), b.write(3));
        let tokens = x.chunks_exact(self.columns).take(self.tokens);
        let qs = q.chunks_exact_mut(4 * self.mode.row_words(self.columns));
        let factors = factors.chunks_exact_mut(self.form.token_scales());
        for ((x, q), factors) in tokens.zip(qs).zip(factors) {
            let norm = Some((weight, self.rms));
            round_token(x, norm, (self.form, self.mode), q, factors);
        }
    }

    fn host(&self, b: &mut Bindings<'_>) {
        let words = self.tokens * self.mode.row_words(self.columns);
        let scales = self.tokens * self.form.token_scales();
        let (q, factors): (&mut [u32], &mut [f32]) = (b.write(2), b.write(3));
        let (q, factors) = (&mut q[..words], &mut factors[..scales]);
        host::run(self, b.read(0), b.read(1), q, factors);
    }

    fn cases() -> Vec<Case<Self>> {
        cases::cases()
    }

    fn bench_cases() -> Vec<BenchCase<Self>> {
        cases::bench_cases()
    }
}
