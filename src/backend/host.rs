//! How much memory the host has left.

/// Bytes that this process can still take: the memory that the system can free without swapping, and its swap; less where
/// a control group (a container) has a limit. `None` without the feature `host-memory`, and in browsers, which do not tell.
#[cfg(feature = "host-memory")]
pub(super) fn available() -> Option<u64> {
    let mut system = sysinfo::System::new();
    system.refresh_memory_specifics(sysinfo::MemoryRefreshKind::everything());
    if system.total_memory() == 0 {
        return None; // a system that sysinfo does not know, or one that hides it
    }
    // macOS makes room by compressing and by more swap files, so that what is free now says little
    let whole = if cfg!(target_vendor = "apple") {
        system.total_memory()
    } else {
        system.available_memory().saturating_add(system.free_swap())
    };
    // the group's limit less the memory that cannot be dropped (its file cache can)
    let group = system.cgroup_limits();
    let group = group.filter(|g| g.total_memory < system.total_memory());
    let left = group.map(|g| g.total_memory.saturating_sub(g.rss));
    Some(left.map_or(whole, |left| whole.min(left)))
}

/// Without the feature nothing is known.
#[cfg(not(feature = "host-memory"))]
pub(crate) fn available() -> Option<u64> {
    None
}

#[cfg(all(test, feature = "host-memory", target_os = "linux"))]
mod tests {
    #[test]
    fn the_host_has_some_memory_and_not_all_there_is() {
        let bytes = super::available().expect("Linux tells");
        assert!(bytes > 1 << 20 && bytes < 1 << 50, "{bytes}");
    }
}
