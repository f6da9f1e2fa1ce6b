//! How to open an adapter: everything off that only programs on this machine want.

use crate::backend::autotune::Autotune;
use crate::backend::tuning::Tuning;
use crate::ops::Features;
use std::path::PathBuf;

/// How to open an adapter.
#[derive(Debug, Clone)]
pub struct Options {
    /// Abilities that may be used, if the adapter has them.
    pub features: Features,
    /// Lower limits than the adapter's, to test what happens at them.
    pub max_binding: Option<u64>,
    /// Lower limit of workgroups per dimension.
    pub max_groups: Option<u32>,
    /// Other numbers than those of the adapter's class, to test that nothing but speed depends on them.
    pub tuning: Option<Tuning>,
    /// Folder that keeps compiled pipelines from run to run, in a file per adapter and driver; `None` to keep nothing.
    /// It must be one that only its owner can write to: drivers trust what they find there.
    pub cache: Option<PathBuf>,
    /// Whether kernels are timed here before a model of a new shape is loaded; what is chosen lies beside the pipelines.
    pub autotune: Autotune,
    /// Hears the name of the device when that begins.
    pub autotune_begins: fn(&str),
    /// Hand kernels their parameters as immediates, where the adapter has them, instead of in a uniform buffer.
    pub immediates: bool,
    /// Run kernels without what exists for one compiler only, for tests that compare both: see [`crate::ops::Shader::plain`].
    pub plain: bool,
    /// Make [`crate::backend::Backend::profile`] possible, where the adapter has timestamps.
    pub profile: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            features: Features::ALL,
            max_binding: None,
            max_groups: None,
            tuning: None,
            cache: None,
            autotune: Autotune::Off,
            autotune_begins: |_| {},
            immediates: true,
            plain: false,
            profile: false,
        }
    }
}
