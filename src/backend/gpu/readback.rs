//! Results on their way back to the host.

use super::signal::Signal;
use super::{Gpu, GpuBuffer};
use crate::error::{Error, Result};
use std::collections::VecDeque;

/// Smallest staging buffer in bytes.
const LEAST: u64 = 4096;

/// What reading back needs from one time to the next.
#[derive(Default)]
pub(super) struct Readbacks {
    /// A staging buffer that nobody uses.
    spare: Option<wgpu::Buffer>,
    /// Submissions whose results somebody waits for, in their order; none in browsers, which wake readers themselves.
    awaited: VecDeque<wgpu::SubmissionIndex>,
}

/// Words on their way.
pub(super) struct Asked {
    staging: wgpu::Buffer,
    bytes: u64,
    /// Raised when they are there.
    signal: Signal,
    /// How many submissions there were with theirs.
    submissions: u64,
}

fn lost() -> Error {
    Error::device(
        "GPU, reading back: the buffer could not be mapped",
        "try again, or use the CPU backend",
    )
}

impl Gpu {
    fn staging(&self, bytes: u64) -> Result<wgpu::Buffer> {
        let spare = self.readbacks.borrow_mut().spare.take();
        if let Some(spare) = spare.filter(|b| b.size() >= bytes) {
            return Ok(spare);
        }
        self.create_buffer(&wgpu::BufferDescriptor {
            label: Some("readback"),
            size: bytes.max(LEAST),
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        })
    }

    /// Submits everything recorded and a copy of `len` words from `offset` on.
    pub(super) fn ask_for(&self, buffer: &GpuBuffer, offset: usize, len: usize) -> Result<Asked> {
        let bytes = len as u64 * 4;
        let staging = self.staging(bytes)?;
        let mut encoder = self.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(&buffer.buffer, offset as u64 * 4, &staging, 0, bytes);
        let submission = self.submit(Some(encoder.finish()));
        let submissions = self.recording.borrow().submissions;
        if cfg!(not(target_arch = "wasm32")) {
            self.readbacks.borrow_mut().awaited.extend(submission);
        }
        let signal = Signal::default();
        let raised = signal.clone();
        staging.map_async(wgpu::MapMode::Read, ..bytes, move |r| {
            raised.raise(r.is_ok())
        });
        Ok(Asked {
            staging,
            bytes,
            signal,
            submissions,
        })
    }

    /// Waits for the copy; more may have been recorded meanwhile.
    pub(super) async fn read_back(&self, asked: Asked) -> Result<Vec<u32>> {
        let Asked { staging, bytes, .. } = asked;
        // wake-ups come from `wait` on native targets and from the event loop in browsers
        let mapped = asked.signal.await;
        self.recording.borrow_mut().awaited(asked.submissions);
        self.faults.check("reading back")?;
        if !mapped {
            return Err(lost());
        }
        let words = {
            let view = staging.get_mapped_range(..bytes).map_err(|_| lost())?;
            bytemuck::pod_collect_to_vec(&view)
        };
        staging.unmap();
        self.readbacks.borrow_mut().spare = Some(staging);
        Ok(words)
    }

    /// Blocks until the device has done what the oldest reader waits for, or everything if nobody does.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn wait_for_readback(&self) -> Result<()> {
        let oldest = self.readbacks.borrow_mut().awaited.pop_front();
        let polled = self.device.poll(wgpu::PollType::Wait {
            submission_index: oldest,
            timeout: None,
        });
        self.faults.check("waiting")?;
        polled.map(|_| ()).map_err(|error| {
            Error::device(
                format!("GPU, waiting: {error}"),
                "try again, or use the CPU backend",
            )
        })
    }
}
