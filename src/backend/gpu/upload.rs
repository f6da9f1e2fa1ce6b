//! Uploads through a ring of mapped staging buffers: while the device copies one piece, the host writes the next.

use super::{Gpu, GpuBuffer};
use crate::backend::Fill;
use crate::error::{Error, Result};
use std::collections::VecDeque;

/// Bytes of one staging buffer: a fraction of a millisecond on the bus.
const PIECE: u64 = 8 << 20;
/// Staging buffers; together they bound what uploads hold, 64 MiB.
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
    mapped: super::signal::Signal,
}

impl Ring {
    /// A mapped staging buffer of at least `bytes`: a new one while the ring grows, else the oldest.
    fn take(&mut self, gpu: &Gpu, bytes: u64) -> Result<wgpu::Buffer> {
        if self.flying.len() < DEPTH {
            return create(gpu, bytes);
        }
        let Some(oldest) = self.flying.pop_front() else {
            return create(gpu, bytes);
        };
        let until = wgpu::PollType::Wait {
            submission_index: Some(oldest.submission),
            timeout: None,
        };
        let polled = gpu.device.poll(until);
        gpu.faults.check("uploading")?;
        polled.map_err(|error| failed(&error.to_string()))?;
        if oldest.mapped.raised() != Some(true) {
            return Err(failed("a staging buffer could not be mapped"));
        }
        if oldest.buffer.size() < bytes {
            return create(gpu, bytes);
        }
        Ok(oldest.buffer)
    }
}

/// A mapped staging buffer.
fn create(gpu: &Gpu, bytes: u64) -> Result<wgpu::Buffer> {
    gpu.create_buffer(&wgpu::BufferDescriptor {
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

impl Gpu {
    /// Overwrites words of `buffer` from `offset` on with what `fill` writes.
    pub(super) fn upload_filled(
        &self,
        buffer: &GpuBuffer,
        offset: usize,
        fill: &Fill<'_>,
    ) -> Result<()> {
        self.submit(None); // the write must not overtake what was asked for before
        let (all, piece) = (fill.words(), fill.whole_rows(PIECE as usize / 4));
        let mut ring = self.staging_ring.borrow_mut();
        for first in (0..all).step_by(piece) {
            let words = piece.min(all - first);
            let bytes = words as u64 * 4;
            let staging = ring.take(self, bytes)?;
            {
                let mut view = staging
                    .slice(..bytes)
                    .get_mapped_range_mut()
                    .map_err(|error| failed(&error.to_string()))?;
                write(fill, first, view.slice(..));
            }
            staging.unmap();
            let mut encoder = self.device.create_command_encoder(&Default::default());
            let to = (offset + first) as u64 * 4;
            encoder.copy_buffer_to_buffer(&staging, 0, &buffer.buffer, to, bytes);
            let submission = self.queue.submit([encoder.finish()]);
            let mapped = super::signal::Signal::default();
            let raised = mapped.clone();
            staging.map_async(wgpu::MapMode::Write, .., move |r| raised.raise(r.is_ok()));
            ring.flying.push_back(Flying {
                buffer: staging,
                submission,
                mapped,
            });
        }
        self.faults.check("uploading")
    }
}

/// A block of mapped memory.
struct Mapped<'a>(wgpu::WriteOnly<'a, [u8]>);

// SAFETY: like `&mut [u8]`, it is the only way to these bytes, and bytes may be written from any thread. (wgpu says so
// for elements, and leaves slices out.)
#[allow(unsafe_code)]
unsafe impl Send for Mapped<'_> {}

/// Writes the words from `first` on into mapped memory. Each block is made in a core's cache and copied from there:
/// mapped memory may be slow to read and is fastest when written in one go.
fn write(fill: &Fill<'_>, first: usize, mut to: wgpu::WriteOnly<'_, [u8]>) {
    let block = fill.block();
    let mut blocks = Vec::new();
    while !to.is_empty() {
        let size = to.len().min(block * 4);
        let Some(part) = to.split_off(..size) else {
            break; // `size` is within its length
        };
        blocks.push((first + blocks.len() * block, Mapped(part)));
    }
    let copy = |held: &mut Vec<u32>, (at, mut to): (usize, Mapped<'_>)| {
        held.resize(to.0.len() / 4, 0);
        fill.block_at(at, held);
        to.0.copy_from_slice(bytemuck::cast_slice(held));
    };
    #[cfg(feature = "threads")]
    {
        use rayon::prelude::*;
        blocks.into_par_iter().for_each_init(Vec::new, copy);
    }
    #[cfg(not(feature = "threads"))]
    {
        let mut held = Vec::new();
        for block in blocks {
            copy(&mut held, block);
        }
    }
}
