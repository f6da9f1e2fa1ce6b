//! Any GPU through wgpu: Vulkan, Metal, DX12, WebGPU. The only room that names wgpu.
//!
//! Dispatches are recorded into one compute pass and handed over when somebody wants a result, when there are many,
//! or when so much work has gathered that a watchdog might grow impatient.

mod adapter;
mod bind_groups;
mod buffers;
mod cache;
mod context;
mod facts;
mod faults;
mod options;
pub(super) mod params;
mod pipeline;
mod profile;
pub mod ranking;
mod readback;
mod recording;
#[cfg(not(target_arch = "wasm32"))]
mod upload;

pub use adapter::{AdapterSummary, adapters};
pub(super) use buffers::GpuBuffer;
pub use options::Options;
pub(super) use readback::GpuAsked;

use super::autotune::{Autotune, Tunable};
use super::backend::{Backend, Timing, check_lengths, kernel_for};
use super::facts::DeviceFacts;
#[cfg(not(target_arch = "wasm32"))]
use super::fill::Fill;
use super::tuning::Tuning;
use crate::error::{Error, Result};
use crate::ops::Op;
use bind_groups::BindGroups;
use buffers::Buffers;
use context::Context;
use pipeline::{Limits, Pipelines};
use recording::Recorder;
use std::cell::{OnceCell, RefCell};
use std::ops::Range;

/// An open GPU.
pub struct Gpu {
    context: Context,
    summary: AdapterSummary,
    facts: DeviceFacts,
    tunable: Option<Tunable>,
    /// The facts with the numbers that [`Backend::tune`] gave.
    tuned: OnceCell<DeviceFacts>,
    max_binding: u64,
    max_groups: u32,
    pipelines: RefCell<Pipelines>,
    bind_groups: RefCell<BindGroups>,
    recorder: Recorder,
    buffers: Buffers,
    #[cfg(not(target_arch = "wasm32"))]
    staging_ring: RefCell<upload::Ring>,
    readbacks: readback::Readbacks,
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
        let context = adapter::open(chosen, &options).await?;
        let (device, faults) = (&context.device, &context.faults);
        let cache = options.cache.as_deref().zip(summary.cache_file.as_deref());
        let cache = cache.and_then(|(folder, name)| {
            let open = || cache::Cache::open(device, folder, name);
            faults
                .scoped(device, &|| "opening the cache".to_owned(), open)
                .ok()
        });
        let uniforms = match params::immediate(device) {
            true => None,
            false => {
                let doing = || "allocating parameters".to_owned();
                Some(faults.scoped(device, &doing, || params::uniforms(device))?)
            }
        };
        let features = options.features.both(summary.features);
        let largest = summary.max_binding.min(summary.max_buffer);
        let max_binding = options.max_binding.map_or(largest, |m| m.min(largest));
        let most_groups = summary.groups_per_dimension;
        let class = facts::tuning(&summary, features);
        let tuning = options.tuning.unwrap_or(class);
        Ok(Self {
            context,
            tunable: tunable(&options, &summary),
            tuned: OnceCell::new(),
            facts: facts::facts(&summary, features, max_binding, tuning),
            max_binding,
            max_groups: options
                .max_groups
                .map_or(most_groups, |m| m.min(most_groups)),
            summary,
            pipelines: RefCell::new(Pipelines::new(cache, options.plain)),
            bind_groups: RefCell::default(),
            recorder: Recorder::new(uniforms),
            buffers: Buffers::default(),
            #[cfg(not(target_arch = "wasm32"))]
            staging_ring: RefCell::default(),
            readbacks: readback::Readbacks::default(),
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
    ) -> Result<wgpu::BindGroup> {
        let mut groups = self.bind_groups.borrow_mut();
        if self.buffers.take_dropped() {
            groups.clear();
        }
        let uniforms = self.recorder.uniforms();
        groups.get(&self.context, (O::NAME, pipeline), uniforms, buffers)
    }

    fn submit(&self) {
        self.recorder.submit(&self.context, None);
    }

    /// Overwrites words of `buffer` from `offset` on with the words that `fill` writes.
    #[cfg(not(target_arch = "wasm32"))]
    fn upload_filled(&self, buffer: &GpuBuffer, offset: usize, fill: &Fill<'_>) -> Result<()> {
        self.submit(); // the write must not overtake earlier dispatches
        let mut ring = self.staging_ring.borrow_mut();
        ring.upload(&self.context, buffer, offset, fill)
    }

    fn fold(&self, groups: u32) -> (u32, u32) {
        let x = groups.min(self.max_groups);
        (x, groups.div_ceil(x))
    }
}

/// How an adapter wants to be tuned with these options; not at all where numbers were given.
fn tunable(options: &Options, summary: &AdapterSummary) -> Option<Tunable> {
    let wanted = options.autotune != Autotune::Off && options.tuning.is_none();
    wanted.then(|| Tunable {
        again: options.autotune == Autotune::Again,
        software: summary.software,
        file: options
            .cache
            .as_ref()
            .map(|folder| folder.join(&summary.tuning_file)),
        begins: options.autotune_begins,
    })
}

impl Backend for Gpu {
    type Buffer = GpuBuffer;
    type Asked = GpuAsked;

