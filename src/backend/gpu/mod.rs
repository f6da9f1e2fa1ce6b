//! Any GPU through wgpu: Vulkan, Metal, DX12, WebGPU. The only room that names wgpu.
//!
//! Dispatches are recorded into one compute pass and handed over when somebody wants a result, when there are many,
//! or when so much work has gathered that a watchdog might grow impatient.

mod adapter;
mod cache;
mod faults;
mod options;
pub(super) mod params;
mod pipeline;
mod profile;
pub mod ranking;
mod readback;
mod recording;
mod signal;
#[cfg(not(target_arch = "wasm32"))]
mod upload;

pub use adapter::{AdapterSummary, adapters};
pub use options::Options;

#[cfg(not(target_arch = "wasm32"))]
use super::Fill;
use super::{Backend, DeviceFacts, Timing, Tuning, check_lengths, kernel_for};
use crate::error::{Error, Result};
use crate::ops::{Features, Kv, Op};
use faults::Faults;
use params::SLOT;
use pipeline::{Limits, Pipelines};
use profile::Profile;
use recording::Recording;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

/// Dispatches per submission at most, and slots for their parameters.
const MOST: usize = 8192;
/// Words above which an upload goes through the staging ring; a shorter one is copied by the driver's own means.
#[cfg(not(target_arch = "wasm32"))]
const SHORT: usize = 64 << 10;

/// An open GPU.
pub struct Gpu {
    device: wgpu::Device,
    queue: wgpu::Queue,
    summary: AdapterSummary,
    facts: DeviceFacts,
    faults: Faults,
    max_binding: u64,
    max_groups: u32,
    pipelines: RefCell<Pipelines>,
    bind_groups: RefCell<HashMap<(usize, Vec<u64>), wgpu::BindGroup>>,
    /// Slots for parameters; `None` where they are immediates.
    uniforms: Option<wgpu::Buffer>,
    recording: RefCell<Recording>,
    profile: RefCell<Option<Profile>>,
    dropped: Rc<Cell<bool>>,
    /// Bytes of all buffers that there are.
    held: Rc<Cell<u64>>,
    next_buffer: Cell<u64>,
    #[cfg(not(target_arch = "wasm32"))]
    staging_ring: RefCell<upload::Ring>,
    readbacks: RefCell<readback::Readbacks>,
}

/// A storage buffer. Dropping it frees its memory once the device is done with it.
pub struct GpuBuffer {
    buffer: wgpu::Buffer,
    words: usize,
    id: u64,
    dropped: Rc<Cell<bool>>,
    held: Rc<Cell<u64>>,
}

impl Drop for GpuBuffer {
    fn drop(&mut self) {
        self.dropped.set(true);
        self.held.set(self.held.get() - self.buffer.size());
    }
}

impl Gpu {
    /// Opens adapter `index` of [`adapters`].
    pub async fn open(index: usize, options: Options) -> Result<Self> {
        let all = adapter::enumerate().await;
        let Some(chosen) = all.get(index) else {
            return Err(Error::device(
                format!("there is no GPU adapter {index} ({} found)", all.len()),
                "see the list of devices, or use the CPU backend",
            ));
        };
        let summary = adapter::summary(chosen);
        let (device, queue, faults) = adapter::open(chosen, &options).await?;
        let cache = options.cache.as_deref().zip(summary.cache_file.as_deref());
        let cache = cache.and_then(|(folder, name)| {
            let open = || cache::Cache::open(&device, folder, name);
            faults
                .scoped(&device, &|| "opening the cache".to_owned(), open)
                .ok()
        });
        let level = options.level.both(summary.level);
        let uniforms = match params::immediate(&device) {
            true => None,
            false => {
                let doing = || "allocating parameters".to_owned();
                Some(faults.scoped(&device, &doing, || params::uniforms(&device))?)
            }
        };
        let largest = summary.max_binding.min(summary.max_buffer);
        let max_binding = options.max_binding.map_or(largest, |m| m.min(largest));
        Ok(Self {
            device,
            queue,
            faults,
            facts: facts(&summary, level, max_binding),
            max_binding,
            max_groups: options
                .max_groups
                .map_or(summary.groups_per_dimension, |m| {
                    m.min(summary.groups_per_dimension)
                }),
            summary,
            pipelines: RefCell::new(Pipelines::new(cache)),
            bind_groups: RefCell::default(),
            uniforms,
            recording: RefCell::default(),
            profile: RefCell::new(None),
            dropped: Rc::default(),
            held: Rc::default(),
            next_buffer: Cell::new(0),
            #[cfg(not(target_arch = "wasm32"))]
            staging_ring: RefCell::default(),
            readbacks: RefCell::default(),
        })
    }

