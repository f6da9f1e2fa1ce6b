//! wgpu reports errors through callbacks (and panics without them): here they become our error type.

use crate::error::{Error, Result};
use std::sync::{Arc, Mutex, PoisonError};

/// The first fault a device reported, shared with its callbacks.
#[derive(Clone, Default)]
pub(super) struct Faults(Arc<Mutex<Option<String>>>);

impl Faults {
    /// Listens to everything `device` may report.
    pub fn listen(device: &wgpu::Device) -> Self {
        let faults = Self::default();
        let uncaptured = faults.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            uncaptured.report(match error {
                wgpu::Error::OutOfMemory { .. } => "out of device memory".into(),
                other => one_line(&other.to_string()),
            });
        }));
        let lost = faults.clone();
        device.set_device_lost_callback(move |reason, message| {
            if reason != wgpu::DeviceLostReason::Destroyed {
                lost.report(format!("the device was lost: {}", one_line(&message)));
            }
        });
        faults
    }

    fn report(&self, what: String) {
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(what);
    }

    /// The first fault, if any; it stays: a faulty device is not used again.
    pub fn check(&self, doing: &str) -> Result<()> {
        let first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match first.as_deref() {
            None => Ok(()),
            Some(what) => Err(Error::device(
                format!("GPU, {doing}: {what}"),
                "use a smaller model or context, or --device cpu",
            )),
        }
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
