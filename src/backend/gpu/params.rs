//! How parameters reach kernels: as immediates, which travel with the commands, where the adapter has them; else in
//! slots of a uniform buffer, written before each submission.
//!
//! A kernel that waits for its uniform block starts late, so that immediates make decoding faster.

/// Dispatches of a submission at most, and slots for their parameters.
pub(super) const MOST_DISPATCHES: usize = 8192;

/// Bytes of the uniform slot of one dispatch: the largest alignment WebGPU may ask for.
pub(super) const SLOT: u64 = 256;

/// Bytes of immediates: as many as every Vulkan device has; the parameters of every kernel fit.
pub(super) const IMMEDIATES: u32 = 128;

/// What all kernels declare.
const UNIFORM: &str = "@group(0) @binding(0) var<uniform> p: Params;";

/// Whether an adapter can hand over all parameters as immediates. Browsers would ask for another text.
pub(super) fn possible(adapter: &wgpu::Adapter) -> bool {
    !cfg!(target_arch = "wasm32")
        && adapter.features().contains(wgpu::Features::IMMEDIATES)
        && adapter.limits().max_immediate_size >= IMMEDIATES
}

/// Whether a device does.
pub(super) fn immediate(device: &wgpu::Device) -> bool {
    device.features().contains(wgpu::Features::IMMEDIATES)
}

/// The kernel with its parameters declared as they come.
pub(in crate::backend) fn declare(source: String, immediate: bool) -> String {
    match immediate {
        true => source.replace(UNIFORM, "var<immediate> p: Params;"),
        false => source,
    }
}

/// The buffer of all slots of a submission.
pub(super) fn uniforms(device: &wgpu::Device) -> wgpu::Buffer {
    device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("uniforms"),
        size: MOST_DISPATCHES as u64 * SLOT,
        usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    })
}
