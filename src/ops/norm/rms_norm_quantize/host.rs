//! Norm and rounding on the host, in loops that the compiler turns into vector instructions.

use super::RmsNormQuantize;
use crate::fixed;
use crate::ops::cpu;
use crate::ops::quantize::round_rows;
use fearless_simd::{Level, dispatch};

/// Values taken at a time.
const BLOCK: usize = 16;

/// [`RmsNormQuantize`] of tokens `x`: the same bits as its reference. `q` and `factors` are its outputs.
pub(super) fn run(
    op: &RmsNormQuantize,
    x: &[f32],
    weight: &[f32],
    q: &mut [u32],
    factors: &mut [f32],
) {
    let (columns, scales) = (op.columns, op.form.token_scales());
    let x = &x[..op.tokens * columns];
    let mut weighted = vec![0.0; x.len()];
    let mut inverses = vec![0.0; op.tokens];
    let (eps_n, root_n) = fixed::norm_constants(op.rms.count(columns), op.rms.eps);
    let rows = x
        .chunks_exact(columns)
        .zip(weighted.chunks_exact_mut(columns));
    let rows: Vec<_> = rows.zip(&mut inverses).collect();
    // a value takes half a nanosecond
    cpu::each_worth(rows, columns / 2, |((x, weighted), inverse)| {
        dispatch!(Level::new(), _ => product(x, weight, weighted));
        let top = dispatch!(Level::new(), _ => top(x));
        let squares = |twice| match top < f32::INFINITY.to_bits() {
            true => dispatch!(Level::new(), _ => squares(x, twice)),
            false => x.iter().map(|&x| fixed::rms_square(x, twice)).sum(),
        };
        *inverse = fixed::inverse_rms_of(top, squares, (eps_n, root_n));
    });
    let how = (op.form, op.mode);
    round_rows(&weighted, (columns, fixed::FAINT), how, q, factors);
    for (factors, inverse) in factors.chunks_exact_mut(scales).zip(&inverses) {
        factors.iter_mut().for_each(|factor| *factor *= inverse);
    }
}

/// `y = x * weight`.
#[inline(always)]
fn product(x: &[f32], weight: &[f32], y: &mut [f32]) {
    for ((y, x), w) in y.iter_mut().zip(x).zip(weight) {
        *y = x * w;
    }
}

/// The bits of the largest magnitude.
#[inline(always)]
fn top(x: &[f32]) -> u32 {
    let mut lanes = [0; BLOCK];
    let (blocks, rest) = x.as_chunks::<BLOCK>();
    for block in blocks {
        for i in 0..BLOCK {
            lanes[i] = lanes[i].max(block[i].to_bits() & 0x7fff_ffff);
        }
    }
    for x in rest {
        lanes[0] = lanes[0].max(x.to_bits() & 0x7fff_ffff);
    }
    lanes.into_iter().fold(0, u32::max)
}

/// The sum of all [`fixed::rms_square`] of finite values, whose magnitudes times `twice` are below 2^23.
#[inline(always)]
fn squares(x: &[f32], twice: f32) -> u64 {
    let square = |x: f32| {
        let whole = (f32::from_bits(x.to_bits() & 0x7fff_ffff) * twice) as i32 as u32;
        let magnitude = u64::from(whole.div_ceil(2));
        magnitude * magnitude
    };
    let mut lanes = [0u64; BLOCK];
    let (blocks, rest) = x.as_chunks::<BLOCK>();
    for block in blocks {
        for i in 0..BLOCK {
            lanes[i] += square(block[i]);
        }
    }
    rest.iter().map(|&x| square(x)).sum::<u64>() + lanes.iter().sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::norm::Rms;
    use crate::ops::quantize::{Activations, Form};
    use crate::ops::{Bindings, Op, noise};

    /// The reference's bits, for values that are no numbers too.
    #[test]
    fn values_that_are_no_numbers_have_the_bits_of_the_reference() {
        let columns = 72;
        let weight = noise(2, columns, 1.0);
        for special in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, 1e-40] {
            for (form, mode) in [
                (Form::WidelyLinear, Activations::Int8),
                (Form::Conjugate, Activations::Int16),
            ] {
                let op = RmsNormQuantize {
                    tokens: 2,
                    columns,
                    rms: Rms::real(1e-5),
                    form,
                    mode,
                };
                let mut x = noise(1, 2 * columns, 3.0);
                x[50] = special;
                let run = |host: bool| {
                    let lengths = op.lengths();
                    let (mut q, mut factors) = (vec![7; lengths[2]], vec![7; lengths[3]]);
                    let mut b = Bindings::new();
                    b.push_read(bytemuck::cast_slice(&x));
                    b.push_read(bytemuck::cast_slice(&weight));
                    b.push_write(&mut q);
                    b.push_write(&mut factors);
                    match host {
                        true => op.host(&mut b),
                        false => op.reference(&mut b),
                    }
                    (q, factors)
                };
                assert!(run(true) == run(false), "{special} {mode}");
            }
        }
    }
}
