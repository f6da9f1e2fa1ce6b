//! Turning one dense linear layer into codes and scales, on any backend.

use super::Config;
use crate::backend::Backend;
use crate::codebook::words_for;
use crate::error::{Error, Result};
use crate::fixed;
use crate::ops::quantize::MAX_STAGES;
use std::borrow::Cow;

pub use crate::ops::quantize::{Form, Granularity};
pub(crate) use fitting::Fitting;
pub use mixed::Mixed;
pub(crate) use phase::encode;
pub use recipe::{Method, Recipe};

mod baseline;
mod fitting;
mod mixed;
mod phase;
mod recipe;
mod shards;

/// A quantized linear layer in host memory: the content of `{prefix}.codes` and `{prefix}.scales`.
///
/// With n = ceil(out / 2), m = ceil(in / 2), T stages:
/// - phase `codes` `[n, M, T, words_for(m)]`: row, matrix (U then W, or W alone: [`Form`]), stage, packed symbols
///   ([`crate::codebook`]); `scales` `[blocks, groups, M, T, 2]` f32: scale block (the tensor, or the row), group of columns,
///   matrix, stage, (s_re, s_im). `groups` is 1 except for [`Granularity::Group`]: ceil(m / g). With
///   [`Granularity::Tile`], a scale block is a row of tiles.
/// - binary `codes` `[out, ceil(in / 32)]`: bit `j % 32` of word `j / 32` is set where the weight is +s;
///   `scales` `[1]` = s.
/// - ternary `codes` `[out, ceil(in / 16)]`: two bits at `2 (j % 16)`: 0, 1 (+g) or 3 (-g); `scales` `[1]` = g.
#[derive(Debug, Clone, PartialEq)]
pub struct Packed {
    /// How it was quantized; `skip_head` is irrelevant here.
    pub method: Method,
    /// Which matrices it has.
    pub form: Form,
    /// Which weights share scales.
    pub granularity: Granularity,
    /// Real outputs.
    pub out_features: usize,
    /// Real inputs.
    pub in_features: usize,
    /// Packed codes.
    pub codes: Vec<u32>,
    /// Scales.
    pub scales: Vec<f32>,
    /// `|Rq - R| / |R|` when it was just quantized.
    pub relative_error: Option<f64>,
}

/// A [`Packed`] layer whose codes are borrowed where they lie: in a mapped file, if they are aligned there. Kernels know no
/// tiles, so that each row of a tile has a copy of its scales.
#[derive(Debug, Clone)]
pub struct PackedView<'a> {
    /// [`Packed::method`].
    pub method: Method,
    /// [`Packed::form`].
    pub form: Form,
    /// [`Packed::granularity`].
    pub granularity: Granularity,
    /// [`Packed::out_features`].
    pub out_features: usize,
    /// [`Packed::in_features`].
    pub in_features: usize,
    /// [`Packed::codes`].
    pub codes: Cow<'a, [u32]>,
    /// [`Packed::scales`].
    pub scales: Vec<f32>,
}

impl PackedView<'_> {
    /// With its own codes and scales.
    pub fn into_packed(self) -> Packed {
        Packed {
            method: self.method,
            form: self.form,
            granularity: self.granularity,
            out_features: self.out_features,
            in_features: self.in_features,
            codes: self.codes.into_owned(),
            scales: self.scales,
            relative_error: None,
        }
    }

    /// Residual stages (1 for the real baselines).
    pub fn stages(&self) -> usize {
        match self.method {
            Method::Phase { stages } => stages,
            _ => 1,
        }
    }

    /// Scale blocks: one per complex row, or one.
    pub fn scale_blocks(&self) -> usize {
        match self.granularity {
            Granularity::Tensor => 1,
            _ => self.out_features.div_ceil(2),
        }
    }
}

impl From<Packed> for PackedView<'static> {
    fn from(packed: Packed) -> Self {
        Self {
            method: packed.method,
            form: packed.form,
            granularity: packed.granularity.of_rows(),
            out_features: packed.out_features,
            in_features: packed.in_features,
            codes: packed.codes.into(),
            scales: of_rows(packed.scales, packed.granularity, packed.out_features),
        }
    }
}

/// The scales of a layer, with a copy of a tile's scales for each of its rows.
pub(crate) fn of_rows(scales: Vec<f32>, granularity: Granularity, out_features: usize) -> Vec<f32> {
    let (n, rows) = (out_features.div_ceil(2), granularity.block_rows());
    if rows == 1 {
        return scales;
    }
    let block = scales.len() / n.div_ceil(rows).max(1);
    let row = |i: usize| &scales[i / rows * block..][..block];
    (0..n).flat_map(row).copied().collect()
}

