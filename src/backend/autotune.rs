//! Whether a device is tuned by measuring it, and where the outcome is kept: see [`crate::model::autotune`].

use std::path::PathBuf;

/// Whether kernels are timed on a device before a model of a new shape is loaded onto it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Autotune {
    /// No: it gets the numbers of its class.
    #[default]
    Off,
    /// What was chosen before holds; what was not is measured, on real GPUs, if the choice can be kept.
    On,
    /// What was chosen before is measured again, on software adapters too.
    Again,
}

/// A device that wants to be tuned.
#[derive(Debug, Clone)]
pub struct Tunable {
    /// Whether what is kept is measured again.
    pub again: bool,
    /// Whether it is a driver that runs shaders on the CPU, which is measured only if that is asked for.
    pub software: bool,
    /// The file that keeps what was chosen for this device and driver, if there is a folder for it.
    pub file: Option<PathBuf>,
    /// Hears the name of the device when it begins to be measured, for a person who waits.
    pub begins: fn(&str),
}
