//! An open device with its queue and the errors that it reports: what everything else in this folder works on.

use super::faults::Faults;
use crate::error::Result;

/// An open device.
pub(super) struct Context {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub faults: Faults,
}

impl Context {
    /// A buffer. If there is no memory for it, that is the error of this call alone.
    pub(super) fn create_buffer(
        &self,
        descriptor: &wgpu::BufferDescriptor<'_>,
    ) -> Result<wgpu::Buffer> {
        let label = descriptor.label.unwrap_or("buffer");
        let doing = || format!("allocating {} bytes for `{label}`", descriptor.size);
        let make = || self.device.create_buffer(descriptor);
        self.faults.scoped(&self.device, &doing, make)
    }

    /// A list of commands, empty yet.
    pub(super) fn create_encoder(&self) -> wgpu::CommandEncoder {
        self.device.create_command_encoder(&Default::default())
    }

    /// Maps the first `bytes` of a buffer; the receiver hears whether that worked.
    pub(super) fn map(
        buffer: &wgpu::Buffer,
        mode: wgpu::MapMode,
        bytes: u64,
    ) -> oneshot::Receiver<bool> {
        let (sender, receiver) = oneshot::channel();
        buffer.map_async(mode, ..bytes, move |result| {
            // nobody listens any more where the future that waits was dropped
            let _ = sender.send(result.is_ok());
        });
        receiver
    }
}
