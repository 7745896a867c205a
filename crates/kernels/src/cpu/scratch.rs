//! Working memory that is kept, and memory for results.
//!
//! glibc returns blocks above 32 MB to the system when they are freed and the next call faults every page in again, which
//! costs more than the arithmetic of a pointwise function. Working memory therefore comes from a pool that never shrinks
//! below what the largest layer needed, and results ask for huge pages, so that a fault brings 2 MiB instead of 4 KiB.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

use bytemuck::{Pod, Zeroable};

use crate::huge_pages;

/// Buffers kept for later; more than this many are freed. A bound against leaks of memory, far
/// above what the threads of one machine hold at a time.
const KEPT: usize = 64;
/// Bytes from which huge pages are asked for: two of them.
const HUGE: usize = 4 << 20;

static POOL: Mutex<Vec<Aligned<f32>>> = Mutex::new(Vec::new());

/// A line of the cache.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

// SAFETY: bytes without padding, all patterns of which are values.
#[allow(unsafe_code)]
unsafe impl Zeroable for Line {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Pod for Line {}

/// Values that begin at a line of the cache, so that no vector of a panel lies in two.
pub(crate) struct Aligned<T> {
    lines: Vec<Line>,
    len: usize,
    kind: PhantomData<T>,
}

impl<T: Pod> Aligned<T> {
    /// `len` values that `write` writes.
    ///
    /// # Safety
    /// It must write all of them.
    #[allow(unsafe_code)]
    pub(crate) unsafe fn written(len: usize, write: impl FnOnce(Shared<T>)) -> Self {
        let count = (len * size_of::<T>()).div_ceil(size_of::<Line>());
        let mut lines = Vec::<Line>::with_capacity(count);
        advise(lines.as_ptr(), count);
        write(Shared(lines.as_mut_ptr().cast()));
        // SAFETY: all values were written; what is left of the last line is bytes of ours that nobody reads.
        unsafe {
            let end = lines.as_mut_ptr().cast::<T>().add(len).cast::<u8>();
            end.write_bytes(0, count * size_of::<Line>() - len * size_of::<T>());
            lines.set_len(count);
        }
        Self { lines, len, kind: PhantomData }
    }
}

impl<T> Default for Aligned<T> {
    fn default() -> Self {
        Self { lines: Vec::new(), len: 0, kind: PhantomData }
    }
}

impl<T: Pod> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }
}

impl<T: Pod> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}

/// A working buffer with arbitrary contents; it goes back to the pool when dropped.
pub(crate) struct Lease {
    buffer: Aligned<f32>,
    len: usize,
}

/// A buffer of `len` values, whatever they are.
#[allow(unsafe_code)]
pub(crate) fn lease(len: usize) -> Lease {
    let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    let fits = |(_, buffer): &(usize, &Aligned<f32>)| buffer.len() >= len;
    let best = pool.iter().enumerate().rev().filter(fits).min_by_key(|(_, buffer)| buffer.len());
    let found = best.map(|(i, _)| i);
    if let Some(i) = found {
        let buffer = pool.swap_remove(i);
        return Lease { buffer, len };
    }
    // None is large enough: the largest makes room for its successor.
    if let Some(i) = pool.iter().enumerate().max_by_key(|(_, buffer)| buffer.len()).map(|(i, _)| i)
        && pool.len() >= KEPT / 2
    {
        pool.swap_remove(i);
    }
    drop(pool);
    // SAFETY: `len` zeros are written.
    let buffer = unsafe { Aligned::written(len, |values| values.slice(0, len).fill(0.0)) };
    Lease { buffer, len }
}

impl Deref for Lease {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.buffer[..self.len]
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.buffer[..self.len]
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        if pool.len() < KEPT {
            pool.push(std::mem::take(&mut self.buffer));
        }
    }
}

/// Memory for a result whose every value will be written through [`Output::shared`].
pub(crate) struct Output<T = f32> {
    values: Vec<T>,
    len: usize,
}

impl<T> Output<T> {
    /// Room for `len` values.
    pub(crate) fn new(len: usize) -> Self {
        let values = Vec::with_capacity(len);
        advise(values.as_ptr(), len);
        Self { values, len }
    }

    /// Where the values go.
    pub(crate) fn shared(&mut self) -> Shared<T> {
        Shared(self.values.as_mut_ptr())
    }

    /// The result.
    ///
    /// # Safety
    /// Every one of the `len` values must have been written.
    #[allow(unsafe_code)]
    pub(crate) unsafe fn finish(mut self) -> Vec<T> {
        // SAFETY: `new` reserved `len` values and the caller wrote them all.
        unsafe { self.values.set_len(self.len) };
        self.values
    }
}

/// A buffer that several threads write, each its own part.
#[derive(Clone, Copy)]
pub(crate) struct Shared<T = f32>(*mut T);

// SAFETY: a bare address; whoever dereferences it argues that no other thread uses that part.
#[allow(unsafe_code)]
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// The address of a buffer of which threads will write disjoint parts.
    pub(crate) fn of(buffer: &mut [T]) -> Self {
        Self(buffer.as_mut_ptr())
    }

    /// The buffer from value `index` on.
    pub(crate) fn from(self, index: usize) -> Self {
        Self(self.at(index))
    }

    /// The address of value `index`, which must lie in the buffer.
    #[inline(always)]
    pub(crate) fn at(self, index: usize) -> *mut T {
        self.0.wrapping_add(index)
    }

    /// Values `start..start + len`.
    ///
    /// # Safety
    /// They must lie in the buffer and be used by nobody else for `'a`. Values not yet written may be written only.
    #[inline(always)]
    #[allow(unsafe_code)]
    pub(crate) unsafe fn slice<'a>(self, start: usize, len: usize) -> &'a mut [T] {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.at(start), len) }
    }
}

/// [`huge_pages::advise`] for `len` values not yet touched, where they are many.
fn advise<T>(from: *const T, len: usize) {
    let bytes = len * size_of::<T>();
    if bytes >= HUGE {
        huge_pages::advise(from.cast(), bytes);
    }
}