    fn facts(&self) -> &DeviceFacts {
        self.tuned.get().unwrap_or(&self.facts)
    }

    fn tunable(&self) -> Option<&Tunable> {
        let tuned = self.tuned.get().is_some();
        self.tunable.as_ref().filter(|_| !tuned)
    }

    fn tune(&self, tuning: Tuning) -> bool {
        let facts = DeviceFacts {
            tuning,
            ..self.facts.clone()
        };
        self.tuned.set(facts).is_ok()
    }

    fn available(&self) -> Option<u64> {
        let own = self.facts.memory;
        let own = own.map(|bytes| bytes.saturating_sub(self.buffers.bytes()));
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
        self.buffers.create(&self.context, label, words, bytes)
    }

    fn upload(&self, buffer: &GpuBuffer, offset: usize, words: &[u32]) -> Result<()> {
        #[cfg(not(target_arch = "wasm32"))]
        if words.len() > upload::SHORT {
            let copy = |first: usize, dst: &mut [u32]| {
                dst.copy_from_slice(&words[first..first + dst.len()]);
            };
            return self.upload_filled(buffer, offset, &Fill::new(words.len(), 1, &copy));
        }
        self.submit(); // the write must not overtake earlier dispatches
        let bytes = bytemuck::cast_slice(words);
        let queue = &self.context.queue;
        queue.write_buffer(&buffer.buffer, offset as u64 * 4, bytes);
        self.context.faults.check("uploading")
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn upload_with(&self, buffer: &GpuBuffer, offset: usize, fill: &Fill<'_>) -> Result<()> {
        if fill.words() <= upload::SHORT {
            return fill.pieces(|first, words| self.upload(buffer, offset + first, words));
        }
        self.upload_filled(buffer, offset, fill)
    }

    /// Browsers copy what they are given to write, and hand it to another process: without waits, all of a model.
    #[cfg(target_arch = "wasm32")]
    async fn uploaded(&self) -> Result<()> {
        self.submit();
        let (sender, receiver) = oneshot::channel();
        let queue = &self.context.queue;
        queue.on_submitted_work_done(move || {
            let _ = sender.send(()); // nobody listens any more where the future that waits was dropped
        });
        let _ = receiver.await; // a device that is lost does nothing more, and the check tells why
        self.context.faults.check("uploading")
    }

    fn ask(&self, runs: &[(&GpuBuffer, Range<usize>)]) -> Result<GpuAsked> {
        let collecting = self.pipelines.borrow().collecting();
        let both = (&self.context, &self.recorder);
        self.readbacks.ask(both, runs, collecting)
    }

    async fn answer<T>(&self, asked: GpuAsked, read: impl FnOnce(&[u32]) -> T) -> Result<T> {
        let both = (&self.context, &self.recorder);
        self.readbacks.answer(both, asked, read).await
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
        let Context { device, faults, .. } = &self.context;
        let made = pipelines.get(device, faults, op, shader, limits)?;
        let Some(pipeline) = made else {
            return Ok(()); // pipelines are collected, and nothing runs
        };
        drop(pipelines);
        faults.check(shader.stem)?;
        let group = self.bind_group::<O>(&pipeline, buffers)?;
        let (x, y) = self.fold(grid.groups);
        let grid = [x, y, grid.batch];
        self.recorder
            .record(&self.context, op, (&pipeline, &group), grid);
        if self.recorder.full(op.cost(), &self.facts.tuning) {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        self.submit();
        self.context.faults.check("running")
    }

    fn scope(&self, name: &dyn Fn() -> String) {
        self.recorder.scope(name);
    }

    fn profile(&self, on: bool) -> Result<bool> {
        self.flush()?;
        Ok(self.recorder.profile(&self.context, on))
    }

    async fn profiled(&self) -> Result<Vec<Timing>> {
        self.flush()?;
        profile::read(&self.context, self.recorder.timed()).await
    }

    fn collect_pipelines(&self) -> Result<bool> {
        self.pipelines.borrow_mut().collect_pipelines();
        self.context.faults.check("compiling kernels")?;
        Ok(true)
    }

    async fn compile_pipelines(&self) -> Result<()> {
        let Context { device, faults, .. } = &self.context;
        let compile = || {
            let mut pipelines = self.pipelines.borrow_mut();
            pipelines.compile_pipelines(device, faults)
        };
        faults.later(device, "compiling kernels", compile).await??;
        faults.check("compiling kernels")
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn wait(&self) -> Result<()> {
        self.readbacks.wait(&self.context)
    }
}