impl Packed {
    /// Residual stages (1 for the real baselines).
    pub fn stages(&self) -> usize {
        match self.method {
            Method::Phase { stages } => stages,
            _ => 1,
        }
    }

    /// Shapes of `codes` and `scales`.
    pub fn shapes(
        method: Method,
        form: Form,
        granularity: Granularity,
        out_features: usize,
        in_features: usize,
    ) -> (Vec<usize>, Vec<usize>) {
        let (n, m) = (out_features.div_ceil(2), in_features.div_ceil(2));
        match method {
            Method::Phase { stages } => {
                let (blocks, groups) = match granularity {
                    Granularity::Tensor => (1, 1),
                    Granularity::Row => (n, 1),
                    Granularity::Group(g) => (n, m.div_ceil(g)),
                    Granularity::Tile { rows, columns } => (n.div_ceil(rows), m.div_ceil(columns)),
                };
                (
                    vec![n, form.matrices(), stages, words_for(m)],
                    vec![blocks, groups, form.matrices(), stages, 2],
                )
            }
            Method::Binary => (vec![out_features, in_features.div_ceil(32)], vec![1]),
            Method::Ternary => (vec![out_features, in_features.div_ceil(16)], vec![1]),
            // These are methods of no single layer.
            Method::Full | Method::Mixed(_) => (vec![0], vec![0]),
        }
    }

    /// The weight whose first stages are those of `first` and whose others are these: rows of the same size with the same
    /// granularity.
    #[must_use]
    pub fn behind(self, first: &Self) -> Self {
        let (a, b) = (first.stages(), self.stages());
        let words = words_for(self.in_features.div_ceil(2));
        Self {
            method: Method::Phase { stages: a + b },
            codes: interleaved((&first.codes, a * words), (&self.codes, b * words)),
            scales: interleaved((&first.scales, 2 * a), (&self.scales, 2 * b)),
            ..self
        }
    }

    /// Stored bits per real number of the dense weight, scales and padding included.
    pub fn bits_per_weight(&self) -> f64 {
        let bits = 32 * (self.codes.len() + self.scales.len());
        bits as f64 / (self.out_features * self.form.columns(self.in_features)) as f64
    }
}

/// The runs of both lists alternately.
fn interleaved<T: Copy>((a, run): (&[T], usize), (b, other): (&[T], usize)) -> Vec<T> {
    let runs = a.chunks(run).zip(b.chunks(other));
    runs.flat_map(|(a, b)| a.iter().chain(b)).copied().collect()
}

/// Quantizes a layer of `out_features` and `in_features` reals on `backend`. Its weight `r` (row-major f32) is
/// `[out_features, form.columns(in_features)]`.
///
/// `name` is for messages. Weights that are NaN or infinite are refused, or count as 0 if `allow_nonfinite`.
/// Large weights are processed in shards that fit the backend's bindings, with the same result. GPU and CPU
/// give the same bits.
#[allow(clippy::too_many_arguments)] // one weight and how it is to be quantized
pub async fn quantize<B: Backend>(
    backend: &B,
    name: &str,
    r: &[f32],
    form: Form,
    out_features: usize,
    in_features: usize,
    method: Method,
    granularity: Granularity,
    allow_nonfinite: bool,
) -> Result<Packed> {
    check(name, out_features, in_features, method, granularity)?;
    if let Granularity::Tile { .. } = granularity {
        return Err(Error::usage(
            format!("tensor `{name}`: means of a tile are no scales of the papers'"),
            "calibrate with a text, or choose scales per group",
        ));
    }
    let columns = form.columns(in_features);
    if r.len() != out_features * columns {
        let what = format!(
            "tensor `{name}`: {} values given for [{out_features}, {columns}]",
            r.len()
        );
        return Err(Error::usage(what, "give every element once"));
    }
    let (r, exponent) = shards::finite(name, r, allow_nonfinite)?;
    let shape = Shape {
        form,
        out_features,
        in_features,
        exponent,
    };
    let (codes, scales, [error, power]) = match method {
        Method::Phase { stages } => phase::pack(backend, &r, shape, stages, granularity).await?,
        _ => baseline::pack(backend, &r, shape, method == Method::Ternary).await?,
    };
    Ok(Packed {
        method,
        form,
        granularity,
        out_features,
        in_features,
        codes,
        scales,
        relative_error: (power > 0.0).then(|| (error / power).sqrt()),
    })
}

