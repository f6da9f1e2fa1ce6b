//! Compute pipelines, made once per kernel and set of override values.

use super::cache::Cache;
use super::faults::Faults;
use super::params;
use crate::error::Result;
use crate::ops::{Access, Binding, Op, Shader};
use std::collections::HashMap;
use std::rc::Rc;

type Key = (&'static str, &'static str, Vec<(&'static str, u64)>);

/// Pipelines made so far.
#[derive(Default)]
pub(super) struct Pipelines {
    made: HashMap<Key, Rc<Pipeline>>,
    /// While pipelines are collected: those that were asked for and are not there.
    wanted: Option<HashMap<Key, Job>>,
    cache: Option<Cache>,
    /// Kernels come without tricks for compilers.
    plain: bool,
}

/// A compiled kernel and the layout of its buffers.
pub(super) struct Pipeline {
    pub id: usize,
    pub pipeline: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
}

/// A pipeline to be made, on any thread.
struct Job {
    prelude: &'static str,
    shader: &'static Shader,
    bindings: &'static [Binding],
    overrides: Vec<(&'static str, f64)>,
    plain: bool,
}

/// Invocations that the device allows in a workgroup, and has in a subgroup at least.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub invocations: u32,
    pub subgroup: u32,
}

/// Invocations of a workgroup of kernels that need no features: every device allows them.
const PLAIN_WIDTH: u32 = 256;

impl Pipelines {
    /// None yet; what the driver compiled before is taken from `cache`. `plain`: kernels come without tricks for compilers.
    pub(super) fn new(cache: Option<Cache>, plain: bool) -> Self {
        Self {
            cache,
            plain,
            ..Self::default()
        }
    }

    /// The pipeline of `op` on kernel `shader`; its tiles and workgroups are no larger than `limits` allow.
    /// `None` while pipelines are collected, which only notes that it is needed. One that cannot be made is this call's error, and
    /// the next call tries again.
    pub(super) fn get<O: Op>(
        &mut self,
        device: &wgpu::Device,
        faults: &Faults,
        op: &O,
        shader: &'static Shader,
        limits: Limits,
    ) -> Result<Option<Rc<Pipeline>>> {
        let mut overrides = op.overrides();
        for (name, value) in &mut overrides {
            let most = match *name {
                "TILE" if shader.features.subgroup => limits.subgroup,
                "WIDTH" if shader.features.subgroup => limits.invocations,
                "WIDTH" => PLAIN_WIDTH,
                _ => continue,
            };
            *value = value.min(f64::from(most));
        }
        let prelude = op.prelude();
        let key = (
            shader.stem,
            prelude,
            overrides.iter().map(|(n, v)| (*n, v.to_bits())).collect(),
        );
        let made = self.made.get(&key).cloned();
        if self.wanted.is_none() && made.is_some() {
            return Ok(made);
        }
        let job = Job {
            shader,
            bindings: O::BINDINGS,
            prelude,
            overrides,
            plain: self.plain,
        };
        if let Some(wanted) = &mut self.wanted {
            if made.is_none() {
                wanted.insert(key, job);
            }
            return Ok(None);
        }
        let id = self.made.len();
        let pipeline = Rc::new(job.make(device, faults, id, self.cache.as_ref())?);
        self.made.insert(key, pipeline.clone());
        if let Some(cache) = &mut self.cache {
            cache.touch();
        }
        Ok(Some(pipeline))
    }

    /// Begins to collect pipelines instead of making them.
    pub(super) fn collect_pipelines(&mut self) {
        self.wanted.get_or_insert_default();
    }

    /// Whether pipelines are collected.
    pub(super) fn collecting(&self) -> bool {
        self.wanted.is_some()
    }

    /// Stops collecting: makes all pipelines that were asked for, on all threads. Those that can be made are kept, whatever
    /// else fails.
    pub(super) fn compile_pipelines(
        &mut self,
        device: &wgpu::Device,
        faults: &Faults,
    ) -> Result<()> {
        let wanted = self.wanted.take().unwrap_or_default();
        let mut jobs: Vec<_> = wanted.into_iter().collect();
        jobs.sort_unstable_by(|a, b| a.0.cmp(&b.0)); // of several failures, the same one is told every time
        let cache = self.cache.as_ref();
        let make = |(key, job): (Key, Job)| (key, job.make(device, faults, 0, cache));
        #[cfg(all(feature = "threads", not(target_arch = "wasm32")))]
        let made: Vec<_> = {
            use rayon::prelude::*;
            jobs.into_par_iter().map(make).collect()
        };
        #[cfg(not(all(feature = "threads", not(target_arch = "wasm32"))))]
        let made: Vec<_> = jobs.into_iter().map(make).collect();
        if let Some(cache) = &mut self.cache
            && !made.is_empty()
        {
            cache.touch();
            cache.save();
        }
        let mut failure = Ok(());
        for (key, result) in made {
            match result {
                Ok(pipeline) => {
                    let id = self.made.len();
                    self.made.insert(key, Rc::new(Pipeline { id, ..pipeline }));
                }
                Err(error) => failure = failure.and(Err(error)),
            }
        }
        failure
    }
}

/// Browsers ask for `enable subgroups;` where subgroups are used, naga 30 does not know it yet. And they refuse sums of a subgroup
/// in a branch that only whole subgroups take, because they cannot see that.
fn source(shader: &Shader, text: &str, prelude: &'static str) -> String {
    if cfg!(target_arch = "wasm32") && shader.features.subgroup {
        let head = "enable subgroups;\ndiagnostic(off, subgroup_uniformity);";
        format!("{head}\n{text}\n{prelude}")
    } else {
        format!("{text}\n{prelude}")
    }
}

impl Job {
    /// Makes it; an error is this pipeline's alone.
    fn make(
        &self,
        device: &wgpu::Device,
        faults: &Faults,
        id: usize,
        cache: Option<&Cache>,
    ) -> Result<Pipeline> {
        let doing = || format!("compiling `{}`", self.shader.stem);
        faults.scoped(device, &doing, || self.create(device, id, cache))
    }

    fn create(&self, device: &wgpu::Device, id: usize, cache: Option<&Cache>) -> Pipeline {
        let shader = self.shader;
        let label = Some(shader.stem);
        let immediate = params::immediate(device);
        let plain = self.plain.then(|| shader.plain(self.bindings));
        let text = plain.as_deref().unwrap_or(shader.source);
        let text = params::declare(source(shader, text, self.prelude), immediate);
        let descriptor = wgpu::ShaderModuleDescriptor {
            label,
            source: wgpu::ShaderSource::Wgsl(text.into()),
        };
        // Naga's guard against endless loops keeps drivers from unrolling: it made the two-bit GEMV slow.
        let checks = wgpu::ShaderRuntimeChecks {
            force_loop_bounding: false,
            ..match shader.unchecked && !self.plain {
                true => wgpu::ShaderRuntimeChecks::unchecked(),
                false => wgpu::ShaderRuntimeChecks::checked(),
            }
        };
        // SAFETY: the kernels are this crate's own, and each of their loops ends at a size among its parameters.
        // Bounds of buffers stay checked, but for kernels whose indices stay within lengths that every run checks.
        #[allow(unsafe_code)]
        let module = unsafe { device.create_shader_module_trusted(descriptor, checks) };
        let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label,
            entries: &entries(self.bindings, immediate, self.plain),
        });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label,
            bind_group_layouts: &[Some(&layout)],
            immediate_size: if immediate { params::IMMEDIATES } else { 0 },
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label,
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some(shader.entry),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &self.overrides,
                // kernels write workgroup memory before they read it (the poisoned cross-check would tell)
                zero_initialize_workgroup_memory: false,
            },
            cache: cache.map(|c| &c.handle),
        });
        Pipeline {
            id,
            pipeline,
            layout,
        }
    }
}

fn entries(bindings: &[Binding], immediate: bool, plain: bool) -> Vec<wgpu::BindGroupLayoutEntry> {
    let entry = |binding, ty, dynamic| wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer {
            ty,
            has_dynamic_offset: dynamic,
            min_binding_size: None,
        },
        count: None,
    };
    let storage = bindings.iter().enumerate().map(|(i, b)| {
        let read_only = match b.access {
            Access::Read => true,
            Access::Prefetched => plain,
            Access::Write => false,
        };
        entry(
            i as u32 + 1,
            wgpu::BufferBindingType::Storage { read_only },
            false,
        )
    });
    let uniform = (!immediate).then(|| entry(0, wgpu::BufferBindingType::Uniform, true));
    uniform.into_iter().chain(storage).collect()
}
