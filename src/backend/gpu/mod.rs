//! Any GPU through wgpu: Vulkan, Metal, DX12, WebGPU. The only room that names wgpu.
//!
//! Dispatches are recorded into one compute pass and handed over when somebody wants a result, when the
//! uniform slots are used up, or when so much work has gathered that a watchdog might grow impatient.

mod adapter;
mod faults;
mod pipeline;
mod signal;

pub use adapter::{AdapterSummary, adapters};

use super::{Backend, check_lengths, kernel_for};
use crate::error::{Error, Result};
use crate::ops::{Needs, Op};
use faults::Faults;
use pipeline::{Pipelines, SLOT};
use signal::Signal;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

/// Dispatches per submission at most (uniform slots): the device starts on them while the host records more.
const AHEAD: usize = 64;
/// Bytes and operations per submission at most: about a tenth of a second on a small GPU.
const WORK: f64 = 1e11;
/// Bytes of uploads after which the device gets a chance to free its staging memory.
const UPLOADS: usize = 128 << 20;

/// How to open an adapter.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Abilities that may be used, if the adapter has them.
    pub level: Needs,
    /// Lower limits than the adapter's, to test what happens at them.
    pub max_binding: Option<u64>,
    /// Lower limit of workgroups per dimension.
    pub max_groups: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            level: Needs {
                subgroup: true,
                f16: true,
            },
            max_binding: None,
            max_groups: None,
        }
    }
}

/// An open GPU.
pub struct Gpu {
    device: wgpu::Device,
    queue: wgpu::Queue,
    summary: AdapterSummary,
    faults: Faults,
    level: Needs,
    max_binding: u64,
    max_groups: u32,
    pipelines: RefCell<Pipelines>,
    bind_groups: RefCell<HashMap<(usize, Vec<u64>), wgpu::BindGroup>>,
    uniforms: wgpu::Buffer,
    recording: RefCell<Recording>,
    dropped: Rc<Cell<bool>>,
    next_buffer: Cell<u64>,
    uploaded: Cell<usize>,
    readback: RefCell<Option<wgpu::Buffer>>,
}

