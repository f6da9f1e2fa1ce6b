//! Dispatches on their way to the device: recorded one after the other, submitted together.

use super::params::SLOT;
use super::pipeline::Pipeline;
use super::profile::Profile;
use super::{Gpu, MOST};

/// What was recorded since the last submission.
#[derive(Default)]
pub(super) struct Recording {
    encoder: Option<wgpu::CommandEncoder>,
    pass: Option<wgpu::ComputePass<'static>>,
    /// How many.
    pub dispatches: usize,
    /// Their parameters, [`SLOT`] bytes each, where they are not immediates.
    slots: Vec<u8>,
    /// Bytes and operations.
    pub work: f64,
    /// Submissions so far.
    pub submissions: u64,
    /// Doublings of the first submission since the device was idle.
    doublings: u32,
}

impl Recording {
    /// Dispatches to gather before the next submission. Each submission costs the device a pause, so they grow while
    /// it has enough to do.
    pub fn burst(&self, first: usize) -> usize {
        (first << self.doublings).min(MOST)
    }

    /// A submission went out because it was full.
    pub fn longer(&mut self, first: usize) {
        self.doublings = (self.doublings + 1).min((MOST / first).ilog2());
    }

    /// The device has done the first `submissions`; if there are no others, it is idle.
    pub fn awaited(&mut self, submissions: u64) {
        if submissions == self.submissions {
            self.doublings = 0;
        }
    }
}

impl Gpu {
    /// Records a dispatch.
    pub(super) fn record(
        &self,
        pipeline: &Pipeline,
        group: &wgpu::BindGroup,
        params: &[u8],
        grid: [u32; 3],
    ) {
        let mut recording = self.recording.borrow_mut();
        let recording = &mut *recording;
        recording.dispatches += 1;
        let encoder = recording
            .encoder
            .get_or_insert_with(|| self.device.create_command_encoder(&Default::default()));
        let profile = self.profile.borrow();
        let timed = profile.as_ref().and_then(Profile::pass_writes);
        let profiling = timed.is_some();
        let pass = recording.pass.get_or_insert_with(|| {
            let descriptor = wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes: timed,
            };
            encoder.begin_compute_pass(&descriptor).forget_lifetime()
        });
        pass.set_pipeline(&pipeline.pipeline);
        if self.uniforms.is_some() {
            let offset = recording.slots.len();
            recording.slots.extend_from_slice(params);
            recording.slots.resize(offset + SLOT as usize, 0);
            pass.set_bind_group(0, group, &[offset as u32]);
        } else {
            pass.set_bind_group(0, group, &[]);
            pass.set_immediates(0, params);
        }
        let [x, y, z] = grid;
        pass.dispatch_workgroups(x, y, z);
        if profiling {
            recording.pass = None; // a pass each: their begins and ends are what devices can time
        }
    }

    /// Ends the open pass, if any, and submits it with its parameters, then `extra`.
    pub(super) fn submit(
        &self,
        extra: Option<wgpu::CommandBuffer>,
    ) -> Option<wgpu::SubmissionIndex> {
        let mut recording = self.recording.take();
        let mut commands = Vec::new();
        drop(recording.pass.take());
        if let Some(mut encoder) = recording.encoder.take() {
            if let Some(profile) = &mut *self.profile.borrow_mut() {
                profile.resolve(&self.device, &mut encoder);
            }
            if let Some(uniforms) = &self.uniforms {
                self.queue.write_buffer(uniforms, 0, &recording.slots);
            }
            commands.push(encoder.finish());
        }
        commands.extend(extra);
        let submission = (!commands.is_empty()).then(|| self.queue.submit(commands));
        recording.slots.clear();
        let mut next = self.recording.borrow_mut();
        next.slots = recording.slots; // keeps its memory
        next.doublings = recording.doublings;
        next.submissions = recording.submissions + u64::from(submission.is_some());
        submission
    }
}
