#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};
use std::time::Duration;

use super::{Arena, BLOCKS, LEAST, MOST, SLACK};

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 4).unwrap()
}

/// Allocates, writes the ends of, and returns a block.
fn block(arena: &Arena, size: usize) -> *mut u8 {
    // SAFETY: the size is not zero, and both writes lie in the block.
    unsafe {
        let block = arena.alloc(layout(size));
        assert!(!block.is_null());
        block.write(7);
        block.add(size - 1).write(7);
        block
    }
}

/// Blocks and bytes kept.
fn kept(arena: &Arena) -> (usize, usize) {
    let idle = arena.idle();
    (idle.count, idle.bytes)
}

fn free(arena: &Arena, block: *mut u8, size: usize) {
    // SAFETY: the block was allocated by this arena with this size.
    unsafe { arena.dealloc(block, layout(size)) };
}

#[test]
fn a_freed_block_serves_the_next_request_of_its_class() {
    let arena = Arena::new();
    let first = block(&arena, 5 << 20);
    free(&arena, first, 5 << 20);
    assert_eq!(kept(&arena).0, 1);
    let again = block(&arena, (5 << 20) - 100);
    assert_eq!(again, first);
    assert_eq!(kept(&arena).0, 0);
    let other = block(&arena, 9 << 20);
    free(&arena, again, (5 << 20) - 100);
    free(&arena, other, 9 << 20);
    assert_eq!(kept(&arena).0, 2);
}

#[test]
fn zeroed_blocks_are_zero_and_moved_blocks_keep_their_values() {
    let arena = Arena::new();
    let size = LEAST + 1;
    let used = block(&arena, size);
    free(&arena, used, size);
    // SAFETY: blocks of this arena, read and written within their sizes.
    unsafe {
        let zeroed = arena.alloc_zeroed(layout(size));
        assert_eq!(zeroed, used);
        assert_eq!((zeroed.read(), zeroed.add(size - 1).read()), (0, 0));
        zeroed.add(99).write(3);
        // Within the class, to a larger one, and below what the arena keeps.
        let mut at = (zeroed, size);
        for next in [size + 10, 3 * LEAST, 1000] {
            at = (arena.realloc(at.0, layout(at.1), next), next);
            assert_eq!(at.0.add(99).read(), 3);
        }
        free(&arena, at.0, at.1);
    }
}

#[test]
fn what_is_kept_is_bounded() {
    let arena = Arena::new();
    // Never touched, so that the test takes no memory.
    // SAFETY: sizes are not zero; each block is freed once with its size.
    unsafe {
        let blocks: Vec<*mut u8> = (0..BLOCKS + 9).map(|_| arena.alloc(layout(LEAST))).collect();
        blocks.iter().for_each(|block| arena.dealloc(*block, layout(LEAST)));
        assert_eq!(kept(&arena), (BLOCKS, BLOCKS * LEAST));
        let large = arena.alloc(layout(MOST));
        arena.dealloc(large, layout(MOST));
        assert_eq!(kept(&arena), (1, MOST), "the largest evicts all others");
        let larger = arena.alloc(layout(MOST + LEAST));
        arena.dealloc(larger, layout(MOST + LEAST));
        assert_eq!(kept(&arena), (0, 0), "it needed the room of the other, and is too large to be kept");
    }
}

#[test]
fn what_lies_unused_goes_back() {
    let arena = Arena::new();
    // SAFETY: sizes are not zero; each block is freed once with its size. Nothing is touched.
    unsafe {
        let large = arena.alloc(layout(64 * LEAST));
        let small = arena.alloc(layout(2 * LEAST));
        arena.dealloc(large, layout(64 * LEAST));
        arena.trim(Duration::from_secs(3600));
        assert_eq!(kept(&arena), (1, 64 * LEAST), "not so soon");
        arena.trim(Duration::ZERO);
        assert_eq!(kept(&arena), (0, 0));
        for _ in 0..40 {
            arena.trim(Duration::ZERO);
        }
        assert!(arena.idle().most_used < 3 * LEAST, "what was once used is forgotten");
        arena.dealloc(small, layout(2 * LEAST));
        arena.keep_at_most(LEAST);
        assert_eq!(kept(&arena), (0, 0));
        let again = arena.alloc(layout(2 * LEAST));
        arena.dealloc(again, layout(2 * LEAST));
        assert_eq!(kept(&arena), (0, 0), "larger than all that may be kept");
    }
}

#[test]
fn shrinking_keeps_values_and_counts() {
    let arena = Arena::new();
    let large = block(&arena, 64 * LEAST);
    // SAFETY: a block of this arena, read and written within its sizes.
    unsafe {
        large.add(99).write(3);
        let small = arena.realloc(large, layout(64 * LEAST), 5 * LEAST);
        assert_eq!((small.read(), small.add(99).read()), (7, 3));
        assert_eq!(arena.idle().used, 5 * LEAST);
        free(&arena, small, 5 * LEAST);
    }
    assert_eq!((kept(&arena), arena.idle().used), ((1, 5 * LEAST), 0));
}

#[test]
fn old_blocks_go_when_new_sizes_come() {
    let arena = Arena::new();
    // SAFETY: sizes are not zero; each block is freed once with its size. Nothing is touched.
    unsafe {
        for size in (8..40).map(|n| n * LEAST) {
            let block = arena.alloc(layout(size));
            let (_, bytes) = kept(&arena);
            assert!(size + bytes <= size + size / SLACK + size / 8, "{bytes} bytes lie idle beside {size}");
            arena.dealloc(block, layout(size));
        }
    }
}

#[test]
fn threads_never_share_a_block() {
    let arena = Arena::new();
    std::thread::scope(|scope| {
        for mark in 0..4u8 {
            let arena = &arena;
            scope.spawn(move || {
                for round in 0..200 {
                    let size = LEAST + round % 3 * LEAST;
                    // SAFETY: within the block.
                    unsafe {
                        let block = arena.alloc(layout(size));
                        block.write(mark);
                        block.add(size - 1).write(mark);
                        std::thread::yield_now();
                        assert_eq!((block.read(), block.add(size - 1).read()), (mark, mark));
                        arena.dealloc(block, layout(size));
                    }
                }
            });
        }
    });
}
