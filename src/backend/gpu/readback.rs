//! Results on their way back to the host.

use super::buffers::GpuBuffer;
use super::context::Context;
use super::recording::Recorder;
use crate::error::{Error, Result};
use std::cell::RefCell;
use std::collections::VecDeque;

/// Smallest staging buffer in bytes.
const LEAST: u64 = 4096;

/// State that reading back keeps from one time to the next.
#[derive(Default)]
pub(super) struct Readbacks {
    /// A staging buffer that nobody uses.
    spare: RefCell<Option<wgpu::Buffer>>,
    /// Submissions whose results somebody waits for, in their order; none in browsers, which wake readers themselves.
    awaited: RefCell<VecDeque<wgpu::SubmissionIndex>>,
}

/// Words on their way.
pub(super) struct Asked {
    staging: wgpu::Buffer,
    bytes: u64,
    /// Hears when they are there.
    mapped: oneshot::Receiver<bool>,
    /// How many submissions there were with theirs.
    submissions: u64,
}

fn lost() -> Error {
    Error::device(
        "GPU, reading back: the buffer could not be mapped",
        "try again, or use the CPU backend",
    )
}

impl Readbacks {
    fn staging(&self, context: &Context, bytes: u64) -> Result<wgpu::Buffer> {
        let spare = self.spare.take();
        if let Some(spare) = spare.filter(|b| b.size() >= bytes) {
            return Ok(spare);
        }
        context.create_buffer(&wgpu::BufferDescriptor {
            label: Some("readback"),
            size: bytes.max(LEAST),
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        })
    }

    /// Submits everything recorded and a copy of `len` words from `offset` on.
    pub(super) fn ask_for(
        &self,
        (context, recorder): (&Context, &Recorder),
        buffer: &GpuBuffer,
        offset: usize,
        len: usize,
    ) -> Result<Asked> {
        let bytes = len as u64 * 4;
        let staging = self.staging(context, bytes)?;
        let mut encoder = context.create_encoder();
        encoder.copy_buffer_to_buffer(&buffer.buffer, offset as u64 * 4, &staging, 0, bytes);
        let submission = recorder.submit(context, Some(encoder.finish()));
        if cfg!(not(target_arch = "wasm32")) {
            self.awaited.borrow_mut().extend(submission);
        }
        let mapped = Context::map(&staging, wgpu::MapMode::Read, bytes);
        Ok(Asked {
            staging,
            bytes,
            mapped,
            submissions: recorder.submissions(),
        })
    }

    /// Waits for the copy; more may have been recorded meanwhile.
    pub(super) async fn read_back(
        &self,
        (context, recorder): (&Context, &Recorder),
        asked: Asked,
    ) -> Result<Vec<u32>> {
        let Asked { staging, bytes, .. } = asked;
        // wake-ups come from `wait` on native targets and from the event loop in browsers
        let mapped = asked.mapped.await == Ok(true);
        recorder.awaited(asked.submissions);
        context.faults.check("reading back")?;
        if !mapped {
            return Err(lost());
        }
        let words = {
            let view = staging.get_mapped_range(..bytes).map_err(|_| lost())?;
            bytemuck::pod_collect_to_vec(&view)
        };
        staging.unmap();
        self.spare.replace(Some(staging));
        Ok(words)
    }

    /// Blocks until the device has done the submission that the oldest reader waits for, or everything if nobody does.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn wait(&self, context: &Context) -> Result<()> {
        let oldest = self.awaited.borrow_mut().pop_front();
        let polled = context.device.poll(wgpu::PollType::Wait {
            submission_index: oldest,
            timeout: None,
        });
        context.faults.check("waiting")?;
        polled.map(|_| ()).map_err(|error| {
            Error::device(
                format!("GPU, waiting: {error}"),
                "try again, or use the CPU backend",
            )
        })
    }
}
