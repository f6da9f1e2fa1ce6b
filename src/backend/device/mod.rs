//! The device that a program's user chose: one type for every backend, which is a backend itself.

use super::autotune::Tunable;
use super::backend::{Backend, Timing};
use super::cpu::{Cpu, CpuBuffer};
use super::facts::DeviceFacts;
use super::fill::Fill;
use super::gpu::{AdapterSummary, Gpu, GpuAsked, GpuBuffer, Options, adapters};
use super::lockstep::Lockstep;
use super::tuning::Tuning;
use crate::error::{Error, Result};
use crate::ops::Op;
use std::ops::Range;
use std::rc::Rc;

mod choice;
use choice::of_rank;
pub use choice::{APIS, DeviceChoice, candidates};

/// The CPU, a GPU, or either of them with the reference in lockstep.
///
/// Cheap to clone: clones are the same device, so that several models can live on one.
///
/// ```
/// use fairy2i_gpu::Device;
/// let device = Device::auto()?; // a GPU if there is one, else the CPU
/// let cpu: Device = "cpu".parse()?; // or "gpu", "1", "nvidia", ...
/// # let _ = (device, cpu);
/// # Ok::<(), fairy2i_gpu::Error>(())
/// ```
#[derive(Clone)]
pub struct Device(Kind);

#[derive(Clone)]
enum Kind {
    Cpu(Cpu),
    Gpu(Rc<Gpu>),
    Checked(Rc<Lockstep<Device>>),
}

/// A buffer of a [`Device`].
pub struct DeviceBuffer(Memory);

enum Memory {
    Cpu(CpuBuffer),
    Gpu(GpuBuffer),
    Checked(Box<(DeviceBuffer, CpuBuffer)>),
}

/// How to open a [`Device`].
#[derive(Debug, Clone, Default)]
pub struct DeviceOptions {
    /// Compare every operation with the reference, and stop at the first disagreement.
    pub check: bool,
    /// The number of this process among those of the machine that want a GPU each; none where it is the only one.
    pub rank: Option<usize>,
    /// Options that only GPUs have a use for.
    pub gpu: Options,
}

/// Words on their way from a [`Device`].
pub struct DeviceAsked(Awaited);

enum Awaited {
    Cpu(Vec<u32>),
    Gpu(GpuAsked),
}

/// Most buffers of one op; a list of that length fits on the stack.
const MOST_BUFFERS: usize = 8;

impl Device {
    /// The CPU backend.
    pub fn cpu() -> Self {
        Self(Kind::Cpu(Cpu::new()))
    }

    /// A real GPU if there is one that opens, else the CPU.
    ///
    /// # Errors
    /// None today: the CPU is always there.
    #[cfg(feature = "blocking")]
    pub fn auto() -> Result<Self> {
        Self::open(&DeviceChoice::Auto, &DeviceOptions::default())
    }

    /// Opens the device that `choice` names.
    ///
    /// # Errors
    /// [`Error::Device`] where there is no such device or it does not open.
    #[cfg(feature = "blocking")]
    pub fn open(choice: &DeviceChoice, options: &DeviceOptions) -> Result<Self> {
        pollster::block_on(Self::open_async(choice, options, &mut |_| {}))
    }

    /// [`Device::open`] for those who must not block. An adapter that does not open is passed over where `choice`
    /// leaves a choice; `passed_over` hears why.
    ///
    /// # Errors
    /// As [`Device::open`].
    pub async fn open_async(
        choice: &DeviceChoice,
        options: &DeviceOptions,
        passed_over: &mut dyn FnMut(&Error),
    ) -> Result<Self> {
        let plain = Self::open_plain(choice, options, passed_over).await?;
        Ok(match options.check {
            true => Self(Kind::Checked(Rc::new(Lockstep::new(plain)))),
            false => plain,
        })
    }

    async fn open_plain(
        choice: &DeviceChoice,
        options: &DeviceOptions,
        passed_over: &mut dyn FnMut(&Error),
    ) -> Result<Self> {
        if *choice == DeviceChoice::Cpu {
            return Ok(Self::cpu());
        }
        let all = adapters().await;
        let mut refused = None;
        let candidates = match options.rank {
            None => candidates(choice, &all, options.check)?,
            Some(rank) => of_rank(choice, &all, options.check, rank)?,
        };
        for index in candidates {
            match Gpu::open(index, options.gpu.clone()).await {
                Ok(gpu) => return Ok(gpu.into()),
                Err(error) => {
                    passed_over(&error);
                    refused = Some(error);
                }
            }
        }
        match (choice, refused) {
            (DeviceChoice::Auto, _) | (_, None) => Ok(Self::cpu()),
            (_, Some(error)) => Err(error),
        }
    }

