//! Any GPU through wgpu: Vulkan, Metal, DX12, WebGPU. The only room that names wgpu.
//!
//! Dispatches are recorded into one compute pass and handed over when somebody wants a result, when there are many,
//! or when so much work has gathered that a watchdog might grow impatient.

mod adapter;
mod cache;
mod faults;
mod options;
mod params;
mod pipeline;
mod profile;
mod readback;
mod recording;
mod signal;
#[cfg(not(target_arch = "wasm32"))]
mod upload;

pub use adapter::{AdapterSummary, adapters};
pub use options::Options;

#[cfg(not(target_arch = "wasm32"))]
use super::Fill;
use super::{Backend, Timing, check_lengths, kernel_for};
use crate::error::{Error, Result};
use crate::ops::{Kv, Needs, Op};
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
/// Dispatches of the first submission after somebody waited: the device starts on them while the host records more.
const FIRST: usize = 32;
/// Bytes and operations per submission at most: about a tenth of a second on a small GPU.
const WORK: f64 = 1e11;
/// The same on a GPU of its own with cooperative matrices; the pause between submissions is 30 us.
const MATRIX_WORK: f64 = 1e12;
/// Words above which an upload goes through the staging ring; a shorter one is copied by the driver's own means.
#[cfg(not(target_arch = "wasm32"))]
const SHORT: usize = 64 << 10;

/// An open GPU.
pub struct Gpu {
    device: wgpu::Device,
    queue: wgpu::Queue,
    summary: AdapterSummary,
    faults: Faults,
    level: Needs,
    max_binding: u64,
    max_groups: u32,
    /// Bytes and operations per submission.
    work: f64,
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
                "see `fairy2i-gpu info`, or use --device cpu",
            ));
        };
        let summary = adapter::summary(chosen);
        let (device, queue, faults) = adapter::open(chosen, &options).await?;
        let cache = options.cache.as_deref().zip(summary.cache_file.as_deref());
        let cache = cache.map(|(folder, name)| cache::Cache::open(&device, folder, name));
        let level = options.level.both(summary.level);
        let uniforms = (!params::immediate(&device)).then(|| params::uniforms(&device));
        let largest = summary.max_binding.min(summary.max_buffer);
        let fast = level.covers(Needs::MATRIX) && !summary.software && !summary.integrated;
        Ok(Self {
            device,
            queue,
            faults,
            level,
            max_binding: options.max_binding.map_or(largest, |m| m.min(largest)),
            max_groups: options
                .max_groups
                .map_or(summary.groups_per_dimension, |m| {
                    m.min(summary.groups_per_dimension)
                }),
            work: if fast { MATRIX_WORK } else { WORK },
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

    fn bind_group<O: Op>(
        &self,
        pipeline: &pipeline::Pipeline,
        buffers: &[&GpuBuffer],
    ) -> wgpu::BindGroup {
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
        known.entry(key).or_insert_with(make).clone()
    }

    fn fold(&self, groups: u32) -> (u32, u32) {
        let x = groups.min(self.max_groups);
        (x, groups.div_ceil(x))
    }
}

impl Backend for Gpu {
    type Buffer = GpuBuffer;

    fn name(&self) -> String {
        format!("{} ({})", self.summary.name, self.summary.api)
    }

    fn max_words(&self) -> usize {
        (self.max_binding / 4) as usize
    }

    fn memory(&self) -> Option<u64> {
        self.summary.memory
    }

    fn available(&self) -> Option<u64> {
        let own = self.summary.memory;
        let own = own.map(|bytes| bytes.saturating_sub(self.held.get()));
        let host = super::host::available().filter(|_| self.on_host());
        [own, host].into_iter().flatten().min()
    }

    fn on_host(&self) -> bool {
        self.summary.software || self.summary.integrated
    }

    fn workgroup_bytes(&self) -> usize {
        self.summary.workgroup_memory as usize
    }

    fn subgroup_size(&self) -> usize {
        match self.level.subgroup {
            true => self.summary.subgroup_size as usize,
            false => 1,
        }
    }

    fn kv(&self) -> Kv {
        Kv::F16
    }

    fn level(&self) -> Needs {
        self.level
    }

    fn runs<O: Op>(&self) -> bool {
        kernel_for::<O>(self.level).is_some()
    }

    fn alloc(&self, label: &str, words: usize) -> Result<GpuBuffer> {
        let bytes = (words.max(4) as u64).saturating_mul(4);
        if bytes > self.max_binding {
            return Err(Error::device(
                format!(
                    "`{label}` needs {bytes} bytes in one binding, {} has {}",
                    self.summary.name, self.max_binding
                ),
                "lower the context length (-c) or use --device cpu",
            ));
        }
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: bytes,
            usage: wgpu::BufferUsages::STORAGE
                | wgpu::BufferUsages::COPY_DST
                | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        self.faults
            .check(&format!("allocating {bytes} bytes for `{label}`"))?;
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

    fn download(
        &self,
        buffer: &GpuBuffer,
        offset: usize,
        len: usize,
    ) -> impl Future<Output = Result<Vec<u32>>> {
        let nothing = len == 0 || self.pipelines.borrow().rehearsing();
        let asked = (!nothing).then(|| self.ask_for(buffer, offset, len));
        async move {
            match asked {
                Some(asked) => self.read_back(asked).await,
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
        let shader = kernel_for::<O>(self.level).ok_or_else(|| {
            let what = format!("no kernel of `{}` runs on {}", O::NAME, self.summary.name);
            Error::device(what, "report this: the model chose an op the device lacks")
        })?;
        let limits = Limits {
            invocations: self.summary.invocations,
            subgroup: self.summary.subgroup_size,
        };
        let mut pipelines = self.pipelines.borrow_mut();
        let Some(pipeline) = pipelines.get(&self.device, op, shader, limits) else {
            return Ok(()); // a rehearsal
        };
        drop(pipelines);
        self.faults.check(shader.stem)?;
        let group = self.bind_group::<O>(&pipeline, buffers);
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
        let (full, cost) = {
            let mut recording = self.recording.borrow_mut();
            let cost = op.cost();
            recording.work += cost.bytes + cost.ops;
            let timed = self.profile.borrow().as_ref().is_some_and(Profile::full);
            (
                timed || recording.dispatches >= recording.burst(),
                recording.work,
            )
        };
        if full || cost > self.work {
            self.recording.borrow_mut().longer();
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        self.submit(None);
        self.faults.check("running")
    }

    fn at(&self, place: &dyn Fn() -> String) {
        if let Some(profile) = &mut *self.profile.borrow_mut() {
            profile.at(place());
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

    fn rehearse(&self, on: bool) -> Result<bool> {
        let mut pipelines = self.pipelines.borrow_mut();
        if on {
            pipelines.rehearse();
        } else {
            pipelines.perform(&self.device);
        }
        self.faults.check("compiling kernels")?;
        Ok(true)
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn wait(&self) -> Result<()> {
        self.wait_for_readback()
    }
}
