//! Where training stands, and how the loss scale follows overflows.

use crate::files::run::LossScale;

/// Where training stands, beside the tensors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Updates made so far: AdamW's step count. Skipped steps do not count.
    pub updates: u64,
    /// Base-2 logarithm of the loss scale.
    pub scale_exponent: i32,
    /// Steps since the loss scale was changed.
    pub since_change: u32,
    /// Whether the scale adapts: products are in half precision.
    pub adapts: bool,
}

/// Loss scale at the beginning, where it adapts: 2^15.
const FIRST_EXPONENT: i32 = 15;
/// Good steps after which it is doubled.
const PATIENCE: u32 = 500;
/// Its bounds: a gradient of 2^-24 still counts, and none overflows f32.
pub(super) const EXPONENTS: std::ops::RangeInclusive<i32> = 0..=24;

impl From<Progress> for LossScale {
    fn from(progress: Progress) -> Self {
        Self {
            exponent: progress.scale_exponent,
            since_change: progress.since_change,
            adapts: progress.adapts,
        }
    }
}

impl Progress {
    /// Where a trainer stands that has made `updates` updates and left this loss scale.
    pub fn resumed(scale: LossScale, updates: u64) -> Self {
        Self {
            updates,
            scale_exponent: scale.exponent,
            since_change: scale.since_change,
            adapts: scale.adapts,
        }
    }

    pub(super) fn new(adapts: bool) -> Self {
        Self {
            updates: 0,
            scale_exponent: if adapts { FIRST_EXPONENT } else { 0 },
            since_change: 0,
            adapts,
        }
    }

    /// What the loss is multiplied by.
    pub fn scale(&self) -> f64 {
        f64::from(self.scale_exponent).exp2()
    }

    /// After a step: halves the scale if it overflowed, doubles it after many that did not.
    pub(super) fn note(&mut self, skipped: bool) {
        if !skipped {
            self.updates += 1;
        }
        if !self.adapts {
            return;
        }
        self.since_change += 1;
        let change = match skipped {
            true => -1,
            false if self.since_change >= PATIENCE => 1,
            false => return,
        };
        self.since_change = 0;
        let to = self.scale_exponent + change;
        self.scale_exponent = to.clamp(*EXPONENTS.start(), *EXPONENTS.end());
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
