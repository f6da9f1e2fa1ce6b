//! Angles of the rotary embedding, as Hugging Face computes them.

use super::config::{LongRope, Yarn};
use super::{Rope, RopeScaling};
use std::f64::consts::TAU;

/// Angles of a rotary embedding.
#[derive(Debug, Clone, PartialEq)]
pub struct Angles {
    /// Angle of each pair per position.
    pub frequencies: Vec<f64>,
    /// What cosines and sines are multiplied by.
    pub factor: f64,
}

/// Angles of the `width / 2` pairs of a head in a sequence of `length` tokens: `theta^(-2 j / width)`, scaled.
pub fn angles(rope: &Rope, width: usize, length: usize) -> Angles {
    let theta = theta(rope, width, length);
    let plain = |j: usize| theta.powf(-2.0 * j as f64 / width as f64);
    Angles {
        frequencies: (0..width / 2)
            .map(|j| scaled(rope, width, length, (j, plain(j))))
            .collect(),
        factor: factor(&rope.scaling),
    }
}

/// Whether its angles depend on how long a sequence is.
pub fn depends_on_length(rope: &Rope) -> bool {
    matches!(
        rope.scaling,
        RopeScaling::Dynamic { .. } | RopeScaling::LongRope(_)
    )
}

/// The longest sequence whose angles are those of the shortest.
pub fn original_context(rope: &Rope) -> usize {
    match &rope.scaling {
        RopeScaling::Dynamic {
            original_context, ..
        } => *original_context as usize,
        RopeScaling::LongRope(long) => long.original_context,
        _ => usize::MAX,
    }
}

/// The base for a sequence of this length.
fn theta(rope: &Rope, width: usize, length: usize) -> f64 {
    match rope.scaling {
        RopeScaling::Dynamic {
            factor,
            original_context,
        } if length as f64 > original_context && width > 2 => {
            let growth = factor * length as f64 / original_context - (factor - 1.0);
            rope.theta * growth.powf(width as f64 / (width as f64 - 2.0))
        }
        _ => rope.theta,
    }
}

/// What cosines and sines are multiplied by.
fn factor(scaling: &RopeScaling) -> f64 {
    match scaling {
        RopeScaling::Yarn(yarn) => yarn.attention_factor,
        RopeScaling::LongRope(long) => long.attention_factor,
        _ => 1.0,
    }
}

/// The frequency of pair `j` of `width / 2`, which is `plain` without scaling.
fn scaled(rope: &Rope, width: usize, length: usize, (j, plain): (usize, f64)) -> f64 {
    match &rope.scaling {
        RopeScaling::None | RopeScaling::Dynamic { .. } => plain,
        RopeScaling::Linear { factor } => plain / factor,
        RopeScaling::Yarn(yarn) => {
            let stretched = stretched(yarn, rope.theta, width, j);
            stretched * plain / yarn.factor + (1.0 - stretched) * plain
        }
        RopeScaling::LongRope(long) => plain / long.factors(length).get(j).unwrap_or(&1.0),
        &RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_context,
        } => {
            let wavelength = TAU / plain;
            if wavelength < original_context / high_freq_factor {
                plain
            } else if wavelength > original_context / low_freq_factor {
                plain / factor
            } else {
                let smooth = (original_context / wavelength - low_freq_factor)
                    / (high_freq_factor - low_freq_factor);
                (1.0 - smooth) * plain / factor + smooth * plain
            }
        }
    }
}

/// How far pair `j` is stretched: 0 not at all, 1 wholly, on a ramp between the pairs that turn `beta_fast` and `beta_slow`
/// times in the original context.
fn stretched(yarn: &Yarn, theta: f64, width: usize, j: usize) -> f64 {
    let pair = |turns: f64| {
        width as f64 * (yarn.original_context / (turns * TAU)).ln() / (2.0 * theta.ln())
    };
    let (mut low, mut high) = (pair(yarn.beta_fast), pair(yarn.beta_slow));
    if yarn.truncate {
        (low, high) = (low.floor(), high.ceil());
    }
    (low, high) = (low.max(0.0), high.min(width as f64 - 1.0));
    if low == high {
        high += 0.001;
    }
    ((j as f64 - low) / (high - low)).clamp(0.0, 1.0)
}

impl LongRope {
    /// The factors for sequences of this length.
    fn factors(&self, length: usize) -> &[f64] {
        match length > self.original_context {
            true => &self.long_factor,
            false => &self.short_factor,
        }
    }
}