    /// The summary that the driver gives of the adapter, if it is a GPU.
    pub fn adapter(&self) -> Option<&AdapterSummary> {
        match &self.0 {
            Kind::Cpu(_) => None,
            Kind::Gpu(gpu) => Some(gpu.summary()),
            Kind::Checked(lockstep) => lockstep.device().adapter(),
        }
    }

    /// Whether it is a real GPU, not the CPU in one form or another.
    pub fn is_hardware(&self) -> bool {
        self.adapter().is_some_and(|adapter| !adapter.software)
    }

    /// Whether ops run in host memory, without a GPU's driver.
    pub fn is_cpu(&self) -> bool {
        self.adapter().is_none()
    }

    /// How many ops were compared with the reference so far, if the device was opened with [`DeviceOptions::check`].
    pub fn compared(&self) -> Option<usize> {
        match &self.0 {
            Kind::Checked(lockstep) => Some(lockstep.compared()),
            _ => None,
        }
    }
}

impl From<Gpu> for Device {
    fn from(gpu: Gpu) -> Self {
        Self(Kind::Gpu(Rc::new(gpu)))
    }
}

/// Opens the device that the text names: `auto`, `cpu`, `gpu`, an index, or part of a name.
#[cfg(feature = "blocking")]
impl std::str::FromStr for Device {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let Ok(choice) = text.parse();
        Self::open(&choice, &DeviceOptions::default())
    }
}

/// The error of a buffer that was given to a device that did not make it.
fn foreign() -> Error {
    Error::usage(
        "a buffer of another device",
        "use buffers on the device that allocated them",
    )
}

impl DeviceBuffer {
    fn cpu(&self) -> Result<&CpuBuffer> {
        match &self.0 {
            Memory::Cpu(buffer) => Ok(buffer),
            _ => Err(foreign()),
        }
    }

    fn gpu(&self) -> Result<&GpuBuffer> {
        match &self.0 {
            Memory::Gpu(buffer) => Ok(buffer),
            _ => Err(foreign()),
        }
    }

    fn checked(&self) -> Result<&(DeviceBuffer, CpuBuffer)> {
        match &self.0 {
            Memory::Checked(buffers) => Ok(buffers),
            _ => Err(foreign()),
        }
    }
}

