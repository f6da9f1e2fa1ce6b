//! What several tests need: the GPUs present, and loud skips where there are none.
#![allow(dead_code)] // each test uses its part

use fairy2i_gpu::Result;
use fairy2i_gpu::backend::{Backend, Cpu, Fill, Gpu, Options, adapters};
use fairy2i_gpu::ops::{Kv, Needs, Op};

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

/// Every adapter, with everything it can do, at the plain level with small limits (folded grids), and where it has
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
                level: Needs::NONE,
                immediates: false,
                max_groups: Some(3),
                ..Options::default()
            },
        );
        let mut without = |what: &str, level: Needs| {
            if summary.level.matrix {
                open(
                    what,
                    Options {
                        level,
                        ..Options::default()
                    },
                );
            }
        };
        without(
            "no matrices",
            Needs {
                matrix: false,
                ..Needs::ALL
            },
        );
        without(
            "no 64-bit integers",
            Needs {
                int64: false,
                ..Needs::ALL
            },
        );
        without(
            "no subgroups",
            Needs {
                subgroup: false,
                ..Needs::ALL
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

/// A GPU that claims wide subgroups, so that a narrow software adapter runs what wide ones are given.
pub struct Wide(pub Gpu);

impl Backend for Wide {
    type Buffer = <Gpu as Backend>::Buffer;

    fn name(&self) -> String {
        format!("{}, as if its subgroups were wide", self.0.name())
    }

    fn max_words(&self) -> usize {
        self.0.max_words()
    }

    fn workgroup_bytes(&self) -> usize {
        self.0.workgroup_bytes()
    }

    fn subgroup_size(&self) -> usize {
        self.0.subgroup_size().max(32)
    }

    fn kv(&self) -> Kv {
        self.0.kv()
    }

    fn level(&self) -> Needs {
        self.0.level()
    }

    fn alloc(&self, label: &str, words: usize) -> Result<Self::Buffer> {
        self.0.alloc(label, words)
    }

    fn upload(&self, buffer: &Self::Buffer, offset: usize, words: &[u32]) -> Result<()> {
        self.0.upload(buffer, offset, words)
    }

    fn upload_with(&self, buffer: &Self::Buffer, offset: usize, fill: &Fill<'_>) -> Result<()> {
        self.0.upload_with(buffer, offset, fill)
    }

    async fn download(&self, buffer: &Self::Buffer, offset: usize, len: usize) -> Result<Vec<u32>> {
        self.0.download(buffer, offset, len).await
    }

    async fn run<O: Op>(&self, op: &O, buffers: &[&Self::Buffer]) -> Result<()> {
        self.0.run(op, buffers).await
    }

    fn flush(&self) -> Result<()> {
        self.0.flush()
    }

    fn wait(&self) -> Result<()> {
        self.0.wait()
    }
}

/// The CPU backend or a GPU, as one type.
pub enum Device {
    Cpu(Cpu),
    Gpu(Box<Gpu>),
}

pub enum DeviceBuffer {
    Cpu(<Cpu as Backend>::Buffer),
    Gpu(<Gpu as Backend>::Buffer),
}

impl Device {
    pub fn is_cpu(&self) -> bool {
        matches!(self, Self::Cpu(_))
    }
}

/// The CPU backend and one setup per adapter (all features).
pub fn devices() -> Vec<Device> {
    let gpus = setups()
        .into_iter()
        .filter(|s| s.name.contains("all features"));
    let gpus = gpus.map(|s| Device::Gpu(Box::new(s.gpu)));
    std::iter::once(Device::Cpu(Cpu::new()))
        .chain(gpus)
        .collect()
}

const FOREIGN: &str = "a buffer of another device";

impl Backend for Device {
    type Buffer = DeviceBuffer;

    fn name(&self) -> String {
        match self {
            Self::Cpu(cpu) => cpu.name(),
            Self::Gpu(gpu) => gpu.name(),
        }
    }

    fn max_words(&self) -> usize {
        match self {
            Self::Cpu(cpu) => cpu.max_words(),
            Self::Gpu(gpu) => gpu.max_words(),
        }
    }

    fn memory(&self) -> Option<u64> {
        match self {
            Self::Cpu(cpu) => cpu.memory(),
            Self::Gpu(gpu) => gpu.memory(),
        }
    }

    fn workgroup_bytes(&self) -> usize {
        match self {
            Self::Cpu(cpu) => cpu.workgroup_bytes(),
            Self::Gpu(gpu) => gpu.workgroup_bytes(),
        }
    }

    fn subgroup_size(&self) -> usize {
        match self {
            Self::Cpu(cpu) => cpu.subgroup_size(),
            Self::Gpu(gpu) => gpu.subgroup_size(),
        }
    }

    fn kv(&self) -> Kv {
        match self {
            Self::Cpu(cpu) => cpu.kv(),
            Self::Gpu(gpu) => gpu.kv(),
        }
    }

    fn level(&self) -> Needs {
        match self {
            Self::Cpu(cpu) => cpu.level(),
            Self::Gpu(gpu) => gpu.level(),
        }
    }

    fn alloc(&self, label: &str, words: usize) -> Result<DeviceBuffer> {
        match self {
            Self::Cpu(cpu) => cpu.alloc(label, words).map(DeviceBuffer::Cpu),
            Self::Gpu(gpu) => gpu.alloc(label, words).map(DeviceBuffer::Gpu),
        }
    }

    fn upload(&self, buffer: &DeviceBuffer, offset: usize, words: &[u32]) -> Result<()> {
        match (self, buffer) {
            (Self::Cpu(cpu), DeviceBuffer::Cpu(b)) => cpu.upload(b, offset, words),
            (Self::Gpu(gpu), DeviceBuffer::Gpu(b)) => gpu.upload(b, offset, words),
            _ => panic!("{FOREIGN}"),
        }
    }

    fn upload_with(&self, buffer: &DeviceBuffer, offset: usize, fill: &Fill<'_>) -> Result<()> {
        match (self, buffer) {
            (Self::Cpu(cpu), DeviceBuffer::Cpu(b)) => cpu.upload_with(b, offset, fill),
            (Self::Gpu(gpu), DeviceBuffer::Gpu(b)) => gpu.upload_with(b, offset, fill),
            _ => panic!("{FOREIGN}"),
        }
    }

    async fn download(&self, buffer: &DeviceBuffer, offset: usize, len: usize) -> Result<Vec<u32>> {
        match (self, buffer) {
            (Self::Cpu(cpu), DeviceBuffer::Cpu(b)) => cpu.download(b, offset, len).await,
            (Self::Gpu(gpu), DeviceBuffer::Gpu(b)) => gpu.download(b, offset, len).await,
            _ => panic!("{FOREIGN}"),
        }
    }

    async fn run<O: Op>(&self, op: &O, buffers: &[&DeviceBuffer]) -> Result<()> {
        match self {
            Self::Cpu(cpu) => {
                let buffers = buffers.iter().map(|b| match b {
                    DeviceBuffer::Cpu(b) => b,
                    DeviceBuffer::Gpu(_) => panic!("{FOREIGN}"),
                });
                cpu.run(op, &buffers.collect::<Vec<_>>()).await
            }
            Self::Gpu(gpu) => {
                let buffers = buffers.iter().map(|b| match b {
                    DeviceBuffer::Gpu(b) => b,
                    DeviceBuffer::Cpu(_) => panic!("{FOREIGN}"),
                });
                gpu.run(op, &buffers.collect::<Vec<_>>()).await
            }
        }
    }

    fn flush(&self) -> Result<()> {
        match self {
            Self::Cpu(cpu) => cpu.flush(),
            Self::Gpu(gpu) => gpu.flush(),
        }
    }

    fn wait(&self) -> Result<()> {
        match self {
            Self::Cpu(cpu) => cpu.wait(),
            Self::Gpu(gpu) => gpu.wait(),
        }
    }
}