/// (cos, sin) of every position and pair in a sequence of `context` tokens, `[context, width / 2, 2]`: the `table` of
/// [`crate::ops::attention::Rope`].
pub fn table(rope: &Rope, width: usize, context: usize) -> Vec<f32> {
    let angles = angles(rope, width, context);
    let mut table = vec![0.0; context * 2 * angles.frequencies.len()];
    write(&angles, 0, &mut table);
    table
}

/// The rows of [`table`] from position `first` on, as many as there is room for in `table`.
pub fn write(angles: &Angles, first: usize, table: &mut [f32]) {
    let frequencies = &angles.frequencies;
    let rows = table.chunks_exact_mut((2 * frequencies.len()).max(1));
    for (position, row) in (first..).zip(rows) {
        for (pair, frequency) in row.chunks_exact_mut(2).zip(frequencies) {
            let (sin, cos) = (position as f64 * frequency).sin_cos();
            pair.copy_from_slice(&[cos, sin].map(|value| (value * angles.factor) as f32));
        }
    }
}

/// [`table`] with the roundings of Hugging Face transformers, whose frequencies and angles are f32: what checkpoints were
/// trained with. At a position of 50 an angle is off by 1e-6, which is enough to turn a code over within a few steps.
pub fn trained_table(rope: &Rope, width: usize, context: usize) -> Vec<f32> {
    let theta = theta(rope, width, context);
    let factor = factor(&rope.scaling);
    let frequencies: Vec<f32> = (0..width / 2)
        .map(|j| {
            let exponent = (2 * j) as f32 / width as f32;
            let plain = 1.0 / theta.powf(f64::from(exponent)) as f32;
            scaled(rope, width, context, (j, f64::from(plain))) as f32
        })
        .collect();
    let mut table = Vec::with_capacity(context * width);
    for position in 0..context {
        for frequency in &frequencies {
            let (sin, cos) = f64::from(position as f32 * frequency).sin_cos();
            table.extend([cos, sin].map(|value| (value * factor) as f32));
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: &[f64], b: &[f64]) {
        assert_eq!(a.len(), b.len());
        for (a, b) in a.iter().zip(b) {
            assert!((a - b).abs() <= 1e-6 * b.abs(), "{a} is not {b}");
        }
    }

    #[test]
    fn plain_frequencies_fall_geometrically() {
        let rope = Rope {
            theta: 10000.0,
            scaling: RopeScaling::None,
        };
        close(&angles(&rope, 8, 1).frequencies, &[1.0, 0.1, 0.01, 0.001]);
        let linear = Rope {
            scaling: RopeScaling::Linear { factor: 4.0 },
            ..rope.clone()
        };
        close(
            &angles(&linear, 8, 1).frequencies,
            &[0.25, 0.025, 0.0025, 0.00025],
        );
    }

    #[test]
    fn llama3_keeps_short_waves_and_stretches_long_ones() {
        // LLaMA 3.1 8B: head_dim 128, theta 500000, factor 8, 1 and 4 over 8192
        let rope = Rope {
            theta: 500000.0,
            scaling: RopeScaling::Llama3 {
                factor: 8.0,
                low_freq_factor: 1.0,
                high_freq_factor: 4.0,
                original_context: 8192.0,
            },
        };
        let scaled = angles(&rope, 128, 1).frequencies;
        let plain = |j: usize| 500000f64.powf(-(j as f64) / 64.0);
        // wavelengths reach 8192 / 4 after pair 28 and 8192 after pair 34
        close(&scaled[..29], &(0..29).map(plain).collect::<Vec<_>>());
        close(
            &scaled[35..],
            &(35..64).map(|j| plain(j) / 8.0).collect::<Vec<_>>(),
        );
        for j in 29..35 {
            // 8192 / wavelength runs from 4 to 1, and the factor with it from 1 to 1 / 8
            let smooth = (8192.0 * plain(j) / TAU - 1.0) / 3.0;
            close(
                &scaled[j..=j],
                &[plain(j) * (smooth + (1.0 - smooth) / 8.0)],
            );
            assert!(scaled[j] < plain(j) && scaled[j] > plain(j) / 8.0);
        }
    }

    #[test]
    fn a_table_starts_with_no_turn() {
        let rope = Rope {
            theta: 10000.0,
            scaling: RopeScaling::None,
        };
        let table = table(&rope, 4, 3);
        assert_eq!(table[..4], [1.0, 0.0, 1.0, 0.0]);
        assert_eq!(table[4..6], [1f32.cos(), 1f32.sin()]);
        assert_eq!(table.len(), 12);
    }
}
