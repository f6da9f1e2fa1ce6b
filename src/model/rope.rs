//! Angles of the rotary embedding, as Hugging Face computes them.

use super::{Rope, RopeScaling};
use std::f64::consts::TAU;

/// Angle of pair `0..head_dim / 2` per position: `theta^(-2 j / head_dim)`, scaled.
pub fn frequencies(rope: &Rope, head_dim: usize) -> Vec<f64> {
    (0..head_dim / 2)
        .map(|j| {
            let plain = rope.theta.powf(-2.0 * j as f64 / head_dim as f64);
            scale(rope.scaling, plain)
        })
        .collect()
}

fn scale(scaling: RopeScaling, frequency: f64) -> f64 {
    match scaling {
        RopeScaling::None => frequency,
        RopeScaling::Linear { factor } => frequency / factor,
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_context,
        } => {
            let wavelength = TAU / frequency;
            if wavelength < original_context / high_freq_factor {
                frequency
            } else if wavelength > original_context / low_freq_factor {
                frequency / factor
            } else {
                let smooth = (original_context / wavelength - low_freq_factor)
                    / (high_freq_factor - low_freq_factor);
                (1.0 - smooth) * frequency / factor + smooth * frequency
            }
        }
    }
}

/// (cos, sin) of every position and pair, `[context, head_dim / 2, 2]`: the `table` of [`crate::ops::attention::Rope`].
pub fn table(rope: &Rope, head_dim: usize, context: usize) -> Vec<f32> {
    let frequencies = frequencies(rope, head_dim);
    let mut table = vec![0.0; context * 2 * frequencies.len()];
    write(&frequencies, 0, &mut table);
    table
}

/// The rows of [`table`] from position `first` on, as many as there is room for in `table`.
pub fn write(frequencies: &[f64], first: usize, table: &mut [f32]) {
    let rows = table.chunks_exact_mut((2 * frequencies.len()).max(1));
    for (position, row) in (first..).zip(rows) {
        for (pair, frequency) in row.chunks_exact_mut(2).zip(frequencies) {
            let (sin, cos) = (position as f64 * frequency).sin_cos();
            pair.copy_from_slice(&[cos as f32, sin as f32]);
        }
    }
}

/// [`table`] with the roundings of Hugging Face transformers, whose frequencies and angles are f32: what checkpoints were
/// trained with. At a position of 50 an angle is off by 1e-6, which is enough to turn a code over within a few steps.
pub fn trained_table(rope: &Rope, head_dim: usize, context: usize) -> Vec<f32> {
    let frequencies: Vec<f32> = (0..head_dim / 2)
        .map(|j| {
            let exponent = (2 * j) as f32 / head_dim as f32;
            let plain = 1.0 / rope.theta.powf(f64::from(exponent)) as f32;
            scale(rope.scaling, f64::from(plain)) as f32
        })
        .collect();
    let mut table = Vec::with_capacity(context * head_dim);
    for position in 0..context {
        for frequency in &frequencies {
            let (sin, cos) = f64::from(position as f32 * frequency).sin_cos();
            table.extend([cos as f32, sin as f32]);
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
        close(&frequencies(&rope, 8), &[1.0, 0.1, 0.01, 0.001]);
        let linear = Rope {
            scaling: RopeScaling::Linear { factor: 4.0 },
            ..rope
        };
        close(&frequencies(&linear, 8), &[0.25, 0.025, 0.0025, 0.00025]);
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
        let scaled = frequencies(&rope, 128);
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
