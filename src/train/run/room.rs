//! Whether the disk has room for all that a run will write.

use super::settings::Settings;
use crate::error::{Error, Result};
use crate::train::step::{Masters, Moments};
use crate::units;
use std::path::Path;

/// Bytes of a parameter in the models at the end, at least: its master in f32.
const IN_MODEL: u64 = 4;

/// Bits of a parameter in a checkpoint: its master and two moments. A moment of 8 bits has a word for each 256.
fn bits_in_checkpoint(settings: &Settings) -> u64 {
    let master = match settings.masters {
        Masters::F32 => 32,
        Masters::Bf16 => 16,
    };
    let moment = match settings.moments {
        Moments::Block8 => 9,
        other => other.bits() as u64,
    };
    master + 2 * moment
}

/// Refuses a run of a model with `parameters` parameters if the disk of `folder` has no room for it. `there` checkpoints
/// of the run exist already; the last one is that of step `step`.
pub(super) fn check(
    folder: &Path,
    settings: &Settings,
    parameters: u64,
    there: usize,
    step: u64,
) -> Result<()> {
    // Where the system does not tell, the disk may be large enough.
    let Ok(free) = fs4::available_space(folder) else {
        return Ok(());
    };
    let needed = needed(settings, parameters, there as u64, step);
    if needed <= free {
        return Ok(());
    }
    let bytes = |n: u64| units::bytes(n as f64);
    Err(Error::usage(
        format!(
            "{}: checkpoints and models take {} more, the disk has {} free",
            folder.display(),
            bytes(needed),
            bytes(free)
        ),
        "make room, lower `keep`, or choose another folder",
    ))
}

/// The most bytes that are taken at any moment, beside those that are taken already.
fn needed(settings: &Settings, parameters: u64, there: u64, step: u64) -> u64 {
    let saves = (settings.steps - step.min(settings.steps)).div_ceil(settings.save_every);
    let keep = settings.keep.max(1) as u64;
    // A checkpoint is whole before the oldest one goes.
    let during = (keep + 1).min(there + saves).saturating_sub(there);
    let during = during.max(saves.min(1));
    let after = keep.min(there + saves).saturating_sub(there);
    let bytes = |checkpoints: u64, models: u64| {
        let each = checkpoints * bits_in_checkpoint(settings) + models * 8 * IN_MODEL;
        parameters.saturating_mul(each) / 8
    };
    bytes(during, 0).max(bytes(after, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_and_models_add_up() {
        let settings = |steps, save_every, keep| Settings {
            steps,
            save_every,
            keep,
            ..Settings::default()
        };
        let many = settings(1000, 100, 2);
        assert_eq!(needed(&many, 10, 0, 0), 360, "two stay, one comes");
        assert_eq!(needed(&many, 10, 2, 900), 120, "one comes, one goes");
        assert_eq!(needed(&many, 10, 2, 1000), 40, "only the model");
        assert_eq!(needed(&settings(50, 100, 2), 10, 0, 0), 160);
        assert_eq!(needed(&settings(10, 1, 1_000_000), 10, 0, 0), 1240);
        let small = Settings {
            moments: Moments::Block8,
            masters: Masters::Bf16,
            ..many
        };
        assert_eq!(needed(&small, 80, 0, 0), 3 * 340, "34 bits");
    }

    #[test]
    fn a_run_too_large_for_any_disk_is_refused() {
        let settings = Settings::default();
        let folder = std::env::temp_dir();
        check(&folder, &settings, 1, 0, 0).expect("there is some room");
        let error = check(&folder, &settings, u64::MAX / 64, 0, 0).expect_err("there is none");
        assert!(error.to_string().contains("`keep`"), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
}
