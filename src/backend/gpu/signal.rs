//! A flag that a callback raises and a future waits for.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

#[derive(Clone, Default)]
pub(super) struct Signal(Arc<Mutex<(Option<bool>, Option<Waker>)>>);

impl Signal {
    /// Ends the wait with `value`.
    pub fn raise(&self, value: bool) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 = Some(value);
        if let Some(waker) = state.1.take() {
            waker.wake();
        }
    }

    /// What it was raised with, if it was.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn raised(&self) -> Option<bool> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Future for Signal {
    type Output = bool;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<bool> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match state.0 {
            Some(value) => Poll::Ready(value),
            None => {
                state.1 = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}
