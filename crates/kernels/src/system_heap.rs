//! The system's allocator: how many heaps it has, and what in them nobody uses.

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

/// Lets all threads share `count` heaps of the system's allocator. To be called before there is a second thread. By itself glibc makes
/// eight for each processor and reserves 64 MB of addresses for each: half of a limit on the address space (`ulimit -v`) would go
/// to memory that is never used.
#[allow(unsafe_code)]
pub fn share_heaps(count: usize) {
    // SAFETY: sets a number that the allocator looks at when it would make a further heap.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, i32::try_from(count).unwrap_or(i32::MAX))
    };
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    let _ = count;
}
