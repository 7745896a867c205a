//! The real binary as a server whose log cannot be written: nobody reads it, its disk is full, its reader stalls. Answers
//! and jobs go on as if nothing were wrong.

#![cfg(target_os = "linux")] // /dev/full
#![allow(clippy::expect_used)] // helpers of tests are tests

mod running;

use std::io::{PipeReader, Read};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use running::{PATIENCE, Server, png};

/// More lines of `--log trace` than a pipe of 64 KiB holds.
const MANY: usize = 400;

/// Many requests and two jobs are answered, and a signal ends it well.
fn goes_on(mut server: Server) {
    for _ in 0..MANY {
        assert!(server.get("/no/such/path").expect("an answer").starts_with("HTTP/1.1 404"));
    }
    for _ in 0..2 {
        let answer = server.transfer(&png(160, 128)).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{}", answer.lines().next().unwrap_or_default());
    }
    assert!(server.get("/health/ready").expect("an answer").starts_with("HTTP/1.1 200"));
    assert!(Command::new("kill").arg(server.child.id().to_string()).status().expect("kill runs").success());
    let end = Instant::now() + PATIENCE;
    while server.child.try_wait().expect("asked").is_none() {
        assert!(Instant::now() < end, "the signal is not heard");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(server.child.wait().expect("ended").code(), Some(0));
}

fn pipe() -> (PipeReader, Stdio) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    (reader, writer.into())
}

#[test]
fn a_log_that_nobody_reads_costs_lines_only() {
    let (reader, writer) = pipe();
    drop(reader); // every write is EPIPE from the first line on
    goes_on(Server::start(&[], writer));
}

#[test]
fn a_log_on_a_full_disk_costs_lines_only() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    goes_on(Server::start(&[], full.into()));
}

#[test]
fn a_log_whose_reader_stalls_costs_lines_only() {
    let (reader, writer) = pipe(); // kept, and never read
    goes_on(Server::start(&[], writer));
    drop(reader);
}

#[test]
fn a_reader_that_comes_back_hears_what_was_lost() {
    let (mut reader, writer) = pipe();
    let server = Server::start(&[], writer);
    // Two lines of trace or more for each: more than queue and pipe hold.
    for _ in 0..15 * MANY {
        server.get("/health/live").expect("an answer");
    }
    let reading = std::thread::spawn(move || {
        let mut log = String::new();
        reader.read_to_string(&mut log).map(|_| log)
    });
    std::thread::sleep(Duration::from_millis(500));
    goes_on(server);
    let log = reading.join().expect("no panic").expect("the log is text");
    assert!(log.contains("lines of the log were lost"), "{} bytes", log.len());
    assert!(log.contains("listening on http://"));
}

#[test]
fn commands_without_listeners_end_with_their_own_code() {
    let (reader, writer) = pipe();
    drop(reader);
    let refused = Command::new(env!("CARGO_BIN_EXE_material-transfer"))
        .args(["serve", "--result-ttl", "soon"])
        .env_clear()
        .stderr(writer)
        .status()
        .expect("the binary runs");
    assert_eq!(refused.code(), Some(2), "what it wanted to say could not be said");
}
