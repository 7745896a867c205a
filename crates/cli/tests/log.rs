//! The real binary as a server whose log cannot be written: nobody reads it, its disk is full, its reader stalls. Answers
//! and jobs go on as if nothing were wrong.

#![cfg(target_os = "linux")] // /dev/full
#![allow(clippy::expect_used)] // helpers of tests are tests

use std::io::{Cursor, PipeReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// More lines of `--log trace` than a pipe of 64 KiB holds.
const MANY: usize = 400;
/// Generous: two cores may be shared with everybody else's tests.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server on a folder of its own, killed at the end.
struct Server {
    child: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start(log: Stdio) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // The log, which tells the address, is what cannot be read here. Nobody else takes the port in between.
        let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
        let address = free.to_string();
        let child = Command::new(env!("CARGO_BIN_EXE_material-transfer"))
            .args(["serve", "--device", "cpu", "--log", "trace", "--listen", &address, "--data-dir"])
            .arg(folder.path().join("data"))
            .env_clear()
            .stderr(log)
            .spawn()
            .expect("started");
        let mut server = Self { child, address, _folder: folder };
        let end = Instant::now() + PATIENCE;
        while !server.get("/health/ready").is_some_and(|answer| answer.starts_with("HTTP/1.1 200")) {
            let ended = server.child.try_wait().expect("asked");
            assert!(ended.is_none() && Instant::now() < end, "the server never got ready: {ended:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
        server
    }

    fn ask(&self, request: &[u8]) -> Option<String> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.write_all(request).ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        Some(String::from_utf8_lossy(&answer).into_owned())
    }

    fn get(&self, path: &str) -> Option<String> {
        self.ask(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes())
    }

    /// A transfer, waited for.
    fn transfer(&self) -> Option<String> {
        let body = form(&[("subject_image", &png(160, 128)), ("material_image", &png(96, 96))]);
        let head = format!(
            "POST /v1/material-transfer HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\
             content-type: multipart/form-data; boundary=cut\r\n\r\n",
            body.len()
        );
        self.ask(&[head.as_bytes(), &body].concat())
    }

    /// Many requests and two jobs are answered, and a signal ends it well.
    fn goes_on(mut self) {
        for _ in 0..MANY {
            assert!(self.get("/no/such/path").expect("an answer").starts_with("HTTP/1.1 404"));
        }
        for _ in 0..2 {
            let answer = self.transfer().expect("an answer");
            assert!(answer.starts_with("HTTP/1.1 200"), "{}", answer.lines().next().unwrap_or_default());
        }
        assert!(self.get("/health/ready").expect("an answer").starts_with("HTTP/1.1 200"));
        assert!(Command::new("kill").arg(self.child.id().to_string()).status().expect("kill runs").success());
        let end = Instant::now() + PATIENCE;
        while self.child.try_wait().expect("asked").is_none() {
            assert!(Instant::now() < end, "the signal is not heard");
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(self.child.wait().expect("ended").code(), Some(0));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn png(width: u32, height: u32) -> Vec<u8> {
    let picture = image::RgbImage::from_fn(width, height, |x, y| {
        let inside = x > width / 4 && x < 3 * width / 4 && y > height / 4;
        image::Rgb([if inside { 200 } else { 20 }, (x * 3 % 200) as u8, (y * 5 % 200) as u8])
    });
    let mut file = Cursor::new(Vec::new());
    picture.write_to(&mut file, image::ImageFormat::Png).expect("encoded");
    file.into_inner()
}

fn form(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, file) in files {
        let head = format!(
            "--cut\r\ncontent-disposition: form-data; name=\"{name}\"; filename=\"a.png\"\r\n\
             content-type: image/png\r\n\r\n"
        );
        body.extend([head.as_bytes(), file, b"\r\n"].concat());
    }
    body.extend(b"--cut--\r\n");
    body
}

fn pipe() -> (PipeReader, Stdio) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    (reader, writer.into())
}

#[test]
fn a_log_that_nobody_reads_costs_lines_only() {
    let (reader, writer) = pipe();
    drop(reader); // every write is EPIPE from the first line on
    Server::start(writer).goes_on();
}

#[test]
fn a_log_on_a_full_disk_costs_lines_only() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    Server::start(full.into()).goes_on();
}

#[test]
fn a_log_whose_reader_stalls_costs_lines_only() {
    let (reader, writer) = pipe(); // kept, and never read
    Server::start(writer).goes_on();
    drop(reader);
}

#[test]
fn a_reader_that_comes_back_hears_what_was_lost() {
    let (mut reader, writer) = pipe();
    let server = Server::start(writer);
    // Two lines of trace or more for each: more than queue and pipe hold.
    for _ in 0..15 * MANY {
        server.get("/health/live").expect("an answer");
    }
    let reading = std::thread::spawn(move || {
        let mut log = String::new();
        reader.read_to_string(&mut log).map(|_| log)
    });
    std::thread::sleep(Duration::from_millis(500));
    server.goes_on();
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
