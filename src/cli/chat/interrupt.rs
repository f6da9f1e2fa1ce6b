//! Ctrl-C while an answer is written.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether somebody wants the answer to stop.
static STOPPED: AtomicBool = AtomicBool::new(false);

/// From here on Ctrl-C stops an answer. A second one before the answer has stopped ends the program, as the first one does
/// where signals cannot be handled.
pub(super) fn watch() {
    static HANDLER: Once = Once::new();
    HANDLER.call_once(|| {
        let _ = ctrlc::set_handler(|| {
            if STOPPED.swap(true, Ordering::Relaxed) {
                std::process::exit(130); // what shells give a program that Ctrl-C has ended
            }
        });
    });
}

/// An answer begins.
pub(super) fn reset() {
    STOPPED.store(false, Ordering::Relaxed);
}

/// Whether the answer is to stop.
pub(super) fn stopped() -> bool {
    STOPPED.load(Ordering::Relaxed)
}
