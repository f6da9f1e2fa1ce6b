//! Turning one dense linear layer into codes and scales, on any backend.

use super::Config;
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::fixed;
use crate::ops::quantize::MAX_STAGES;

pub use crate::ops::quantize::{Form, Granularity};
pub(crate) use fitting::Fitting;
pub use mixed::Mixed;
pub(crate) use packed::of_rows;
pub use packed::{Packed, PackedView};
pub(crate) use phase::encode;
pub use recipe::{Method, Recipe};

mod baseline;
mod fitting;
mod mixed;
mod packed;
mod phase;
mod recipe;
mod shards;

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
    check(name, form, out_features, in_features, method, granularity)?;
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
        packed.form,
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
    form: Form,
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
    let even = out_features.is_multiple_of(2) && in_features.is_multiple_of(2);
    if form == Form::Conjugate && !even {
        return refuse("half of a complex number", "check the model's shapes");
    }
    match (method, granularity) {
        (Method::Binary | Method::Ternary, _) if form == Form::Conjugate => refuse(
            "binary and ternary are for real layers",
            "choose the method fairy2i",
        ),
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
            l.form,
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
