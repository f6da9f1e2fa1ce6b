//! wgpu reports errors through callbacks (and panics without them): here they become our error type.
//!
//! Buffers, pipelines and bind groups are each created in an error scope of their own, so that a failure is the error of
//! the call that asked for it and of no other, and the device stays usable. A failure outside of a scope is the error of
//! the next call that checks, once. Only a device that is lost stays faulty.

use crate::error::{Error, Result, one_line};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a device reported, shared with its callbacks.
#[derive(Clone, Default)]
pub(super) struct Faults(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Why the device is lost.
    lost: Option<String>,
    /// The first error that no scope caught and nobody has been told of.
    untold: Option<String>,
}

impl Faults {
    /// Listens to everything `device` may report.
    pub(super) fn listen(device: &wgpu::Device) -> Self {
        let faults = Self::default();
        let uncaptured = faults.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            uncaptured.state().untold.get_or_insert(describe(&error));
        }));
        let lost = faults.clone();
        device.set_device_lost_callback(move |reason, message| {
            if reason != wgpu::DeviceLostReason::Destroyed {
                let what = format!("the device was lost: {}", one_line(&message));
                lost.state().lost.get_or_insert(what);
            }
        });
        faults
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An error if the device is lost, or if something failed that nobody has been told of: it is told now, once.
    pub(super) fn check(&self, doing: &str) -> Result<()> {
        let mut state = self.state();
        match state.lost.clone().or_else(|| state.untold.take()) {
            None => Ok(()),
            Some(what) => Err(failed(doing, &what)),
        }
    }

    /// What `make` makes on `device`. If it fails there, that is the error of this call alone.
    ///
    /// Browsers tell later: there an error is that of the next call that looks, but for those of [`Faults::later`].
    pub(super) fn scoped<T>(
        &self,
        device: &wgpu::Device,
        doing: &dyn Fn() -> String,
        make: impl FnOnce() -> T,
    ) -> Result<T> {
        let scopes = cfg!(not(target_arch = "wasm32")).then(|| Scopes::push(device));
        let made = make();
        let error = scopes.and_then(|scopes| now(scopes.pop()).flatten());
        // a lost device has no other error, and makes things that cannot be used
        if let Some(lost) = self.state().lost.as_deref() {
            return Err(failed(&doing(), lost));
        }
        match error {
            None => Ok(made),
            Some(error) => Err(failed(&doing(), &describe(&error))),
        }
    }

    /// What `make` makes on `device`, in browsers once the device has made it: what fails is this call's error there, too, and
    /// nothing waits meanwhile but the future.
    pub(super) async fn later<T>(
        &self,
        device: &wgpu::Device,
        doing: &str,
        make: impl FnOnce() -> T,
    ) -> Result<T> {
        let scopes = cfg!(target_arch = "wasm32").then(|| Scopes::push(device));
        let made = make();
        let error = match scopes {
            Some(scopes) => scopes.pop().await,
            None => None, // `make` has told already
        };
        match error {
            None => Ok(made),
            Some(error) => Err(failed(doing, &describe(&error))),
        }
    }
}

/// Scopes for errors of every kind, on this thread.
struct Scopes([wgpu::ErrorScopeGuard; 3]);

impl Scopes {
    fn push(device: &wgpu::Device) -> Self {
        Self([
            device.push_error_scope(wgpu::ErrorFilter::Internal),
            device.push_error_scope(wgpu::ErrorFilter::OutOfMemory),
            device.push_error_scope(wgpu::ErrorFilter::Validation),
        ])
    }

    /// The error that they caught.
    async fn pop(self) -> Option<wgpu::Error> {
        let Self([internal, memory, validation]) = self;
        // the last one pushed goes first; a validation error may be what follows from one of the others
        let (validation, memory, internal) = (validation.pop(), memory.pop(), internal.pop());
        let (validation, memory, internal) = (validation.await, memory.await, internal.await);
        memory.or(internal).or(validation)
    }
}

/// What a future that is ready gives: outside of browsers, errors are known when a scope ends.
fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(value) => Some(value),
        std::task::Poll::Pending => None,
    }
}

fn describe(error: &wgpu::Error) -> String {
    match error {
        wgpu::Error::OutOfMemory { .. } => "out of device memory".to_owned(),
        other => one_line(&other.to_string()),
    }
}

fn failed(doing: &str, what: &str) -> Error {
    Error::device(
        format!("GPU, {doing}: {what}"),
        "use a smaller model, a shorter context or the CPU backend",
    )
}