#[derive(Default)]
struct Recording {
    pass: Option<(wgpu::CommandEncoder, wgpu::ComputePass<'static>)>,
    slots: Vec<u8>,
    work: f64,
}

/// A storage buffer. Dropping it frees its memory once the device is done with it.
pub struct GpuBuffer {
    buffer: wgpu::Buffer,
    words: usize,
    id: u64,
    dropped: Rc<Cell<bool>>,
}

impl Drop for GpuBuffer {
    fn drop(&mut self) {
        self.dropped.set(true);
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
        let (device, queue, faults) = adapter::open(chosen, options.level).await?;
        let level = Needs {
            subgroup: options.level.subgroup && summary.level.subgroup,
            f16: options.level.f16 && summary.level.f16,
        };
        let uniforms = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("uniforms"),
            size: AHEAD as u64 * SLOT,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let largest = summary.max_binding.min(summary.max_buffer);
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
            summary,
            pipelines: RefCell::default(),
            bind_groups: RefCell::default(),
            uniforms,
            recording: RefCell::default(),
            dropped: Rc::default(),
            next_buffer: Cell::new(0),
            uploaded: Cell::new(0),
            readback: RefCell::default(),
        })
    }

    /// What this adapter is.
    pub fn summary(&self) -> &AdapterSummary {
        &self.summary
    }

    /// Abilities in use.
    pub fn level(&self) -> Needs {
        self.level
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
            let uniform = wgpu::BindGroupEntry {
                binding: 0,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: &self.uniforms,
                    offset: 0,
                    size: wgpu::BufferSize::new(SLOT),
                }),
            };
            let storage = buffers
                .iter()
                .enumerate()
                .map(|(i, b)| wgpu::BindGroupEntry {
                    binding: i as u32 + 1,
                    resource: b.buffer.as_entire_binding(),
                });
            let entries: Vec<_> = std::iter::once(uniform).chain(storage).collect();
            self.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(O::NAME),
                layout: &pipeline.layout,
                entries: &entries,
            })
        };
        known.entry(key).or_insert_with(make).clone()
    }

    fn record(
        &self,
        pipeline: &pipeline::Pipeline,
        group: &wgpu::BindGroup,
        params: &[u8],
        grid: [u32; 3],
    ) {
        let mut recording = self.recording.borrow_mut();
        let offset = recording.slots.len();
        recording.slots.extend_from_slice(params);
        recording.slots.resize(offset + SLOT as usize, 0);
        let (_, pass) = recording.pass.get_or_insert_with(|| {
            let mut encoder = self.device.create_command_encoder(&Default::default());
            let pass = encoder
                .begin_compute_pass(&Default::default())
                .forget_lifetime();
            (encoder, pass)
        });
        pass.set_pipeline(&pipeline.pipeline);
        pass.set_bind_group(0, group, &[offset as u32]);
        let [x, y, z] = grid;
        pass.dispatch_workgroups(x, y, z);
    }

    /// Ends the open pass, if any, and submits it with its uniforms, then `extra`.
    fn submit(&self, extra: Option<wgpu::CommandBuffer>) {
        let mut recording = self.recording.take();
        let mut commands = Vec::new();
        if let Some((encoder, pass)) = recording.pass.take() {
            drop(pass);
            self.queue.write_buffer(&self.uniforms, 0, &recording.slots);
            commands.push(encoder.finish());
        }
        commands.extend(extra);
        if !commands.is_empty() {
            self.queue.submit(commands);
        }
        recording.slots.clear();
        self.recording.borrow_mut().slots = recording.slots; // keeps its memory
    }

    fn fold(&self, groups: u32) -> (u32, u32) {
        let x = groups.min(self.max_groups);
        (x, groups.div_ceil(x))
    }

    fn staging(&self, bytes: u64) -> wgpu::Buffer {
        let kept = self.readback.borrow_mut().take();
        kept.filter(|b| b.size() >= bytes).unwrap_or_else(|| {
            self.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("readback"),
                size: bytes.max(4096),
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        })
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

    fn alloc(&self, label: &str, words: usize) -> Result<GpuBuffer> {
        let bytes = (words.max(4) as u64) * 4;
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
        Ok(GpuBuffer {
            buffer,
            words,
            id,
            dropped: self.dropped.clone(),
        })
    }

    fn upload(&self, buffer: &GpuBuffer, offset: usize, words: &[u32]) -> Result<()> {
        if self.recording.borrow().pass.is_some() {
            self.submit(None); // the write must not overtake what was asked for before
        }
        // pieces, so that staging memory stays bounded whatever the tensor's size
        for (i, piece) in words.chunks(UPLOADS / 8).enumerate() {
            let at = (offset + i * (UPLOADS / 8)) as u64 * 4;
            self.queue
                .write_buffer(&buffer.buffer, at, bytemuck::cast_slice(piece));
            self.uploaded.set(self.uploaded.get() + piece.len() * 4);
            if self.uploaded.get() > UPLOADS {
                self.uploaded.set(0);
                self.queue.submit([]);
                self.wait()?;
            }
        }
        self.faults.check("uploading")
    }

    async fn download(&self, buffer: &GpuBuffer, offset: usize, len: usize) -> Result<Vec<u32>> {
        let bytes = len as u64 * 4;
        if bytes == 0 {
            return Ok(Vec::new());
        }
        let staging = self.staging(bytes);
        let mut encoder = self.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(&buffer.buffer, offset as u64 * 4, &staging, 0, bytes);
        self.submit(Some(encoder.finish()));
        let signal = Signal::default();
        let raised = signal.clone();
        staging.map_async(wgpu::MapMode::Read, ..bytes, move |r| {
            raised.raise(r.is_ok())
        });
        // wake-ups come from `wait` on native targets and from the event loop in browsers
        let mapped = signal.await;
        self.faults.check("reading back")?;
        let lost = || {
            Error::device(
                "GPU, reading back: the buffer could not be mapped",
                "try again, or use --device cpu",
            )
        };
        if !mapped {
            return Err(lost());
        }
        let words = {
            let view = staging.get_mapped_range(..bytes).map_err(|_| lost())?;
            bytemuck::pod_collect_to_vec(&view)
        };
        staging.unmap();
        *self.readback.borrow_mut() = Some(staging);
        Ok(words)
    }

    async fn run<O: Op>(&self, op: &O, buffers: &[&GpuBuffer]) -> Result<()> {
        check_lengths(op, buffers.iter().map(|b| b.words))?;
        let grid = op.grid();
        if grid.groups == 0 || grid.batch == 0 {
            return Ok(());
        }
        let shader = kernel_for::<O>(self.level);
        let pipeline = self.pipelines.borrow_mut().get(&self.device, op, shader);
        self.faults.check(shader.stem)?;
        let group = self.bind_group::<O>(&pipeline, buffers);
        let (x, y) = self.fold(grid.groups);
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
            (
                recording.slots.len() >= AHEAD * SLOT as usize,
                recording.work,
            )
        };
        if full || cost > WORK {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        self.submit(None);
        self.faults.check("running")
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn wait(&self) -> Result<()> {
        let polled = self.device.poll(wgpu::PollType::wait_indefinitely());
        self.faults.check("waiting")?;
        polled.map(|_| ()).map_err(|error| {
            Error::device(
                format!("GPU, waiting: {error}"),
                "try again, or use --device cpu",
            )
        })
    }
}
