//! What several tests need: the GPUs present, and loud skips where there are none.
#![allow(dead_code)] // each test uses its part

use fairy2i_gpu::backend::{Gpu, Options, adapters};
use fairy2i_gpu::ops::Needs;

/// An open GPU and how it was opened.
pub struct Setup {
    pub name: String,
    pub gpu: Gpu,
}

/// Every adapter, with everything it can do, at the plain level, and with small limits (folded grids).
/// In CI (`CI` set) a machine without an adapter is a failure; elsewhere the skip is announced.
pub fn setups() -> Vec<Setup> {
    let mut setups = Vec::new();
    let all = pollster::block_on(adapters());
    for (index, summary) in all.iter().enumerate() {
        let mut open = |what: &str, options: Options| {
            let gpu = pollster::block_on(Gpu::open(index, options)).expect("adapter opens");
            setups.push(Setup {
                name: format!("{} ({}), {what}", summary.name, summary.api),
                gpu,
            });
        };
        open("all features", Options::default());
        open(
            "plain, folded grid",
            Options {
                level: Needs::NONE,
                max_groups: Some(3),
                ..Options::default()
            },
        );
    }
    if setups.is_empty() {
        assert!(
            std::env::var_os("CI").is_none(),
            "CI must have a GPU adapter (lavapipe: apt-get install mesa-vulkan-drivers libvulkan1)"
        );
        eprintln!("\n*** NO GPU ADAPTER: the GPU half of this test was SKIPPED ***\n");
    }
    setups
}
