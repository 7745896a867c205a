//! What every target holds its input to: no panic, no more than a second of processor time, and no more memory than a
//! small multiple of the input, beside what the target allows on top.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The system's allocator, with a count of the bytes that are out and of the most that ever were.
struct Meter;

#[global_allocator]
static METER: Meter = Meter;
static OUT: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

fn taken(bytes: usize) {
    let out = OUT.fetch_add(bytes, Ordering::Relaxed) + bytes;
    MOST.fetch_max(out, Ordering::Relaxed);
}

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Meter {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        taken(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        taken(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        OUT.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

/// Memory that an input may cost for each of its bytes.
const PER_BYTE: usize = 20;
/// Memory that does not grow with the input: tables, pools, the first use of something.
const FIXED: usize = 8 << 20;
/// Processor time that an input may cost, over all threads.
const TIME: Duration = Duration::from_secs(1);

/// Processor time of this process until now.
fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a place for the answer; the clock exists on every system that libFuzzer runs on.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Runs `work` on an input of `length` bytes and panics if it costs more than it may: a second, and `PER_BYTE` × `length`
/// + `FIXED` + `more` bytes of memory.
pub fn bounded<T>(length: usize, more: usize, work: impl FnOnce() -> T) -> T {
    let (before, begun) = (OUT.load(Ordering::Relaxed), processor_time());
    MOST.store(before, Ordering::Relaxed);
    let result = work();
    let most = MOST.load(Ordering::Relaxed).saturating_sub(before);
    let took = processor_time() - begun;
    let allowed = PER_BYTE * length + FIXED + more;
    assert!(most <= allowed, "{most} bytes of memory for an input of {length} ({allowed} allowed)");
    assert!(took <= TIME, "{took:?} of processor time for an input of {length} bytes");
    result
}