    /// What this adapter is.
    pub fn summary(&self) -> &AdapterSummary {
        &self.summary
    }

    /// A buffer. If there is no memory for it, that is the error of this call alone.
    fn create_buffer(&self, descriptor: &wgpu::BufferDescriptor<'_>) -> Result<wgpu::Buffer> {
        let label = descriptor.label.unwrap_or("buffer");
        let doing = || format!("allocating {} bytes for `{label}`", descriptor.size);
        let make = || self.device.create_buffer(descriptor);
        self.faults.scoped(&self.device, &doing, make)
    }

    fn bind_group<O: Op>(
        &self,
        pipeline: &pipeline::Pipeline,
        buffers: &[&GpuBuffer],
    ) -> Result<wgpu::BindGroup> {
        let key = (pipeline.id, buffers.iter().map(|b| b.id).collect());
        let mut known = self.bind_groups.borrow_mut();
        if self.dropped.replace(false) {
            known.clear(); // bind groups keep buffers alive
        }
        let make = || {
            let uniform = self.uniforms.as_ref().map(|buffer| wgpu::BindGroupEntry {
                binding: 0,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer,
                    offset: 0,
                    size: wgpu::BufferSize::new(SLOT),
                }),
            });
            let storage = buffers
                .iter()
                .enumerate()
                .map(|(i, b)| wgpu::BindGroupEntry {
                    binding: i as u32 + 1,
                    resource: b.buffer.as_entire_binding(),
                });
            let entries: Vec<_> = uniform.into_iter().chain(storage).collect();
            self.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(O::NAME),
                layout: &pipeline.layout,
                entries: &entries,
            })
        };
        if let Some(group) = known.get(&key) {
            return Ok(group.clone());
        }
        let doing = || format!("binding buffers to `{}`", O::NAME);
        let group = self.faults.scoped(&self.device, &doing, make)?;
        known.insert(key, group.clone());
        Ok(group)
    }

    fn fold(&self, groups: u32) -> (u32, u32) {
        let x = groups.min(self.max_groups);
        (x, groups.div_ceil(x))
    }
}

/// The class that an adapter belongs to.
fn tuning(summary: &AdapterSummary, features: Features) -> Tuning {
    match (summary.software, features.covers(Features::MATRIX)) {
        (true, _) => Tuning::SOFTWARE,
        (false, true) if !summary.integrated => Tuning::LARGE_GPU,
        (false, _) => Tuning::GPU,
    }
}

/// The facts of an adapter of which `features` and bindings of `max_binding` bytes are used.
fn facts(summary: &AdapterSummary, features: Features, max_binding: u64) -> DeviceFacts {
    DeviceFacts {
        name: format!("{} ({})", summary.name, summary.api),
        max_words: (max_binding / 4) as usize,
        memory: summary.memory,
        on_host: summary.software || summary.integrated,
        workgroup_bytes: summary.workgroup_memory as usize,
        subgroup_size: match features.subgroup {
            true => summary.subgroup_size as usize,
            false => 1,
        },
        kv: Kv::F16,
        tuning: tuning(summary, features),
        features,
    }
}

impl Backend for Gpu {
    type Buffer = GpuBuffer;

    fn facts(&self) -> &DeviceFacts {
        &self.facts
    }

    fn available(&self) -> Option<u64> {
        let own = self.facts.memory;
        let own = own.map(|bytes| bytes.saturating_sub(self.held.get()));
        let host = super::host::available().filter(|_| self.facts.on_host);
        [own, host].into_iter().flatten().min()
    }

    fn runs<O: Op>(&self) -> bool {
        kernel_for::<O>(self.facts.features).is_some()
    }

