//! Finding, choosing and opening adapters.

use super::faults::Faults;
use crate::error::{Error, Result};
use crate::ops::Needs;

/// What one adapter is and can do.
#[derive(Debug, Clone)]
pub struct AdapterSummary {
    /// Name the driver gives.
    pub name: String,
    /// Vulkan, Metal, Dx12, BrowserWebGpu.
    pub api: String,
    /// Driver and its version.
    pub driver: String,
    /// Whether it runs on the CPU (lavapipe, WARP).
    pub software: bool,
    /// Whether it shares memory with the CPU.
    pub integrated: bool,
    /// Optional abilities our kernels know how to use.
    pub level: Needs,
    /// Largest storage binding in bytes.
    pub max_binding: u64,
    /// Largest buffer in bytes.
    pub max_buffer: u64,
    /// Workgroup memory in bytes.
    pub workgroup_memory: u32,
    /// Invocations per workgroup.
    pub invocations: u32,
    /// Workgroups per dimension.
    pub groups_per_dimension: u32,
}

fn instance() -> wgpu::Instance {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::PRIMARY;
    wgpu::Instance::new(descriptor)
}

/// All adapters, in the order of their `--device` index.
pub(super) async fn enumerate() -> Vec<wgpu::Adapter> {
    let instance = instance();
    let found = instance.enumerate_adapters(wgpu::Backends::PRIMARY).await;
    if !found.is_empty() {
        return found;
    }
    // browsers hand out one adapter and no list
    let options = wgpu::RequestAdapterOptions {
        power_preference: wgpu::PowerPreference::HighPerformance,
        ..Default::default()
    };
    instance
        .request_adapter(&options)
        .await
        .into_iter()
        .collect()
}

/// Describes all adapters, in the order of their `--device` index.
pub async fn adapters() -> Vec<AdapterSummary> {
    enumerate().await.iter().map(summary).collect()
}

pub(super) fn summary(adapter: &wgpu::Adapter) -> AdapterSummary {
    let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
    AdapterSummary {
        name: info.name,
        api: format!("{:?}", info.backend),
        driver: format!("{} {}", info.driver, info.driver_info)
            .trim()
            .to_owned(),
        software: info.device_type == wgpu::DeviceType::Cpu,
        integrated: info.device_type == wgpu::DeviceType::IntegratedGpu,
        level: Needs {
            subgroup: features.contains(wgpu::Features::SUBGROUP),
            f16: features.contains(wgpu::Features::SHADER_F16),
        },
        max_binding: limits.max_storage_buffer_binding_size,
        max_buffer: limits.max_buffer_size,
        workgroup_memory: limits.max_compute_workgroup_storage_size,
        invocations: limits.max_compute_invocations_per_workgroup,
        groups_per_dimension: limits.max_compute_workgroups_per_dimension,
    }
}

/// Opens a device with the abilities of `level` that the adapter has, and its full limits.
pub(super) async fn open(
    adapter: &wgpu::Adapter,
    level: Needs,
) -> Result<(wgpu::Device, wgpu::Queue, Faults)> {
    let mut features = wgpu::Features::empty();
    features.set(wgpu::Features::SUBGROUP, level.subgroup);
    features.set(wgpu::Features::SHADER_F16, level.f16);
    let descriptor = wgpu::DeviceDescriptor {
        label: Some("fairy2i-gpu"),
        required_features: features & adapter.features(),
        required_limits: adapter.limits(),
        memory_hints: wgpu::MemoryHints::Performance,
        ..Default::default()
    };
    let (device, queue) = adapter.request_device(&descriptor).await.map_err(|error| {
        Error::device(
            format!("{}: {error}", adapter.get_info().name),
            "choose another --device, or --device cpu",
        )
    })?;
    let faults = Faults::listen(&device);
    Ok((device, queue, faults))
}
