//! Calls of libraries that may panic over what they are given.

use crate::files::json::show;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    /// Whether panics of this thread are being caught by [`guarded`].
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Calls `f`; a panic becomes its message, and nothing is printed. Where panics abort (WebAssembly), they do.
pub(crate) fn guarded<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: std::sync::Once = std::sync::Once::new();
    // The hook is global, so it is wrapped once and asks a flag of its thread: other threads still report theirs.
    HOOK.call_once(|| {
        let outer = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !GUARDED.get() {
                outer(info);
            }
        }));
    });
    let before = GUARDED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(f));
    GUARDED.set(before);
    result.map_err(|payload| {
        let text = payload
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| payload.downcast_ref::<&str>().copied());
        show(text.unwrap_or("no message"))
    })
}
