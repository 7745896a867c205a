//! The real binary under a limit on its addresses: its budgets follow from the limit, and what they allow at once it can do.

#![cfg(target_os = "linux")]
#![allow(clippy::expect_used)] // helpers of tests are tests

mod running;

use std::io::{BufRead as _, BufReader};
use std::sync::Arc;

use running::{Server, png};

/// 2 GB, as in tests/soak.
const LIMITED: [&str; 4] = ["bash", "-c", "ulimit -v 2000000; exec \"$@\"", "limited"];

#[test]
fn budgets_follow_from_the_limit_and_can_be_used() {
    let (log, writer) = std::io::pipe().expect("a pipe");
    let reading = std::thread::spawn(move || {
        let lines: Vec<String> = BufReader::new(log).lines().map_while(Result::ok).collect();
        lines.into_iter().find(|line| line.contains("memory: all budgets together")).expect("the sum is told")
    });
    let mut server = Server::start(&LIMITED, writer.into());
    let large = png(5000, 5000);
    let clients: Vec<Arc<[u8]>> =
        vec![large.clone().into(), large.into(), png(1920, 1920).into(), png(160, 128).into()];
    std::thread::scope(|scope| {
        for subject in &clients {
            scope.spawn(|| {
                let answer = server.transfer(subject).expect("an answer");
                assert!(answer.starts_with("HTTP/1.1 200"), "{}", answer.lines().next().unwrap_or_default());
            });
        }
    });
    let refused = server.transfer(&png(10_000, 9_000)).expect("an answer");
    assert!(refused.starts_with("HTTP/1.1 400") && refused.contains("too large to decode"), "{refused}");
    assert!(server.child.try_wait().expect("asked").is_none(), "it goes on");
    drop(server);
    let told = reading.join().expect("no panic");
    assert!(told.contains("192 of them for decoding"), "{told}");
}
