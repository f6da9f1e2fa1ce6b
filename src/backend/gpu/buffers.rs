//! Storage buffers, and how much memory they hold together.

use super::context::Context;
use crate::error::Result;
use std::cell::Cell;
use std::rc::Rc;

/// A storage buffer. Dropping it frees its memory once the device is done with it.
pub struct GpuBuffer {
    pub(super) buffer: wgpu::Buffer,
    pub(super) words: usize,
    pub(super) id: u64,
    shared: Rc<Shared>,
}

/// State that buffers share with the device that made them.
#[derive(Default)]
struct Shared {
    /// Whether one was dropped since [`Buffers::take_dropped`].
    dropped: Cell<bool>,
    /// Bytes of all buffers that there are.
    bytes: Cell<u64>,
}

impl Drop for GpuBuffer {
    fn drop(&mut self) {
        self.shared.dropped.set(true);
        let bytes = self.shared.bytes.get() - self.buffer.size();
        self.shared.bytes.set(bytes);
    }
}

/// All storage buffers of a device.
#[derive(Default)]
pub(super) struct Buffers {
    shared: Rc<Shared>,
    next_id: Cell<u64>,
}

impl Buffers {
    /// A buffer of `bytes` zero bytes, which `words` words of a caller lie in.
    pub(super) fn create(
        &self,
        context: &Context,
        label: &str,
        words: usize,
        bytes: u64,
    ) -> Result<GpuBuffer> {
        let buffer = context.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: bytes,
            usage: wgpu::BufferUsages::STORAGE
                | wgpu::BufferUsages::COPY_DST
                | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        })?;
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        self.shared.bytes.set(self.bytes() + bytes);
        Ok(GpuBuffer {
            buffer,
            words,
            id,
            shared: self.shared.clone(),
        })
    }

    /// Bytes of all buffers that there are.
    pub(super) fn bytes(&self) -> u64 {
        self.shared.bytes.get()
    }

    /// Whether a buffer was dropped since the last call.
    pub(super) fn take_dropped(&self) -> bool {
        self.shared.dropped.replace(false)
    }
}
