//! What several tests need: the GPUs present, and loud skips where there are none.
#![allow(dead_code)] // each test uses its part

pub use fairy2i_gpu::backend::Device;
use fairy2i_gpu::backend::{Backend, DeviceFacts, Gpu, Options, Wrapper, adapters};
use fairy2i_gpu::ops::Features;

/// An open GPU and how it was opened.
pub struct Setup {
    pub name: String,
    pub gpu: Gpu,
}

/// Held by tests that open GPUs: a driver may crash where several threads open and drop devices at once
/// (NVIDIA 580 does).
pub fn one_at_a_time() -> std::sync::MutexGuard<'static, ()> {
    static LOCK: std::sync::Mutex<()> = std::sync::Mutex::new(());
    LOCK.lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Every adapter, with everything it can do, with no feature and small limits (folded grids), and where it has
/// cooperative matrices also without one feature after the other, so that every path is taken.
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
                features: Features::NONE,
                immediates: false,
                max_groups: Some(3),
                ..Options::default()
            },
        );
        let mut without = |what: &str, features: Features| {
            if summary.features.matrix {
                open(
                    what,
                    Options {
                        features,
                        ..Options::default()
                    },
                );
            }
        };
        without(
            "no matrices",
            Features {
                matrix: false,
                ..Features::ALL
            },
        );
        without(
            "no 64-bit integers",
            Features {
                int64: false,
                ..Features::ALL
            },
        );
        without(
            "no subgroups",
            Features {
                subgroup: false,
                ..Features::ALL
            },
        );
    }
    if setups.is_empty() {
        assert!(
            std::env::var_os("CI").is_none(),
            "CI must have a GPU adapter (lavapipe: apt-get install mesa-vulkan-drivers libvulkan1)"
        );
        say_skipped();
    }
    setups
}

/// Every adapter of Vulkan once more, with everything it can do, running kernels without what exists for one compiler only.
/// (FXC, which compiles for Direct3D, refuses the stand-in that is there for its sake.)
pub fn plain_setups() -> Vec<Setup> {
    let all = pollster::block_on(adapters());
    let open = |(index, summary): (usize, &fairy2i_gpu::backend::AdapterSummary)| {
        let options = Options {
            plain: true,
            ..Options::default()
        };
        Setup {
            name: format!("{} ({}), no tricks", summary.name, summary.api),
            gpu: pollster::block_on(Gpu::open(index, options)).expect("adapter opens"),
        }
    };
    let vulkan = all.iter().enumerate().filter(|(_, s)| s.api == "Vulkan");
    vulkan.map(open).collect()
}

/// Says once, past the capture of test output (which `eprintln!` does not pass), that GPUs were left out.
fn say_skipped() {
    use std::io::Write;
    static SAID: std::sync::Once = std::sync::Once::new();
    SAID.call_once(|| {
        let program = std::env::args().next().unwrap_or_default();
        let name = std::path::Path::new(&program).file_stem();
        let name = name.unwrap_or_default().to_string_lossy();
        let name = name.split('-').next().unwrap_or_default();
        let _ = writeln!(
            std::io::stderr(),
            "\n*** NO GPU ADAPTER WAS FOUND: `{name}` tested the CPU alone; its GPU half was SKIPPED ***\n"
        );
    });
}

/// A device that states other facts than its own, so that models take other paths on it.
pub struct Stated<B> {
    device: B,
    facts: DeviceFacts,
}

impl<B: Backend> Stated<B> {
    /// `device` with the facts that `change` makes of its own.
    pub fn new(device: B, change: impl FnOnce(DeviceFacts) -> DeviceFacts) -> Self {
        let facts = change(device.facts().clone());
        Self { device, facts }
    }

    /// `device` with wide subgroups, so that a narrow software adapter runs what wide ones are given.
    pub fn wide(device: B) -> Self {
        Self::new(device, |facts| DeviceFacts {
            name: format!("{}, as if its subgroups were wide", facts.name),
            subgroup_size: facts.subgroup_size.max(32),
            ..facts
        })
    }
}

impl<B: Backend> Wrapper for Stated<B> {
    type Inner = B;

    fn inner(&self) -> &B {
        &self.device
    }

    fn facts(&self) -> &DeviceFacts {
        &self.facts
    }
}

/// The CPU backend and one setup per adapter (all features).
pub fn devices() -> Vec<Device> {
    let gpus = setups()
        .into_iter()
        .filter(|s| s.name.contains("all features"));
    let gpus = gpus.map(|s| Device::from(s.gpu));
    std::iter::once(Device::cpu()).chain(gpus).collect()
}
