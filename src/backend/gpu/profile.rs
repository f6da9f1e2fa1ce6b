//! The device's own clock: when each dispatch began and ended.

use super::context::Context;
use crate::backend::backend::Timing;
use crate::error::{Error, Result};
use crate::ops::Op;

/// Bytes of a timestamp.
const STAMP: u64 = 8;
/// Timestamps of a submission: as many as WebGPU has in a set.
const STAMPS: u32 = wgpu::QUERY_SET_MAX_QUERIES;

/// Dispatches that are timed, those of the open submission and those before.
pub(super) struct Profile {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    /// Nanoseconds of a tick.
    period: f64,
    scope: String,
    open: Vec<Timing>,
    done: Vec<Timed>,
}

/// A submission's dispatches, and the buffer that gets their timestamps.
pub(super) struct Timed {
    timings: Vec<Timing>,
    stamps: wgpu::Buffer,
    period: f64,
}

impl Profile {
    /// `None` where the device was opened without [`super::options::Options::profile`] or has no timestamps.
    pub(super) fn new(context: &Context) -> Option<Self> {
        let device = &context.device;
        if !device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            return None;
        }
        Some(Self {
            queries: device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("profile"),
                ty: wgpu::QueryType::Timestamp,
                count: STAMPS,
            }),
            resolved: device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("profile"),
                size: u64::from(STAMPS) * STAMP,
                usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
                mapped_at_creation: false,
            }),
            period: f64::from(context.queue.get_timestamp_period()),
            scope: String::new(),
            open: Vec::new(),
            done: Vec::new(),
        })
    }

    /// Names the scope of the next dispatches.
    pub(super) fn scope(&mut self, name: String) {
        self.scope = name;
    }

    /// The next dispatch is one of `op`.
    pub(super) fn next<O: Op>(&mut self, op: &O) {
        self.open.push(Timing {
            op: O::NAME,
            scope: self.scope.clone(),
            cost: op.cost(),
            nanoseconds: 0.0,
        });
    }

    /// Whether there is no timestamp left for another dispatch of this submission.
    pub(super) fn full(&self) -> bool {
        2 * self.open.len() as u32 >= STAMPS
    }

    /// Where the pass of the dispatch noted last writes its times.
    pub(super) fn pass_writes(&self) -> Option<wgpu::ComputePassTimestampWrites<'_>> {
        let last = self.open.len().checked_sub(1)? as u32;
        Some(wgpu::ComputePassTimestampWrites {
            query_set: &self.queries,
            beginning_of_pass_write_index: Some(2 * last),
            end_of_pass_write_index: Some(2 * last + 1),
        })
    }

    /// Ends a submission: its timestamps go into a buffer of their own, to be read later.
    pub(super) fn resolve(&mut self, device: &wgpu::Device, encoder: &mut wgpu::CommandEncoder) {
        if self.open.is_empty() {
            return;
        }
        let count = 2 * self.open.len() as u32;
        let bytes = u64::from(count) * STAMP;
        let stamps = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("timestamps"),
            size: bytes,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        encoder.resolve_query_set(&self.queries, 0..count, &self.resolved, 0);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, &stamps, 0, bytes);
        self.done.push(Timed {
            timings: std::mem::take(&mut self.open),
            stamps,
            period: self.period,
        });
    }

    /// All submissions since the last call.
    pub(super) fn take(&mut self) -> Vec<Timed> {
        std::mem::take(&mut self.done)
    }
}

/// Waits for the timestamps and reads them.
pub(super) async fn read(context: &Context, submissions: Vec<Timed>) -> Result<Vec<Timing>> {
    let mut all = Vec::new();
    for timed in submissions {
        let (stamps, bytes) = (&timed.stamps, timed.stamps.size());
        let mapped = Context::map(stamps, wgpu::MapMode::Read, bytes).await == Ok(true);
        context.faults.check("reading timestamps")?;
        let view = stamps.get_mapped_range(..).ok().filter(|_| mapped);
        let Some(view) = view else {
            return Err(Error::device(
                "GPU, reading timestamps: the buffer could not be mapped",
                "try again without profiling",
            ));
        };
        let stamps: Vec<u64> = bytemuck::pod_collect_to_vec(&view);
        for (mut timing, times) in timed.timings.into_iter().zip(stamps.chunks_exact(2)) {
            timing.nanoseconds = times[1].saturating_sub(times[0]) as f64 * timed.period;
            all.push(timing);
        }
    }
    Ok(all)
}
