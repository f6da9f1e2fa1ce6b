//! Finding, choosing and opening adapters.

use super::context::Context;
use super::faults::Faults;
use super::options::Options;
use super::{cache, params};
use crate::error::{Error, Result};
use crate::ops::{Features, MATRIX_WORKGROUP_BYTES};

/// The identity, abilities and limits of an adapter.
#[derive(Debug, Clone, Default)]
pub struct AdapterSummary {
    /// Name the driver gives.
    pub name: String,
    /// Vulkan, Metal, Dx12, BrowserWebGpu.
    pub api: String,
    /// Number of its maker, and the maker's number of the model: the same in every graphics interface; 0 if not told.
    pub vendor: u32,
    /// See `vendor`.
    pub device: u32,
    /// Driver and its version.
    pub driver: String,
    /// Whether it runs on the CPU (lavapipe, WARP).
    pub software: bool,
    /// Whether it shares memory with the CPU.
    pub integrated: bool,
    /// Optional abilities our kernels know how to use.
    pub features: Features,
    /// Fewest invocations of a subgroup.
    pub subgroup_size: u32,
    /// Largest storage binding in bytes.
    pub max_binding: u64,
    /// Largest buffer in bytes.
    pub max_buffer: u64,
    /// Bytes of the device's own memory (shared with the host where that is integrated), where the driver tells them:
    /// Vulkan.
    pub memory: Option<u64>,
    /// Workgroup memory in bytes.
    pub workgroup_memory: u32,
    /// Invocations per workgroup.
    pub invocations: u32,
    /// Workgroups per dimension.
    pub groups_per_dimension: u32,
    /// Name of the file that keeps what autotuning chose ([`Options::autotune`]).
    pub tuning_file: String,
    /// Name of the file that keeps compiled pipelines ([`Options::cache`]), if the driver hands them out.
    pub cache_file: Option<String>,
}

/// wgpu with its own defaults (validation by drivers in debug builds), but for one: it does not compile the shaders that
/// look over indirect dispatches. This crate has none of these, so nothing is lost, and every device opens sooner. With
/// them, a device is lost at once where the driver cannot compile such a shader (Wine's Direct3D 12).
fn instance() -> wgpu::Instance {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::PRIMARY;
    descriptor
        .flags
        .remove(wgpu::InstanceFlags::VALIDATION_INDIRECT_CALL);
    wgpu::Instance::new(descriptor)
}

/// Most bytes of buffers and bindings: kernels count bytes and words in 32 bits, in HLSL and in Metal's table of
/// buffer lengths too. (wgpu has the same limit as long as it looks over indirect calls.)
const MOST_BYTES: u64 = u32::MAX as u64 & !3;

