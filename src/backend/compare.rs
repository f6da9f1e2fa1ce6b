//! Comparing a device's words with the reference's, as the op's [`Agree`] says.

use crate::ops::{Agree, Elem};

/// The result of comparing a buffer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    /// Within the bound; the distance in units in the last place or as NMSE, 0 for bits.
    Agrees(f64),
    /// Beyond it, first or worst at this element.
    Differs {
        /// Flat index of the element.
        element: usize,
        /// The distance of the buffers: units in the last place, or NMSE; 1 where bits must be equal.
        by: f64,
    },
}

/// Compares `device` with `reference`, element by element; equal bits always agree.
pub fn compare(agree: Agree, elem: Elem, device: &[u32], reference: &[u32]) -> Verdict {
    let exact = elem == Elem::U32 || agree == Agree::Bits;
    if exact {
        let found = device.iter().zip(reference).position(|(a, b)| a != b);
        return match found {
            Some(element) => Verdict::Differs { element, by: 1.0 },
            None => Verdict::Agrees(0.0),
        };
    }
    let pairs: Vec<(u32, u32)> = match elem {
        Elem::F16x2 => halves(device).zip(halves(reference)).collect(),
        _ => device
            .iter()
            .copied()
            .zip(reference.iter().copied())
            .collect(),
    };
    match agree {
        Agree::Ulp(most) => worst_ulp(&pairs, elem, f64::from(most)),
        Agree::Nmse(most) => nmse(&pairs, elem, most),
        Agree::Bits => unreachable!("handled above"),
    }
}

fn halves(words: &[u32]) -> impl Iterator<Item = u32> {
    words.iter().flat_map(|w| [w & 0xffff, w >> 16])
}

fn value(bits: u32, elem: Elem) -> f64 {
    match elem {
        Elem::F16x2 => half::f16::from_bits(bits as u16).to_f64(),
        _ => f64::from(f32::from_bits(bits)),
    }
}

/// Position of a float on the line of all floats, so that neighbours differ by one.
fn rank(bits: u32, elem: Elem) -> i64 {
    let (sign, magnitude) = match elem {
        Elem::F16x2 => (bits >> 15, bits & 0x7fff),
        _ => (bits >> 31, bits & 0x7fff_ffff),
    };
    if sign == 0 {
        i64::from(magnitude)
    } else {
        -i64::from(magnitude)
    }
}

fn worst_ulp(pairs: &[(u32, u32)], elem: Elem, most: f64) -> Verdict {
    let (mut worst, mut at) = (0.0f64, 0);
    for (i, &(a, b)) in pairs.iter().enumerate() {
        if a == b {
            continue;
        }
        let comparable = value(a, elem).is_finite() && value(b, elem).is_finite();
        let by = if comparable {
            rank(a, elem).abs_diff(rank(b, elem)) as f64
        } else {
            f64::INFINITY
        };
        if by > worst {
            (worst, at) = (by, i);
        }
    }
    if worst > most {
        Verdict::Differs {
            element: at,
            by: worst,
        }
    } else {
        Verdict::Agrees(worst)
    }
}

fn nmse(pairs: &[(u32, u32)], elem: Elem, most: f64) -> Verdict {
    let (mut error, mut power) = (0.0f64, 0.0f64);
    let (mut worst, mut at) = (0.0f64, 0);
    for (i, &(a, b)) in pairs.iter().enumerate() {
        if a == b && !value(b, elem).is_finite() {
            continue; // the same poison or infinity on both sides
        }
        let (a, b) = (value(a, elem), value(b, elem));
        let square = (a - b) * (a - b);
        if square > worst || !square.is_finite() {
            (worst, at) = (square, i);
        }
        error += square;
        power += b * b;
    }
    let by = if error == 0.0 { 0.0 } else { error / power };
    if by <= most {
        Verdict::Agrees(by)
    } else {
        Verdict::Differs { element: at, by }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|v| v.to_bits()).collect()
    }

    #[test]
    fn neighbours_are_one_ulp_apart_across_zero_too() {
        let a = bits(&[1.0, f32::from_bits(1), 3.0]);
        let b = bits(&[f32::from_bits(1f32.to_bits() + 1), -0.0, 3.0]);
        assert_eq!(
            compare(Agree::Ulp(1), Elem::F32, &a, &b),
            Verdict::Agrees(1.0)
        );
        assert_eq!(
            compare(Agree::Ulp(0), Elem::F32, &a, &b),
            Verdict::Differs {
                element: 0,
                by: 1.0
            }
        );
    }

    #[test]
    fn a_nan_never_agrees_with_a_number() {
        let (a, b) = (bits(&[f32::NAN]), bits(&[1.0]));
        for agree in [Agree::Bits, Agree::Ulp(u32::MAX), Agree::Nmse(1e30)] {
            assert!(matches!(
                compare(agree, Elem::F32, &a, &b),
                Verdict::Differs { element: 0, .. }
            ));
        }
    }

    #[test]
    fn the_error_is_relative_to_the_power() {
        let (a, b) = (bits(&[1.0, 2.0]), bits(&[1.0, 1.0]));
        assert_eq!(
            compare(Agree::Nmse(0.5), Elem::F32, &a, &b),
            Verdict::Agrees(0.5)
        );
        assert!(matches!(
            compare(Agree::Nmse(0.4), Elem::F32, &a, &b),
            Verdict::Differs { element: 1, .. }
        ));
    }
}
