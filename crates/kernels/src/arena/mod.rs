//! An allocator that keeps large blocks.
//!
//! glibc returns blocks above 32 MB to the system when they are freed, and the next call has every page cleared and faulted
//! in again: up to a seventh of a VAE's time. [`Arena`] keeps freed blocks from [`LEAST`] bytes on, and hands them out to
//! the next request of their size class: networks ask for the same sizes over and over. What it holds in all stays within
//! a quarter above the most that was lately in use. Blocks it has to ask the system for are advised to lie on huge pages.
//! Everything smaller is the system allocator's.
//!
//! It is in this crate because the blocks it is for are those of tensors, and because it is `unsafe`, which no other crate is.
//! `benches/allocators.rs` puts it beside glibc's allocator and mimalloc.
//!
//! A program installs it with `#[global_allocator] static ARENA: kernels::Arena = kernels::Arena::new();`, bounds what is
//! kept by what memory there is ([`Arena::keep_at_most`]), and calls [`Arena::trim`] now and then, so that what one large
//! job used does not stay for ever.

#[cfg(test)]
mod tests;

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::huge_pages::advise;
use crate::system_heap;

/// Smallest block that is kept.
const LEAST: usize = 1 << 20;
/// Most bytes kept; the blocks unused for longest go first.
const MOST: usize = 2 << 30;
/// What is in use and kept together may exceed the most that was ever in use by this share of it: a quarter.
const SLACK: usize = 4;
/// Most blocks kept: their list has a fixed place, as nothing here may allocate.
const BLOCKS: usize = 128;
/// Alignment of every block: what the system's allocator gives without asking, and can zero lazily.
const ALIGN: usize = 16;

/// The allocator. One in a program.
#[derive(Debug)]
pub struct Arena(Mutex<Idle>);

/// Blocks that wait for their next use, the longest unused first.
#[derive(Debug)]
struct Idle {
    blocks: [Block; BLOCKS],
    count: usize,
    bytes: usize,
    /// Bytes handed out, and the most these were of late.
    used: usize,
    most_used: usize,
    /// The most bytes to be kept.
    most: usize,
}

/// A block's address and size class.
#[derive(Clone, Copy, Debug)]
struct Block {
    at: *mut u8,
    size: usize,
    /// When it was freed.
    since: Option<Instant>,
}

// SAFETY: an idle block belongs to whoever holds the lock.
#[allow(unsafe_code)]
unsafe impl Send for Block {}

impl Arena {
    /// Keeps nothing yet.
    pub const fn new() -> Self {
        let none = Block { at: ptr::null_mut(), size: 0, since: None };
        let blocks = [none; BLOCKS];
        Self(Mutex::new(Idle { blocks, count: 0, bytes: 0, used: 0, most_used: 0, most: MOST }))
    }

    /// Bounds what is kept; nothing above 2 GiB is kept in any case.
    pub fn keep_at_most(&self, bytes: usize) {
        self.idle().most = bytes.min(MOST);
        self.give_back_while(|idle| idle.bytes > idle.most);
    }

    /// Gives the system back what has lain unused for `age` and what the smaller blocks of the system's allocator have left
    /// free, and forgets a part of how much was once in use. For a thread that has nothing else to do, every few seconds.
    pub fn trim(&self, age: Duration) {
        {
            let mut idle = self.idle();
            idle.most_used -= (idle.most_used - idle.used) / SLACK;
        }
        self.give_back_while(|idle| {
            let oldest = idle.blocks[..idle.count].first().and_then(|block| block.since);
            oldest.is_some_and(|since| since.elapsed() >= age)
        });
        system_heap::give_back();
    }

    /// Gives back the blocks unused for longest, one after the other; the lock is not held meanwhile.
    #[allow(unsafe_code)]
    fn give_back_while(&self, wanted: impl Fn(&Idle) -> bool) {
        loop {
            let gone = {
                let mut idle = self.idle();
                if wanted(&idle) { idle.oldest() } else { None }
            };
            let Some(gone) = gone else { return };
            // SAFETY: an idle block, which nobody has any more.
            unsafe { give_back(gone) };
        }
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An idle block of this class, or none, after room was made for a new one.
    #[allow(unsafe_code)]
    fn reuse(&self, size: usize) -> Option<*mut u8> {
        let found = self.idle().take(size);
        while found.is_none()
            && let Some(gone) = self.idle().excess()
        {
            // SAFETY: an idle block, which nobody has any more.
            unsafe { give_back(gone) };
        }
        found
    }
}

impl Default for Arena {
    fn default() -> Self {
        Self::new()
    }
}

impl Idle {
    /// Counts a block of this class as handed out: the one that was used last, if there is one.
    fn take(&mut self, size: usize) -> Option<*mut u8> {
        self.used += size;
        self.most_used = self.most_used.max(self.used);
        let found = self.blocks[..self.count].iter().rposition(|block| block.size == size)?;
        Some(self.remove(found).at)
    }

