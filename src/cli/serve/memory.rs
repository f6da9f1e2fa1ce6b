//! Memory that requests needed goes back to the system once they are answered.
//!
//! The allocator of glibc keeps what was freed, in a pool for each thread that ever waited for another one. A server that was
//! asked for much once would hold several times what it needs for ever.

use super::app::App;
use std::sync::Arc;
use std::time::Duration;

/// How often memory is given back, if anybody asked for anything since.
const PAUSE: Duration = Duration::from_secs(3);

/// Lets all threads share one pool.
pub(super) fn share_pool() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code)]
    // SAFETY: `mallopt` takes two numbers, and changes how the allocator works from now on and nothing else.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Gives memory back from time to time, as long as the server runs.
pub(super) async fn give_back(app: Arc<App>) {
    let mut before = 0;
    loop {
        tokio::time::sleep(PAUSE).await;
        let now = app.metrics.answered();
        if now != before {
            before = now;
            tokio::task::spawn_blocking(trim).await.ok();
        }
    }
}

fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code)]
    // SAFETY: `malloc_trim` takes a number of bytes to keep, and touches free memory only.
    unsafe {
        libc::malloc_trim(0);
    }
}
