//! Compute pipelines, made once per kernel and set of override values.

use crate::ops::{Access, Op, Shader};
use std::collections::HashMap;
use std::rc::Rc;

type Key = (&'static str, Vec<(&'static str, u64)>);

/// Pipelines made so far.
#[derive(Default)]
pub(super) struct Pipelines {
    made: HashMap<Key, Rc<Pipeline>>,
}

/// A compiled kernel and the layout of its buffers.
pub(super) struct Pipeline {
    pub id: usize,
    pub pipeline: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
}

/// Bytes of the uniform slot of one dispatch: the largest alignment WebGPU may ask for.
pub(super) const SLOT: u64 = 256;

impl Pipelines {
    /// The pipeline of `op` on kernel `shader`.
    pub fn get<O: Op>(
        &mut self,
        device: &wgpu::Device,
        op: &O,
        shader: &'static Shader,
    ) -> Rc<Pipeline> {
        let overrides = op.overrides();
        let key = (
            shader.stem,
            overrides.iter().map(|(n, v)| (*n, v.to_bits())).collect(),
        );
        let id = self.made.len();
        self.made
            .entry(key)
            .or_insert_with(|| Rc::new(make::<O>(device, shader, &overrides, id)))
            .clone()
    }
}

/// Browsers ask for `enable subgroups;` where subgroups are used, naga 30 does not know it yet.
fn source(shader: &Shader) -> std::borrow::Cow<'static, str> {
    if cfg!(target_arch = "wasm32") && shader.needs.subgroup {
        format!("enable subgroups;\n{}", shader.source).into()
    } else {
        shader.source.into()
    }
}

fn make<O: Op>(
    device: &wgpu::Device,
    shader: &Shader,
    overrides: &[(&str, f64)],
    id: usize,
) -> Pipeline {
    let label = Some(shader.stem);
    let descriptor = wgpu::ShaderModuleDescriptor {
        label,
        source: wgpu::ShaderSource::Wgsl(source(shader)),
    };
    // Naga's guard against endless loops keeps drivers from unrolling: it made the two-bit GEMV slow.
    let checks = wgpu::ShaderRuntimeChecks {
        force_loop_bounding: false,
        ..wgpu::ShaderRuntimeChecks::checked()
    };
    // SAFETY: the kernels are this crate's own, and each of their loops ends at a size in the uniform block.
    // Bounds of buffers stay checked.
    #[allow(unsafe_code)]
    let module = unsafe { device.create_shader_module_trusted(descriptor, checks) };
    let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
        label,
        entries: &entries::<O>(),
    });
    let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label,
        bind_group_layouts: &[Some(&layout)],
        immediate_size: 0,
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label,
        layout: Some(&pipeline_layout),
        module: &module,
        entry_point: Some(shader.stem),
        compilation_options: wgpu::PipelineCompilationOptions {
            constants: overrides,
            // kernels write workgroup memory before they read it (the poisoned cross-check would tell)
            zero_initialize_workgroup_memory: false,
        },
        cache: None,
    });
    Pipeline {
        id,
        pipeline,
        layout,
    }
}

fn entries<O: Op>() -> Vec<wgpu::BindGroupLayoutEntry> {
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
    let storage = O::BINDINGS.iter().enumerate().map(|(i, b)| {
        let read_only = b.access == Access::Read;
        entry(
            i as u32 + 1,
            wgpu::BufferBindingType::Storage { read_only },
            false,
        )
    });
    std::iter::once(entry(0, wgpu::BufferBindingType::Uniform, true))
        .chain(storage)
        .collect()
}
