//! Bind groups: which buffers a pipeline is given. Each is made once, as long as no buffer is dropped.

use super::buffers::GpuBuffer;
use super::context::Context;
use super::params::SLOT;
use super::pipeline::Pipeline;
use crate::error::Result;
use std::collections::HashMap;

/// Bind groups made so far, by the ids of the pipeline and of its buffers.
#[derive(Default)]
pub(super) struct BindGroups(HashMap<(usize, Vec<u64>), wgpu::BindGroup>);

impl BindGroups {
    /// Forgets all of them: they keep buffers alive that were dropped.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The bind group of `pipeline` with `buffers`, for the op `name`; `uniforms` holds the parameters unless they are
    /// immediates.
    pub(super) fn get(
        &mut self,
        context: &Context,
        (name, pipeline): (&'static str, &Pipeline),
        uniforms: Option<&wgpu::Buffer>,
        buffers: &[&GpuBuffer],
    ) -> Result<wgpu::BindGroup> {
        let key = (pipeline.id, buffers.iter().map(|b| b.id).collect());
        if let Some(group) = self.0.get(&key) {
            return Ok(group.clone());
        }
        let doing = || format!("binding buffers to `{name}`");
        let make = || create(&context.device, (name, pipeline), uniforms, buffers);
        let group = context.faults.scoped(&context.device, &doing, make)?;
        self.0.insert(key, group.clone());
        Ok(group)
    }
}

fn create(
    device: &wgpu::Device,
    (name, pipeline): (&'static str, &Pipeline),
    uniforms: Option<&wgpu::Buffer>,
    buffers: &[&GpuBuffer],
) -> wgpu::BindGroup {
    let uniform = uniforms.map(|buffer| wgpu::BindGroupEntry {
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
    device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some(name),
        layout: &pipeline.layout,
        entries: &entries,
    })
}