    fn alloc(&self, label: &str, words: usize) -> Result<GpuBuffer> {
        let bytes = (words.max(4) as u64).saturating_mul(4);
        if bytes > self.max_binding {
            return Err(Error::device(
                format!(
                    "`{label}` needs {bytes} bytes in one binding, {} has {}",
                    self.summary.name, self.max_binding
                ),
                "use a shorter context or the CPU backend",
            ));
        }
        let buffer = self.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: bytes,
            usage: wgpu::BufferUsages::STORAGE
                | wgpu::BufferUsages::COPY_DST
                | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        })?;
        let id = self.next_buffer.get();
        self.next_buffer.set(id + 1);
        self.held.set(self.held.get() + bytes);
        Ok(GpuBuffer {
            buffer,
            words,
            id,
            dropped: self.dropped.clone(),
            held: self.held.clone(),
        })
    }

    fn upload(&self, buffer: &GpuBuffer, offset: usize, words: &[u32]) -> Result<()> {
        #[cfg(not(target_arch = "wasm32"))]
        if words.len() > SHORT {
            let copy = |first: usize, to: &mut [u32]| {
                to.copy_from_slice(&words[first..first + to.len()]);
            };
            return self.upload_filled(buffer, offset, &Fill::new(words.len(), 1, &copy));
        }
        self.submit(None); // the write must not overtake what was asked for before
        let bytes = bytemuck::cast_slice(words);
        self.queue
            .write_buffer(&buffer.buffer, offset as u64 * 4, bytes);
        self.faults.check("uploading")
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn upload_with(&self, buffer: &GpuBuffer, offset: usize, fill: &Fill<'_>) -> Result<()> {
        if fill.words() <= SHORT {
            return fill.pieces(|first, words| self.upload(buffer, offset + first, words));
        }
        self.upload_filled(buffer, offset, fill)
    }

    fn download<'a>(
        &'a self,
        buffer: &'a GpuBuffer,
        offset: usize,
        len: usize,
    ) -> impl Future<Output = Result<Vec<u32>>> {
        let nothing = len == 0 || self.pipelines.borrow().rehearsing();
        let asked = (!nothing).then(|| self.ask_for(buffer, offset, len));
        async move {
            match asked {
                Some(asked) => self.read_back(asked?).await,
                None => Ok(vec![0; len]),
            }
        }
    }

    async fn run<O: Op>(&self, op: &O, buffers: &[&GpuBuffer]) -> Result<()> {
        const { assert!(size_of::<O::Params>() <= params::IMMEDIATES as usize) };
        check_lengths(op, buffers.iter().map(|b| b.words))?;
        let grid = op.grid();
        if grid.groups == 0 || grid.batch == 0 {
            return Ok(());
        }
        let shader = kernel_for::<O>(self.facts.features).ok_or_else(|| {
            let what = format!("no kernel of `{}` runs on {}", O::NAME, self.summary.name);
            Error::device(what, "report this: the model chose an op the device lacks")
        })?;
        let limits = Limits {
            invocations: self.summary.invocations,
            subgroup: self.summary.subgroup_size,
        };
        let mut pipelines = self.pipelines.borrow_mut();
        let made = pipelines.get(&self.device, &self.faults, op, shader, limits)?;
        let Some(pipeline) = made else {
            return Ok(()); // a rehearsal
        };
        drop(pipelines);
        self.faults.check(shader.stem)?;
        let group = self.bind_group::<O>(&pipeline, buffers)?;
        let (x, y) = self.fold(grid.groups);
        if let Some(profile) = &mut *self.profile.borrow_mut() {
            profile.next::<O>(op);
        }
        let params = op.params();
        self.record(
            &pipeline,
            &group,
            bytemuck::bytes_of(&params),
            [x, y, grid.batch],
        );
        let tuning = &self.facts.tuning;
        let (full, cost) = {
            let mut recording = self.recording.borrow_mut();
            let cost = op.cost();
            recording.work += cost.bytes + cost.ops;
            let timed = self.profile.borrow().as_ref().is_some_and(Profile::full);
            (
                timed || recording.dispatches >= recording.burst(tuning.first_submission),
                recording.work,
            )
        };
        if full || cost > tuning.submission_work {
            self.recording.borrow_mut().longer(tuning.first_submission);
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        self.submit(None);
        self.faults.check("running")
    }

    fn scope(&self, name: &dyn Fn() -> String) {
        if let Some(profile) = &mut *self.profile.borrow_mut() {
            profile.at(name());
        }
    }

    fn profile(&self, on: bool) -> Result<bool> {
        self.flush()?;
        *self.profile.borrow_mut() = on
            .then(|| Profile::new(&self.device, &self.queue))
            .flatten();
        Ok(on == self.profile.borrow().is_some())
    }

    async fn profiled(&self) -> Result<Vec<Timing>> {
        self.flush()?;
        let done = self.profile.borrow_mut().as_mut().map(Profile::take);
        profile::read(self, done.unwrap_or_default()).await
    }

    fn collect_pipelines(&self, on: bool) -> Result<bool> {
        let mut pipelines = self.pipelines.borrow_mut();
        if on {
            pipelines.collect_pipelines();
        } else {
            pipelines.perform(&self.device, &self.faults)?;
        }
        self.faults.check("compiling kernels")?;
        Ok(true)
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn wait(&self) -> Result<()> {
        self.wait_for_readback()
    }
}