/// What `of` finds in every buffer of an op, in a list on the stack, and their number.
fn each<'b, T>(
    buffers: &[&'b DeviceBuffer],
    of: impl Fn(&'b DeviceBuffer) -> Result<&'b T>,
) -> Result<([&'b T; MOST_BUFFERS], usize)> {
    let (Some(first), true) = (buffers.first(), buffers.len() <= MOST_BUFFERS) else {
        let what = format!("{} buffers for one op", buffers.len());
        return Err(Error::usage(what, format!("give 1 to {MOST_BUFFERS}")));
    };
    let mut all = [of(first)?; MOST_BUFFERS];
    for (slot, buffer) in all.iter_mut().zip(buffers) {
        *slot = of(buffer)?;
    }
    Ok((all, buffers.len()))
}

/// What `of` finds in the buffer of every run.
fn runs_of<'b, T>(
    runs: &[(&'b DeviceBuffer, Range<usize>)],
    of: impl Fn(&'b DeviceBuffer) -> Result<&'b T>,
) -> Result<Vec<(&'b T, Range<usize>)>> {
    let each = runs.iter().map(|(b, run)| Ok((of(b)?, run.clone())));
    each.collect()
}

/// The same call on whichever backend it is.
macro_rules! on {
    ($device:expr, $backend:ident => $call:expr) => {
        match &$device.0 {
            Kind::Cpu($backend) => $call,
            Kind::Gpu($backend) => $call,
            Kind::Checked($backend) => $call,
        }
    };
}

impl Backend for Device {
    type Buffer = DeviceBuffer;
    type Asked = DeviceAsked;

    fn facts(&self) -> &DeviceFacts {
        on!(self, backend => backend.facts())
    }

    fn tunable(&self) -> Option<&Tunable> {
        on!(self, backend => backend.tunable())
    }

    fn tune(&self, tuning: Tuning) -> bool {
        on!(self, backend => backend.tune(tuning))
    }

    fn available(&self) -> Option<u64> {
        on!(self, backend => backend.available())
    }

    fn runs<O: Op>(&self) -> bool {
        on!(self, backend => backend.runs::<O>())
    }

    fn alloc(&self, label: &str, words: usize) -> Result<DeviceBuffer> {
        Ok(DeviceBuffer(match &self.0 {
            Kind::Cpu(cpu) => Memory::Cpu(cpu.alloc(label, words)?),
            Kind::Gpu(gpu) => Memory::Gpu(gpu.alloc(label, words)?),
            Kind::Checked(lockstep) => Memory::Checked(Box::new(lockstep.alloc(label, words)?)),
        }))
    }

    fn upload(&self, buffer: &DeviceBuffer, offset: usize, words: &[u32]) -> Result<()> {
        match &self.0 {
            Kind::Cpu(cpu) => cpu.upload(buffer.cpu()?, offset, words),
            Kind::Gpu(gpu) => gpu.upload(buffer.gpu()?, offset, words),
            Kind::Checked(lockstep) => lockstep.upload(buffer.checked()?, offset, words),
        }
    }

    fn upload_with(&self, buffer: &DeviceBuffer, offset: usize, fill: &Fill<'_>) -> Result<()> {
        match &self.0 {
            Kind::Cpu(cpu) => cpu.upload_with(buffer.cpu()?, offset, fill),
            Kind::Gpu(gpu) => gpu.upload_with(buffer.gpu()?, offset, fill),
            Kind::Checked(lockstep) => lockstep.upload_with(buffer.checked()?, offset, fill),
        }
    }

    fn ask(&self, runs: &[(&DeviceBuffer, Range<usize>)]) -> Result<DeviceAsked> {
        Ok(DeviceAsked(match &self.0 {
            Kind::Cpu(cpu) => Awaited::Cpu(cpu.ask(&runs_of(runs, DeviceBuffer::cpu)?)?),
            Kind::Gpu(gpu) => Awaited::Gpu(gpu.ask(&runs_of(runs, DeviceBuffer::gpu)?)?),
            Kind::Checked(lockstep) => {
                return lockstep.ask(&runs_of(runs, DeviceBuffer::checked)?);
            }
        }))
    }

    async fn answer<T>(&self, asked: DeviceAsked, read: impl FnOnce(&[u32]) -> T) -> Result<T> {
        match (&self.0, asked.0) {
            // The device inside is of this type again, so the future must not contain its own size.
            (Kind::Checked(lockstep), asked) => {
                Box::pin(lockstep.answer(DeviceAsked(asked), read)).await
            }
            (Kind::Cpu(cpu), Awaited::Cpu(asked)) => cpu.answer(asked, read).await,
            (Kind::Gpu(gpu), Awaited::Gpu(asked)) => gpu.answer(asked, read).await,
            _ => Err(foreign()),
        }
    }

    async fn run<O: Op>(&self, op: &O, buffers: &[&DeviceBuffer]) -> Result<()> {
        match &self.0 {
            Kind::Cpu(cpu) => {
                let (list, n) = each(buffers, DeviceBuffer::cpu)?;
                cpu.run(op, &list[..n]).await
            }
            Kind::Gpu(gpu) => {
                let (list, n) = each(buffers, DeviceBuffer::gpu)?;
                gpu.run(op, &list[..n]).await
            }
            Kind::Checked(lockstep) => {
                let (list, n) = each(buffers, DeviceBuffer::checked)?;
                // The device inside is of this type again, so the future must not contain its own size.
                Box::pin(lockstep.run(op, &list[..n])).await
            }
        }
    }

    fn flush(&self) -> Result<()> {
        on!(self, backend => backend.flush())
    }

    fn collect_pipelines(&self) -> Result<bool> {
        on!(self, backend => backend.collect_pipelines())
    }

    async fn uploaded(&self) -> Result<()> {
        match &self.0 {
            Kind::Cpu(cpu) => cpu.uploaded().await,
            Kind::Gpu(gpu) => gpu.uploaded().await,
            Kind::Checked(lockstep) => Box::pin(lockstep.uploaded()).await,
        }
    }

    async fn compile_pipelines(&self) -> Result<()> {
        match &self.0 {
            Kind::Cpu(cpu) => cpu.compile_pipelines().await,
            Kind::Gpu(gpu) => gpu.compile_pipelines().await,
            Kind::Checked(_) => Ok(()), // compares ops as they come, and collects nothing
        }
    }

    fn profile(&self, on: bool) -> Result<bool> {
        on!(self, backend => backend.profile(on))
    }

    async fn profiled(&self) -> Result<Vec<Timing>> {
        on!(self, backend => backend.profiled().await)
    }

    fn scope(&self, name: &dyn Fn() -> String) {
        on!(self, backend => backend.scope(name));
    }

    fn wait(&self) -> Result<()> {
        on!(self, backend => backend.wait())
    }
}