    /// A block that must go before the system is asked for another.
    fn excess(&mut self) -> Option<Block> {
        let room = self.most_used + self.most_used / SLACK;
        (self.used + self.bytes > room).then(|| self.oldest()).flatten()
    }

    fn remove(&mut self, index: usize) -> Block {
        let block = self.blocks[index];
        self.blocks.copy_within(index + 1..self.count, index);
        self.count -= 1;
        self.bytes -= block.size;
        block
    }

    /// Keeps a block if there is room for it.
    fn keep(&mut self, block: Block) -> bool {
        let room = self.count < BLOCKS && self.bytes + block.size <= self.most;
        if room {
            self.blocks[self.count] = Block { since: Some(Instant::now()), ..block };
            self.count += 1;
            self.bytes += block.size;
        }
        room
    }

    /// The block unused for longest.
    fn oldest(&mut self) -> Option<Block> {
        (self.count > 0).then(|| self.remove(0))
    }
}

/// The size class of a request: at most an eighth more than asked for.
fn class(size: usize) -> usize {
    size.next_multiple_of((size.next_power_of_two() / 16).max(1 << 16))
}

/// Whether the arena answers for blocks of this layout.
fn owns(layout: Layout) -> bool {
    layout.size() >= LEAST && layout.align() <= ALIGN
}

/// How a block of class `size` is asked for and given back; None for sizes no system has.
fn whole(size: usize) -> Option<Layout> {
    Layout::from_size_align(size, ALIGN).ok()
}

/// Returns a block to the system.
///
/// # Safety
/// The block came from the system with the layout of its class, and nobody uses it any more.
#[allow(unsafe_code)]
unsafe fn give_back(block: Block) {
    if let Some(whole) = whole(block.size) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(block.at, whole) };
    }
}

// SAFETY: blocks come from `System` with at least the size and alignment asked for, each is idle or handed out once, and a
// block is given back to `System` with the layout it was asked for with: `class` depends on the size alone, which callers
// repeat. Nothing here allocates or panics: the idle list has a fixed place.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !owns(layout) {
            // SAFETY: the caller's promise.
            return unsafe { System.alloc(layout) };
        }
        let size = class(layout.size());
        if let Some(block) = self.reuse(size) {
            return block;
        }
        match whole(size) {
            Some(whole) => {
                // SAFETY: the size is not zero.
                let block = unsafe { System.alloc(whole) };
                advise(block, size);
                block
            }
            None => ptr::null_mut(),
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !owns(layout) {
            // SAFETY: the caller's promise.
            return unsafe { System.alloc_zeroed(layout) };
        }
        let size = class(layout.size());
        if let Some(block) = self.reuse(size) {
            // SAFETY: an idle block of at least this many bytes, ours alone now.
            unsafe { block.write_bytes(0, layout.size()) };
            return block;
        }
        let Some(whole) = whole(size) else { return ptr::null_mut() };
        // SAFETY: the size is not zero.
        let block = unsafe { System.alloc_zeroed(whole) };
        advise(block, size);
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if !owns(layout) {
            // SAFETY: the caller's promise: such a block came from `System`.
            return unsafe { System.dealloc(block, layout) };
        }
        let block = Block { at: block, size: class(layout.size()), since: None };
        self.idle().used -= block.size;
        loop {
            let gone = {
                let mut idle = self.idle();
                if idle.keep(block) {
                    return;
                }
                // A block larger than all that may be kept evicts no other.
                if block.size > idle.most { None } else { idle.oldest() }
            };
            // SAFETY: the block was asked for with the layout of its class, and nobody has it any more.
            unsafe { give_back(gone.unwrap_or(block)) };
            if gone.is_none() {
                return;
            }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Ok(new) = Layout::from_size_align(size, layout.align()) else { return ptr::null_mut() };
        match (owns(layout), owns(new)) {
            // SAFETY: the caller's promise.
            (false, false) => return unsafe { System.realloc(block, layout, size) },
            (true, true) if class(layout.size()) == class(size) => return block,
            (true, true) if size < layout.size() => {
                let (old, new) = (class(layout.size()), class(size));
                let Some(whole) = whole(old) else { return ptr::null_mut() };
                // In place where the system can, so that shrinking takes no second block.
                // SAFETY: the block was asked for with the layout of its class; the new size is not zero.
                let moved = unsafe { System.realloc(block, whole, new) };
                if !moved.is_null() {
                    self.idle().used -= old - new;
                }
                return moved;
            }
            _ => {}
        }
        // SAFETY: the caller's promise; the new block is another one and holds as many bytes as are copied.
        unsafe {
            let moved = self.alloc(new);
            if !moved.is_null() {
                ptr::copy_nonoverlapping(block, moved, layout.size().min(size));
                self.dealloc(block, layout);
            }
            moved
        }
    }
}