/// The adapter's limits, as far as kernels can use them.
fn limits(adapter: &wgpu::Adapter) -> wgpu::Limits {
    let limits = adapter.limits();
    wgpu::Limits {
        max_buffer_size: limits.max_buffer_size.min(MOST_BYTES),
        max_storage_buffer_binding_size: limits.max_storage_buffer_binding_size.min(MOST_BYTES),
        max_uniform_buffer_binding_size: limits.max_uniform_buffer_binding_size.min(MOST_BYTES),
        ..limits
    }
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

/// Features of wgpu that kernels with cooperative matrices need.
const MATRICES: wgpu::Features =
    wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX.union(wgpu::Features::SUBGROUP_BARRIER);

/// Whether cooperative matrices of the one shape our kernels use are there, and the large workgroups that go with them.
fn matrices(adapter: &wgpu::Adapter) -> bool {
    let (info, limits) = (adapter.get_info(), adapter.limits());
    adapter.features().contains(MATRICES)
        && limits.max_compute_invocations_per_workgroup >= 512
        && limits.max_compute_workgroup_storage_size >= MATRIX_WORKGROUP_BYTES as u32
        && info.subgroup_min_size == 32
        && info.subgroup_max_size == 32
        && adapter.cooperative_matrix_properties().iter().any(|m| {
            (m.m_size, m.n_size, m.k_size) == (16, 16, 16)
                && m.ab_type == wgpu::CooperativeScalarType::F16
                && m.cr_type == wgpu::CooperativeScalarType::F32
        })
}

pub(super) fn summary(adapter: &wgpu::Adapter) -> AdapterSummary {
    let (info, limits, features) = (adapter.get_info(), limits(adapter), adapter.features());
    AdapterSummary {
        // browsers may keep it to themselves
        name: match info.name.is_empty() {
            true => "a GPU without a name".to_owned(),
            false => info.name,
        },
        api: format!("{:?}", info.backend),
        vendor: info.vendor,
        device: info.device,
        driver: format!("{} {}", info.driver, info.driver_info)
            .trim()
            .to_owned(),
        software: info.device_type == wgpu::DeviceType::Cpu,
        integrated: info.device_type == wgpu::DeviceType::IntegratedGpu,
        features: Features {
            subgroup: features.contains(wgpu::Features::SUBGROUP),
            f16: features.contains(wgpu::Features::SHADER_F16),
            int64: features.contains(wgpu::Features::SHADER_INT64),
            int16: features.contains(wgpu::Features::SHADER_I16),
            matrix: matrices(adapter),
        },
        subgroup_size: info.subgroup_min_size,
        max_binding: limits.max_storage_buffer_binding_size,
        max_buffer: limits.max_buffer_size,
        memory: memory(adapter),
        workgroup_memory: limits.max_compute_workgroup_storage_size,
        invocations: limits.max_compute_invocations_per_workgroup,
        groups_per_dimension: limits.max_compute_workgroups_per_dimension,
        tuning_file: cache::tuning_file(adapter),
        cache_file: cache::file_name(adapter),
    }
}

/// Bytes of the largest heap of device memory; WebGPU itself tells none.
#[cfg(any(target_os = "linux", target_os = "android", windows))]
fn memory(adapter: &wgpu::Adapter) -> Option<u64> {
    const DEVICE_LOCAL: u32 = 1; // VK_MEMORY_HEAP_DEVICE_LOCAL_BIT
    // SAFETY: both calls read properties of an adapter that lives as long as they take; nothing is changed.
    #[allow(unsafe_code)]
    let properties = unsafe {
        let vulkan = adapter.as_hal::<wgpu::hal::api::Vulkan>()?;
        let instance = vulkan.shared_instance().raw_instance();
        instance.get_physical_device_memory_properties(vulkan.raw_physical_device())
    };
    let heaps = properties.memory_heaps.iter();
    let heaps = heaps.take(properties.memory_heap_count as usize);
    let own = heaps.filter(|heap| heap.flags.as_raw() & DEVICE_LOCAL != 0);
    own.map(|heap| heap.size).max()
}

#[cfg(not(any(target_os = "linux", target_os = "android", windows)))]
fn memory(_adapter: &wgpu::Adapter) -> Option<u64> {
    None
}

/// Opens a device with those abilities that `options` ask for and the adapter has, and its full limits.
pub(super) async fn open(adapter: &wgpu::Adapter, options: &Options) -> Result<Context> {
    let wanted = options.features;
    let mut features = wgpu::Features::empty();
    features.set(wgpu::Features::TIMESTAMP_QUERY, options.profile);
    features.set(wgpu::Features::PIPELINE_CACHE, options.cache.is_some());
    features.set(wgpu::Features::SUBGROUP, wanted.subgroup);
    features.set(wgpu::Features::SHADER_F16, wanted.f16);
    features.set(wgpu::Features::SHADER_INT64, wanted.int64);
    features.set(wgpu::Features::SHADER_I16, wanted.int16);
    let immediates = options.immediates && params::possible(adapter);
    features.set(wgpu::Features::IMMEDIATES, immediates);
    let matrix = wanted.matrix && matrices(adapter);
    features.set(MATRICES, matrix);
    // SAFETY: the experimental feature is cooperative matrices alone; their kernels are cross-checked like all others.
    #[allow(unsafe_code)]
    let experimental_features = match matrix {
        true => unsafe { wgpu::ExperimentalFeatures::enabled() },
        false => wgpu::ExperimentalFeatures::disabled(),
    };
    // a loaded model takes less memory with these blocks than with either of wgpu's own hints, at the same speed
    let (smallest, largest) = options.tuning.unwrap_or_default().memory_blocks;
    let descriptor = wgpu::DeviceDescriptor {
        label: Some("fairy2i-gpu"),
        required_features: features & adapter.features(),
        required_limits: limits(adapter),
        memory_hints: wgpu::MemoryHints::Manual {
            suballocated_device_memory_block_size: smallest..largest,
        },
        experimental_features,
        ..Default::default()
    };
    let (device, queue) = adapter.request_device(&descriptor).await.map_err(|error| {
        Error::device(
            format!("{}: {error}", adapter.get_info().name),
            "choose another device, or the CPU backend",
        )
    })?;
    let faults = Faults::listen(&device);
    Ok(Context {
        device,
        queue,
        faults,
    })
}
