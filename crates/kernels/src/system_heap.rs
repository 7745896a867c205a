//! The memory of the system's allocator that nobody uses.

/// Gives back what lies free between blocks that are in use. glibc by itself gives back only the end of a heap, and every thread
/// has one of its own: after an hour of requests of all sizes they hold hundreds of megabytes that nobody uses.
#[allow(unsafe_code)]
pub(crate) fn give_back() {
    // SAFETY: may be called by any thread at any time; touches free blocks only.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    unsafe {
        libc::malloc_trim(0)
    };
}
