//! What small blocks leave free between others that stay goes back to the system too. In a process of its own: it looks at what
//! the whole process holds.
#![cfg(all(target_os = "linux", target_env = "gnu"))]
#![allow(clippy::expect_used)] // a test fails by panicking

use std::time::Duration;

use kernels::Arena;

/// Memory of this process in MiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells it");
    let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("a line");
    line.split_whitespace().nth(1).and_then(|number| number.parse::<usize>().ok()).expect("a number") >> 10
}

#[test]
fn trimming_gives_back_what_lies_between_blocks() {
    let mut blocks: Vec<Vec<u8>> = (0..20_000).map(|_| vec![1; 10_000]).collect();
    let full = resident();
    let mut number = 0;
    blocks.retain(|_| {
        number += 1;
        number % 100 == 0
    });
    Arena::new().trim(Duration::ZERO);
    let left = resident();
    assert!(left + 100 < full, "{left} MiB of {full} are still there");
    assert_eq!(blocks.len(), 200);
}
