//! Dispatches on their way to the device: recorded one after the other, submitted together.

use super::context::Context;
use super::params::{MOST_DISPATCHES, SLOT};
use super::pipeline::Pipeline;
use super::profile::{Profile, Timed};
use crate::backend::tuning::Tuning;
use crate::ops::{Cost, Op};
use std::cell::RefCell;

/// The dispatches that were recorded since the last submission.
#[derive(Default)]
struct Recording {
    encoder: Option<wgpu::CommandEncoder>,
    pass: Option<wgpu::ComputePass<'static>>,
    dispatches: usize,
    /// Their parameters, [`SLOT`] bytes each, where they are not immediates.
    slots: Vec<u8>,
    /// Bytes and operations.
    work: f64,
    /// Submissions so far.
    submissions: u64,
    /// Doublings of the first submission since the device was idle.
    doublings: u32,
}

impl Recording {
    /// Dispatches to gather before the next submission. Each submission costs the device a pause, so they grow while
    /// it has enough to do.
    fn burst(&self, first: usize) -> usize {
        (first << self.doublings).min(MOST_DISPATCHES)
    }

    /// A submission went out because it was full.
    fn longer(&mut self, first: usize) {
        self.doublings = (self.doublings + 1).min((MOST_DISPATCHES / first).ilog2());
    }
}

/// Records dispatches, and times them if asked to.
pub(super) struct Recorder {
    recording: RefCell<Recording>,
    profile: RefCell<Option<Profile>>,
    /// Slots for parameters; `None` where they are immediates.
    uniforms: Option<wgpu::Buffer>,
}

impl Recorder {
    /// Nothing is recorded yet; parameters go into `uniforms`, or are immediates.
    pub(super) fn new(uniforms: Option<wgpu::Buffer>) -> Self {
        Self {
            recording: RefCell::default(),
            profile: RefCell::new(None),
            uniforms,
        }
    }

    /// Slots for parameters.
    pub(super) fn uniforms(&self) -> Option<&wgpu::Buffer> {
        self.uniforms.as_ref()
    }

    /// Begins to time dispatches, or stops. Whether the device can do what was asked.
    pub(super) fn profile(&self, context: &Context, on: bool) -> bool {
        let mut profile = self.profile.borrow_mut();
        *profile = on.then(|| Profile::new(context)).flatten();
        on == profile.is_some()
    }

    /// Names the scope of the next dispatches, if they are timed.
    pub(super) fn scope(&self, name: &dyn Fn() -> String) {
        if let Some(profile) = &mut *self.profile.borrow_mut() {
            profile.scope(name());
        }
    }

    /// The timed submissions since the last call.
    pub(super) fn timed(&self) -> Vec<Timed> {
        let mut profile = self.profile.borrow_mut();
        profile.as_mut().map(Profile::take).unwrap_or_default()
    }

    /// Records a dispatch of `op`.
    pub(super) fn record<O: Op>(
        &self,
        context: &Context,
        op: &O,
        (pipeline, group): (&Pipeline, &wgpu::BindGroup),
        [x, y, z]: [u32; 3],
    ) {
        if let Some(profile) = &mut *self.profile.borrow_mut() {
            profile.next::<O>(op);
        }
        let params = op.params();
        let params = bytemuck::bytes_of(&params);
        let mut recording = self.recording.borrow_mut();
        let recording = &mut *recording;
        recording.dispatches += 1;
        let encoder = recording
            .encoder
            .get_or_insert_with(|| context.create_encoder());
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
        pass.dispatch_workgroups(x, y, z);
        if profiling {
            recording.pass = None; // a pass each: their begins and ends are what devices can time
        }
    }

    /// Counts the work of the dispatch that was recorded last. Whether all of them should be submitted now.
    pub(super) fn full(&self, cost: Cost, tuning: &Tuning) -> bool {
        let mut recording = self.recording.borrow_mut();
        recording.work += cost.bytes + cost.ops;
        let timed = self.profile.borrow().as_ref().is_some_and(Profile::full);
        let full = timed
            || recording.dispatches >= recording.burst(tuning.first_submission)
            || recording.work > tuning.submission_work;
        if full {
            recording.longer(tuning.first_submission);
        }
        full
    }

    /// Ends the open pass, if any, and submits it with its parameters, then `extra`.
    pub(super) fn submit(
        &self,
        context: &Context,
        extra: Option<wgpu::CommandBuffer>,
    ) -> Option<wgpu::SubmissionIndex> {
        let mut recording = self.recording.take();
        let mut commands = Vec::new();
        drop(recording.pass.take());
        if let Some(mut encoder) = recording.encoder.take() {
            if let Some(profile) = &mut *self.profile.borrow_mut() {
                profile.resolve(&context.device, &mut encoder);
            }
            if let Some(uniforms) = &self.uniforms {
                context.queue.write_buffer(uniforms, 0, &recording.slots);
            }
            commands.push(encoder.finish());
        }
        commands.extend(extra);
        let submission = (!commands.is_empty()).then(|| context.queue.submit(commands));
        recording.slots.clear();
        let mut next = self.recording.borrow_mut();
        next.slots = recording.slots; // keeps its memory
        next.doublings = recording.doublings;
        next.submissions = recording.submissions + u64::from(submission.is_some());
        submission
    }

    /// Submissions so far.
    pub(super) fn submissions(&self) -> u64 {
        self.recording.borrow().submissions
    }

    /// The device has done the first `submissions`; if there are no others, it is idle.
    pub(super) fn awaited(&self, submissions: u64) {
        let mut recording = self.recording.borrow_mut();
        if submissions == recording.submissions {
            recording.doublings = 0;
        }
    }
}
