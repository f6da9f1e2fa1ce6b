//! Where training stands, and how the loss scale follows overflows.

use crate::files::run::LossScale;

/// Where training stands, beside the tensors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Updates made so far: AdamW's step count. Skipped steps do not count.
    pub updates: u64,
    /// How the loss is scaled; it adapts where products are in half precision.
    pub loss_scale: LossScale,
}

/// Loss scale at the beginning, where it adapts: 2^15.
const FIRST_EXPONENT: i32 = 15;
/// Good steps after which it is doubled.
const PATIENCE: u32 = 500;
/// Its bounds: a gradient of 2^-24 still counts, and none overflows f32.
pub(super) const EXPONENTS: std::ops::RangeInclusive<i32> = 0..=24;

impl Progress {
    pub(super) fn new(adapts: bool) -> Self {
        Self {
            updates: 0,
            loss_scale: LossScale {
                exponent: if adapts { FIRST_EXPONENT } else { 0 },
                since_change: 0,
                adapts,
            },
        }
    }

    /// What the loss is multiplied by.
    pub fn scale(&self) -> f64 {
        f64::from(self.loss_scale.exponent).exp2()
    }

    /// After a step: halves the scale if it overflowed, doubles it after many that did not.
    pub(super) fn note(&mut self, skipped: bool) {
        if !skipped {
            self.updates += 1;
        }
        let scale = &mut self.loss_scale;
        if !scale.adapts {
            return;
        }
        scale.since_change += 1;
        let change = match skipped {
            true => -1,
            false if scale.since_change >= PATIENCE => 1,
            false => return,
        };
        scale.since_change = 0;
        let exponent = scale.exponent + change;
        scale.exponent = exponent.clamp(*EXPONENTS.start(), *EXPONENTS.end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_follows_overflows() {
        let mut progress = Progress::new(true);
        progress.note(true);
        assert_eq!((progress.scale(), progress.updates), (16384.0, 0));
        for _ in 0..PATIENCE {
            progress.note(false);
        }
        assert_eq!((progress.scale(), progress.updates), (32768.0, 500));
        for _ in 0..100 {
            progress.note(true);
        }
        assert_eq!(progress.scale(), 1.0);
        let mut fixed = Progress::new(false);
        fixed.note(true);
        assert_eq!(fixed.scale(), 1.0);
    }
}
