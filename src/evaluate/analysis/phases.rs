//! Angles of complex weights: where on the circle they lie, and how close to the codebook's axes.

use super::parallel::map_rows;
use super::planes::{Complex, Planes};
use serde::Serialize;
use std::f32::consts::{PI, TAU};

/// Bins of a histogram of angles.
pub(super) const BINS: usize = 256;

/// Angles of the weights of U or W.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Phases {
    /// Weights by angle: bin k of 256 holds angles from -pi + k tau/256 up to the next one's.
    pub histogram: Vec<u64>,
    /// Weights that are zero and have no angle.
    pub zeros: u64,
    /// Within pi/16 of an axis; 0.25 if angles are uniform.
    pub near_16th: Share,
    /// Within pi/8 of an axis; 0.5 if angles are uniform.
    pub near_8th: Share,
    /// Frobenius norm of the plane.
    pub norm: f64,
}

/// A share of the weights that have an angle, between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Share {
    /// Each weight counted once.
    pub by_count: f64,
    /// Each weight counted by its magnitude.
    pub by_magnitude: f64,
}

/// What is counted of a plane.
#[derive(Clone)]
struct Counts {
    histogram: [u64; BINS],
    zeros: u64,
    magnitude: f64,
    power: f64,
    /// (weights, sum of their magnitudes) within pi/16 and within pi/8 of an axis.
    near: [(u64, f64); 2],
}

/// Tangents of pi/16 and pi/8.
const TANGENTS: [f32; 2] = [0.198_912_37, 0.414_213_57];

impl Counts {
    const NOTHING: Self = Self {
        histogram: [0; BINS],
        zeros: 0,
        magnitude: 0.0,
        power: 0.0,
        near: [(0, 0.0); 2],
    };

    fn add(&mut self, [re, im]: Complex) {
        if re == 0.0 && im == 0.0 {
            self.zeros += 1;
            return;
        }
        self.histogram[bin(re, im)] += 1;
        let power = f64::from(re) * f64::from(re) + f64::from(im) * f64::from(im);
        let magnitude = power.sqrt();
        self.power += power;
        self.magnitude += magnitude;
        let (low, high) = (re.abs().min(im.abs()), re.abs().max(im.abs()));
        for (near, tangent) in self.near.iter_mut().zip(TANGENTS) {
            if low <= tangent * high {
                near.0 += 1;
                near.1 += magnitude;
            }
        }
    }

    fn merge(&mut self, other: &Self) {
        for (sum, count) in self.histogram.iter_mut().zip(&other.histogram) {
            *sum += count;
        }
        self.zeros += other.zeros;
        self.magnitude += other.magnitude;
        self.power += other.power;
        for (sum, near) in self.near.iter_mut().zip(other.near) {
            *sum = (sum.0 + near.0, sum.1 + near.1);
        }
    }

    fn phases(self) -> Phases {
        let with_angle = self.histogram.iter().sum::<u64>() as f64;
        let share = |(count, magnitude): (u64, f64)| Share {
            by_count: count as f64 / with_angle.max(1.0),
            by_magnitude: match self.magnitude > 0.0 {
                true => magnitude / self.magnitude,
                false => 0.0,
            },
        };
        Phases {
            histogram: self.histogram.to_vec(),
            zeros: self.zeros,
            near_16th: share(self.near[0]),
            near_8th: share(self.near[1]),
            norm: self.power.sqrt(),
        }
    }
}

/// The bin of an angle.
fn bin(re: f32, im: f32) -> usize {
    let turned = (im.atan2(re) + PI) / TAU; // from 0 to 1, both included
    ((turned * BINS as f32) as usize).min(BINS - 1)
}

/// The angles of U and of W.
pub(super) fn phases(planes: &Planes) -> [Phases; 2] {
    let chunks = map_rows(planes.rows(), 2 * planes.columns(), |rows| {
        let mut counts = [Counts::NOTHING; 2];
        for row in rows {
            for (counts, values) in counts.iter_mut().zip(planes.row(row)) {
                values.iter().for_each(|&z| counts.add(z));
            }
        }
        counts
    });
    let mut all = [Counts::NOTHING; 2];
    for chunk in &chunks {
        for (sum, counts) in all.iter_mut().zip(chunk) {
            sum.merge(counts);
        }
    }
    all.map(Counts::phases)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::noise;

    #[test]
    fn every_weight_is_counted_once() {
        for (out, inputs) in [(13, 77), (24, 64), (1, 1)] {
            let mut r = noise(7, out * inputs, 1.0);
            r[0] = 0.0;
            let planes = Planes::new(&r, out, inputs);
            for phases in phases(&planes) {
                let counted = phases.histogram.iter().sum::<u64>() + phases.zeros;
                assert_eq!(counted as usize, planes.rows() * planes.columns());
                assert!(phases.near_16th.by_count <= phases.near_8th.by_count);
            }
        }
    }

    #[test]
    fn bins_go_around_from_minus_pi() {
        assert_eq!(bin(-1.0, -0.0), 0);
        assert_eq!(bin(-1.0, -0.001), 0);
        assert_eq!(bin(0.0, -1.0), BINS / 4);
        assert_eq!(bin(1.0, 0.0), BINS / 2);
        assert_eq!(bin(0.0, 1.0), 3 * BINS / 4);
        assert_eq!(bin(-1.0, 0.0), BINS - 1); // pi itself
    }

    #[test]
    fn shares_near_the_axes_are_those_of_the_angles() {
        let mut counts = Counts::NOTHING;
        let n = 6400;
        for i in 0..n {
            let angle = (i as f32 + 0.5) / n as f32 * TAU;
            counts.add([2.0 * angle.cos(), 2.0 * angle.sin()]);
        }
        let phases = counts.phases();
        for (share, uniform) in [(phases.near_16th, 0.25), (phases.near_8th, 0.5)] {
            assert!((share.by_count - uniform).abs() < 1e-3, "{share:?}");
            assert!((share.by_magnitude - uniform).abs() < 1e-3, "{share:?}");
        }
        assert!(phases.histogram.iter().all(|&c| c == n / BINS as u64));
        // what lies on the axes is all near them
        let mut counts = Counts::NOTHING;
        for z in [[1.0, 0.0], [0.0, -3.0]] {
            counts.add(z);
        }
        assert_eq!(counts.phases().near_16th.by_count, 1.0);
    }
}
