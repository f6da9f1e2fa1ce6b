//! Whether weights are numbers: one NaN spoils every text, and devices do not agree on what they make of it.

use super::{Dtype, Tensor};
use crate::error::{Error, Result};

/// Bytes that one thread looks at; a multiple of every element's size.
const PIECE: usize = 1 << 18;

/// Refuses NaN and infinity in the dense tensor `name`, unless `allow` accepts them.
///
/// # Errors
/// [`Error::NonFinite`] with the first element that is neither finite nor allowed.
pub fn check(name: &str, tensor: &Tensor<'_>, allow: bool) -> Result<()> {
    let any = |shard: &[u8]| any(tensor.dtype, shard);
    if allow || !in_pieces(&tensor.bytes, PIECE, any) {
        return Ok(());
    }
    // The search is slow, but it runs only once, to name the element.
    let elements = tensor.elements();
    for start in (0..elements).step_by(PIECE) {
        let values = tensor.to_f32(start..elements.min(start + PIECE));
        refuse(name, start, &values)?;
    }
    Ok(())
}

/// The dense tensor `name` with numbers alone: NaN and infinity are refused, or become 0 if `allow` accepts them, so
/// that all devices go on with the same weights.
///
/// # Errors
/// As [`check`].
pub fn numbers<'a>(name: &str, mut tensor: Tensor<'a>, allow: bool) -> Result<Tensor<'a>> {
    match check(name, &tensor, false) {
        Err(_) if allow => {
            for start in 0..tensor.elements() {
                if !tensor.to_f32(start..start + 1)[0].is_finite() {
                    let size = tensor.dtype.bytes();
                    tensor.bytes.to_mut()[start * size..][..size].fill(0);
                }
            }
            Ok(tensor)
        }
        checked => checked.map(|()| tensor),
    }
}

/// [`check`] for values that begin at element `start` of `name`.
///
/// # Errors
/// As [`check`].
pub fn check_values(name: &str, start: usize, values: &[f32], allow: bool) -> Result<()> {
    let any = |shard: &[f32]| any_word(shard.iter().map(|value| value.to_bits()));
    if allow || !in_pieces(values, PIECE / 4, any) {
        return Ok(());
    }
    refuse(name, start, values)
}

fn refuse(name: &str, start: usize, values: &[f32]) -> Result<()> {
    match values.iter().position(|v| !v.is_finite()) {
        Some(i) => Err(Error::NonFinite {
            tensor: name.to_owned(),
            index: start + i,
            value: values[i],
        }),
        None => Ok(()),
    }
}

/// Whether `any` finds something in a shard of `all`, on as many threads as there are: memory sets the pace.
fn in_pieces<T: Sync>(all: &[T], size: usize, any: impl Fn(&[T]) -> bool + Send + Sync) -> bool {
    #[cfg(feature = "threads")]
    {
        use rayon::prelude::*;
        all.par_chunks(size).any(any)
    }
    #[cfg(not(feature = "threads"))]
    all.chunks(size).any(any)
}

/// Whether one of the elements in `bytes` is NaN or infinite.
fn any(dtype: Dtype, bytes: &[u8]) -> bool {
    let halves = |bytes: &[u8], exponent| {
        let (pairs, _) = bytes.as_chunks();
        any_half(pairs.iter().map(|&b| u16::from_le_bytes(b)), exponent)
    };
    match dtype {
        Dtype::F16 => halves(bytes, 1 << 10),
        Dtype::BF16 => halves(bytes, 1 << 7),
        Dtype::F32 => {
            let (quads, _) = bytes.as_chunks();
            any_word(quads.iter().map(|&b| u32::from_le_bytes(b)))
        }
        Dtype::U32 => false, // codes
    }
}

/// Whether one of these floats is NaN or infinite: has an exponent of ones. Adding 1 to it carries into the place of
/// the sign then. There is no branch in the loop, so that it becomes vector instructions.
fn any_word(bits: impl Iterator<Item = u32>) -> bool {
    let carries = bits.fold(0, |sum, x| sum | ((x & 0x7fff_ffff) + (1 << 23)));
    carries >> 31 != 0
}

/// [`any_word`] of 16 bits, the lowest bit of whose exponent is `exponent`.
fn any_half(bits: impl Iterator<Item = u16>, exponent: u16) -> bool {
    let carries = bits.fold(0, |sum, x| sum | ((x & 0x7fff) + exponent));
    carries >> 15 != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;

    fn tensor(dtype: Dtype, bytes: Vec<u8>) -> Tensor<'static> {
        Tensor {
            dtype,
            shape: vec![bytes.len() / dtype.bytes()],
            bytes: Cow::Owned(bytes),
        }
    }

    /// Every half and every bfloat, alone at the end of a tensor.
    #[test]
    fn every_half_is_judged_as_its_value_is() {
        for dtype in [Dtype::F16, Dtype::BF16] {
            for bits in 0..=u16::MAX {
                let tensor = tensor(
                    dtype,
                    [0u16, bits].iter().flat_map(|b| b.to_le_bytes()).collect(),
                );
                let finite = tensor.to_f32(0..2)[1].is_finite();
                assert_eq!(
                    check("t", &tensor, false).is_ok(),
                    finite,
                    "{dtype:?} {bits:x}"
                );
                assert!(check("t", &tensor, true).is_ok());
                let expected = match finite {
                    true => tensor.bytes.to_vec(),
                    false => vec![0; 4],
                };
                let made = numbers("t", tensor, true).expect("allowed");
                assert_eq!(*made.bytes, *expected);
            }
        }
    }

    #[test]
    fn floats_of_every_kind_are_judged_and_the_first_bad_one_is_named() {
        for bad in [
            f32::NAN,
            -f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::from_bits(0x7f80_0001),
        ] {
            for (length, index) in [
                (1, 0),
                (9, 8),
                (3 * PIECE / 4 + 5, 0),
                (3 * PIECE / 4 + 5, PIECE / 2 + 1),
            ] {
                let mut values = vec![-f32::MAX; length];
                values[index..].fill(bad);
                let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                let errors = [
                    (check("t", &tensor(Dtype::F32, bytes), false), index),
                    (check_values("t", 100, &values, false), 100 + index),
                ];
                for (error, at) in errors {
                    let text = error.expect_err("refused").to_string();
                    assert!(text.contains(&format!("`t`: element {at} is ")), "{text}");
                }
            }
        }
        let fine = [f32::MAX, f32::MIN, 0.0, -0.0, f32::MIN_POSITIVE, 1e-45];
        assert!(check_values("t", 0, &fine, false).is_ok());
        assert!(check_values("t", 0, &[], false).is_ok());
    }
}
