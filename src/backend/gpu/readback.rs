//! Results on their way back to the host.

use super::buffers::GpuBuffer;
use super::context::Context;
use super::recording::Recorder;
use crate::error::{Error, Result};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::Range;

/// Smallest staging buffer in bytes.
const LEAST: u64 = 4096;

/// State that reading back keeps from one time to the next.
#[derive(Default)]
pub(super) struct Readbacks {
    /// Staging buffers that nobody uses: as many as were in use at once.
    spares: RefCell<Vec<wgpu::Buffer>>,
    /// Submissions whose results somebody waits for, in their order; none in browsers, which wake readers themselves.
    awaited: RefCell<VecDeque<wgpu::SubmissionIndex>>,
}

/// Words on their way.
pub struct GpuAsked {
    words: usize,
    /// None where nothing is copied: words that are then read are zeros.
    copy: Option<Copy>,
}

struct Copy {
    staging: wgpu::Buffer,
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
    /// The smallest spare that suffices. Where none does, a new buffer takes the place of the largest.
    fn staging(&self, context: &Context, bytes: u64) -> Result<wgpu::Buffer> {
        let mut spares = self.spares.borrow_mut();
        let fitting = spares.iter().enumerate().filter(|(_, b)| b.size() >= bytes);
        if let Some((i, _)) = fitting.min_by_key(|(_, b)| b.size()) {
            return Ok(spares.swap_remove(i));
        }
        let all = spares.iter().enumerate();
        if let Some((i, _)) = all.max_by_key(|(_, b)| b.size()) {
            spares.swap_remove(i);
        }
        context.create_buffer(&wgpu::BufferDescriptor {
            label: Some("readback"),
            size: bytes.max(LEAST),
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        })
    }

    /// Submits everything recorded and copies of runs of words, unless `nothing` is run.
    pub(super) fn ask(
        &self,
        (context, recorder): (&Context, &Recorder),
        runs: &[(&GpuBuffer, Range<usize>)],
        nothing: bool,
    ) -> Result<GpuAsked> {
        let words = runs.iter().map(|(_, run)| run.len()).sum();
        if nothing || words == 0 {
            return Ok(GpuAsked { words, copy: None });
        }
        let staging = self.staging(context, words as u64 * 4)?;
        let (mut encoder, mut place) = (context.create_encoder(), 0);
        for (buffer, run) in runs {
            let (first, bytes) = (run.start as u64 * 4, run.len() as u64 * 4);
            encoder.copy_buffer_to_buffer(&buffer.buffer, first, &staging, place, bytes);
            place += bytes;
        }
        let submission = recorder.submit(context, Some(encoder.finish()));
        if cfg!(not(target_arch = "wasm32")) {
            self.awaited.borrow_mut().extend(submission);
        }
        let mapped = Context::map(&staging, wgpu::MapMode::Read, place);
        let copy = Some(Copy {
            staging,
            mapped,
            submissions: recorder.submissions(),
        });
        Ok(GpuAsked { words, copy })
    }

    /// Waits for the copy, and reads it; more may have been recorded meanwhile.
    pub(super) async fn answer<T>(
        &self,
        (context, recorder): (&Context, &Recorder),
        asked: GpuAsked,
        read: impl FnOnce(&[u32]) -> T,
    ) -> Result<T> {
        let words = asked.words;
        let Some(copy) = asked.copy else {
            return Ok(read(&vec![0; words]));
        };
        // wake-ups come from `wait` on native targets and from the event loop in browsers
        let mapped = copy.mapped.await == Ok(true);
        recorder.awaited(copy.submissions);
        context.faults.check("reading back")?;
        if !mapped {
            return Err(lost());
        }
        let staging = copy.staging;
        let done = {
            let view = staging.get_mapped_range(..words as u64 * 4);
            let view = view.map_err(|_| lost())?;
            match bytemuck::try_cast_slice(&view) {
                Ok(words) => read(words),
                Err(_) => read(&bytemuck::pod_collect_to_vec::<u8, u32>(&view)), // in browsers, a copy with any alignment
            }
        };
        staging.unmap();
        self.spares.borrow_mut().push(staging);
        Ok(done)
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