/// The dense `[out_features, form.columns(in_features)]` weight that `packed` stands for.
pub async fn dequantize<B: Backend>(backend: &B, packed: &Packed) -> Result<Vec<f32>> {
    let (out_features, in_features) = (packed.out_features, packed.in_features);
    check(
        "packed",
        out_features,
        in_features,
        packed.method,
        packed.granularity,
    )?;
    let (codes, scales) = Packed::shapes(
        packed.method,
        packed.form,
        packed.granularity,
        out_features,
        in_features,
    );
    for (what, have, shape) in [
        ("codes", packed.codes.len(), codes),
        ("scales", packed.scales.len(), scales),
    ] {
        if have != shape.iter().product::<usize>() {
            let what = format!("{what} of [{out_features}, {in_features}]: {have}, not {shape:?}");
            return Err(Error::usage(what, "the packed weight is damaged"));
        }
    }
    let mut r = vec![0.0; out_features * packed.form.columns(in_features)];
    let by_rows;
    let packed = match packed.granularity {
        Granularity::Tile { .. } => {
            by_rows = PackedView::from(packed.clone()).into_packed();
            &by_rows
        }
        _ => packed,
    };
    match packed.method {
        Method::Phase { stages } => phase::unpack(backend, packed, stages, &mut r).await?,
        _ => baseline::unpack(backend, packed, &mut r).await?,
    }
    Ok(r)
}

/// A weight to be quantized.
#[derive(Clone, Copy)]
struct Shape {
    form: Form,
    out_features: usize,
    in_features: usize,
    exponent: i32,
}

/// Codes, scales, and (squared error, squared magnitude) in the same unit.
type Quantized = (Vec<u32>, Vec<f32>, [f64; 2]);

/// Widest row: squares of two real rows are summed in 64 bits.
const MAX_COLUMNS: usize = 1 << 17;

pub(crate) fn check(
    name: &str,
    out_features: usize,
    in_features: usize,
    method: Method,
    granularity: Granularity,
) -> Result<()> {
    let refuse = |what: &str, hint: &str| {
        let what = format!("tensor `{name}` [{out_features}, {in_features}]: {what}");
        Err(Error::usage(what, hint))
    };
    if out_features == 0 || in_features == 0 {
        return refuse("nothing to quantize", "check the model's shapes");
    }
    if in_features > MAX_COLUMNS || out_features.saturating_mul(in_features) > u32::MAX as usize {
        return refuse(
            "too large to quantize",
            "at most 131072 inputs and 2^32 weights; leave it dense",
        );
    }
    match (method, granularity) {
        (Method::Full | Method::Mixed(_), _) => {
            refuse("no single method", "choose one for this layer")
        }
        (Method::Phase { stages }, _) if !(1..=MAX_STAGES).contains(&stages) => {
            refuse(&format!("{stages} stages"), "choose 1 to 4")
        }
        (_, Granularity::Group(g)) if g == 0 || g % 16 != 0 => refuse(
            &format!("groups of {g} complex columns"),
            "choose a positive multiple of 16",
        ),
        (_, Granularity::Tile { rows, columns })
            if rows == 0 || columns == 0 || columns % 16 != 0 =>
        {
            refuse(
                &format!("tiles of {rows} x {columns}"),
                "choose a positive multiple of 16 columns",
            )
        }
        (Method::Binary | Method::Ternary, grain) if grain != Granularity::Tensor => refuse(
            "binary and ternary weights have one scale per tensor",
            "use scales per tensor",
        ),
        _ => Ok(()),
    }
}

/// The exponent of the grid on which a weight of `len` values is quantized whose largest magnitude has these `bits`. Sums
/// hold 2^28 terms: more need a coarser grid.
pub(crate) fn exponent(bits: u32, len: usize) -> i32 {
    let terms = usize::BITS as i32 - len.saturating_sub(1).leading_zeros() as i32;
    fixed::exponent_of([f32::from_bits(bits)]) + (terms - 28).max(0)
}

/// Refuses layers of a model that `recipe` cannot quantize.
///
/// # Errors
/// [`Error::Usage`] naming the layer.
pub(crate) fn check_all(config: &Config, recipe: &Recipe) -> Result<()> {
    recipe.check_blocks(config)?;
    recipe.layers(config).iter().try_for_each(|l| {
        let method = recipe.method.of(&l.prefix);
        check(
            &l.prefix,
            l.out_features,
            l.in_features,
            method,
            recipe.granularity,
        )
    })
}

/// Sums of rows' (error, power), each a 64-bit integer.
fn add_errors(total: &mut [f64; 2], words: &[u32]) {
    for (i, w) in words.chunks_exact(2).enumerate() {
        total[i % 2] += (u64::from(w[0]) | u64::from(w[1]) << 32) as f64;
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_terms_need_a_coarser_grid() {
        assert_eq!(exponent(0.75f32.to_bits(), 1000), 0);
        assert_eq!(exponent(1f32.to_bits(), 1 << 28), 1);
        assert_eq!(exponent(1f32.to_bits(), (1 << 28) + 1), 2);
    }
}
