//! Uploads through a ring of mapped staging buffers: while the device copies one piece, the host writes the next.

use super::buffers::GpuBuffer;
use super::context::Context;
use crate::backend::fill::Fill;
use crate::error::{Error, Result};
use std::collections::VecDeque;

/// Words above which an upload goes through the ring; a shorter one is copied by the driver's own means.
pub(super) const SHORT: usize = 64 << 10;
/// Bytes of one staging buffer: a fraction of a millisecond on the bus.
const PIECE: u64 = 8 << 20;
/// Staging buffers; together they bound the memory of uploads, 64 MiB.
const DEPTH: usize = 8;

/// Staging buffers, those that the device reads first in front.
#[derive(Default)]
pub(super) struct Ring {
    flying: VecDeque<Flying>,
}

/// A staging buffer that is mapped again once the device has read it.
struct Flying {
    buffer: wgpu::Buffer,
    submission: wgpu::SubmissionIndex,
    mapped: oneshot::Receiver<bool>,
}

impl Ring {
    /// A mapped staging buffer of at least `bytes`: a new one while the ring grows, else the oldest.
    fn take(&mut self, context: &Context, bytes: u64) -> Result<wgpu::Buffer> {
        if self.flying.len() < DEPTH {
            return create(context, bytes);
        }
        let Some(oldest) = self.flying.pop_front() else {
            return create(context, bytes);
        };
        let until = wgpu::PollType::Wait {
            submission_index: Some(oldest.submission),
            timeout: None,
        };
        let polled = context.device.poll(until);
        context.faults.check("uploading")?;
        polled.map_err(|error| failed(&error.to_string()))?;
        if oldest.mapped.try_recv() != Ok(true) {
            return Err(failed("a staging buffer could not be mapped"));
        }
        if oldest.buffer.size() < bytes {
            return create(context, bytes);
        }
        Ok(oldest.buffer)
    }

    /// Overwrites words of `buffer` from `offset` on with the words that `fill` writes.
    pub(super) fn upload(
        &mut self,
        context: &Context,
        buffer: &GpuBuffer,
        offset: usize,
        fill: &Fill<'_>,
    ) -> Result<()> {
        let (all, piece) = (fill.words(), fill.whole_rows(PIECE as usize / 4));
        for first in (0..all).step_by(piece) {
            let words = piece.min(all - first);
            let bytes = words as u64 * 4;
            let staging = self.take(context, bytes)?;
            {
                let mut view = staging
                    .slice(..bytes)
                    .get_mapped_range_mut()
                    .map_err(|error| failed(&error.to_string()))?;
                write(fill, first, view.slice(..));
            }
            staging.unmap();
            let mut encoder = context.create_encoder();
            let dst = (offset + first) as u64 * 4;
            encoder.copy_buffer_to_buffer(&staging, 0, &buffer.buffer, dst, bytes);
            let submission = context.queue.submit([encoder.finish()]);
            let mapped = Context::map(&staging, wgpu::MapMode::Write, staging.size());
            self.flying.push_back(Flying {
                buffer: staging,
                submission,
                mapped,
            });
        }
        context.faults.check("uploading")
    }
}

/// A mapped staging buffer.
fn create(context: &Context, bytes: u64) -> Result<wgpu::Buffer> {
    context.create_buffer(&wgpu::BufferDescriptor {
        label: Some("staging"),
        size: bytes.max(PIECE),
        usage: wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC,
        mapped_at_creation: true,
    })
}

fn failed(what: &str) -> Error {
    Error::device(
        format!("GPU, uploading: {what}"),
        "try again, or use the CPU backend",
    )
}

/// A block of mapped memory.
struct Mapped<'a>(wgpu::WriteOnly<'a, [u8]>);

// SAFETY: like `&mut [u8]`, it is the only way to these bytes, and bytes may be written from any thread. (wgpu says so
// for elements, and leaves slices out.)
#[allow(unsafe_code)]
unsafe impl Send for Mapped<'_> {}

/// Writes the words from `first` on into mapped memory. Each block is made in a core's cache and copied from there:
/// mapped memory may be slow to read and is fastest when written in one go.
fn write(fill: &Fill<'_>, first: usize, mut dst: wgpu::WriteOnly<'_, [u8]>) {
    let block = fill.block();
    let mut blocks = Vec::new();
    while !dst.is_empty() {
        let size = dst.len().min(block * 4);
        let Some(bytes) = dst.split_off(..size) else {
            break; // `size` is within its length
        };
        blocks.push((first + blocks.len() * block, Mapped(bytes)));
    }
    let copy = |block: &mut Vec<u32>, (first, mut dst): (usize, Mapped<'_>)| {
        block.resize(dst.0.len() / 4, 0);
        fill.block_at(first, block);
        dst.0.copy_from_slice(bytemuck::cast_slice(block));
    };
    #[cfg(feature = "threads")]
    {
        use rayon::prelude::*;
        blocks.into_par_iter().for_each_init(Vec::new, copy);
    }
    #[cfg(not(feature = "threads"))]
    {
        let mut staging = Vec::new();
        for block in blocks {
            copy(&mut staging, block);
        }
    }
}
