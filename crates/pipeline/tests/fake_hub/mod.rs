//! A model hub on this machine that misbehaves on purpose: breaks off, throttles, corrupts, refuses.

#![allow(clippy::unwrap_used)] // helpers of tests are tests
#![allow(dead_code)] // each test binary uses its part

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha2::{Digest, Sha256};

/// What the hub does to the next request for a file's bytes.
#[derive(Clone, Copy)]
pub(crate) enum Fault {
    /// Closes the connection after so many bytes.
    BreakOff(usize),
    /// Answers with this status.
    Status(u16),
    /// Sends so many bytes, then nothing more, and keeps the connection.
    Stall(usize),
    /// Flips a bit in every byte.
    Corrupt,
    /// Sends in small pieces with pauses.
    Throttle,
    /// Sends the file from another path of this hub.
    Redirect,
    /// Sends the client to the hub at this endpoint.
    Elsewhere(&'static str),
}

/// What the hub holds, and what it has done.
#[derive(Default)]
pub(crate) struct Shelf {
    /// By the last part of their path.
    pub(crate) files: HashMap<String, Vec<u8>>,
    /// By file, the next one last.
    pub(crate) faults: Mutex<HashMap<String, Vec<Fault>>>,
    /// What every request must carry.
    pub(crate) token: Option<String>,
    /// The size that is announced for every file, where it is not the true one.
    pub(crate) claimed: Option<u64>,
    /// What is announced as the hash of every file, where it is not the true one.
    pub(crate) etag: Option<String>,
    /// What is announced as the commit, where it is not [`COMMIT`].
    pub(crate) commit: Option<String>,
    /// Bytes of files that were sent so far.
    pub(crate) served: AtomicU64,
    /// Requests that came with a token.
    pub(crate) authorised: AtomicU64,
}

/// The commit that every file is of.
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// The hub; it serves for as long as the test's process lives.
pub(crate) struct FakeHub {
    pub(crate) endpoint: String,
    shelf: Arc<Shelf>,
}

impl FakeHub {
    pub(crate) fn start(shelf: Shelf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let shelf = Arc::new(shelf);
        let shared = Arc::clone(&shelf);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shelf = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, &shelf));
            }
        });
        Self { endpoint, shelf }
    }

    /// What happens to the next requests for the bytes of `file`, one after the other.
    pub(crate) fn faults(&self, file: &str, faults: &[Fault]) {
        self.shelf.faults.lock().unwrap().insert(file.to_owned(), faults.iter().rev().copied().collect());
    }

    /// Bytes of files that were sent so far.
    pub(crate) fn served(&self) -> u64 {
        self.shelf.served.load(Ordering::Relaxed)
    }

    /// Requests that came with a token.
    pub(crate) fn authorised(&self) -> u64 {
        self.shelf.authorised.load(Ordering::Relaxed)
    }
}

fn serve(mut stream: TcpStream, shelf: &Shelf) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
            break;
        }
        lines.push(line.trim_end().to_owned());
    }
    let Some(path) = lines.first().and_then(|line| line.split(' ').nth(1)) else { return };
    let header = |name: &str| {
        lines.iter().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then(|| value.to_owned())
        })
    };
    let refuse = |stream: &mut TcpStream, status: u16| {
        let _ = write!(stream, "HTTP/1.1 {status} No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    };
    let file = path.rsplit('/').next().unwrap_or_default();
    if header("authorization").is_some() {
        shelf.authorised.fetch_add(1, Ordering::Relaxed);
    }
    if shelf.token.as_ref().is_some_and(|token| header("authorization") != Some(format!("Bearer {token}"))) {
        return refuse(&mut stream, 401);
    }
    let Some(bytes) = shelf.files.get(file) else { return refuse(&mut stream, 404) };
    let range = header("range").unwrap_or_default();
    let (first, last) = range.trim_start_matches("bytes=").split_once('-').unwrap();
    let first: usize = first.parse().unwrap();
    if first >= bytes.len() {
        return refuse(&mut stream, 416);
    }
    let last: usize = last.parse().unwrap_or(bytes.len() - 1);
    let probe = range == "bytes=0-0";
    let fault = if probe { None } else { shelf.faults.lock().unwrap().get_mut(file).and_then(Vec::pop) };
    match fault {
        Some(Fault::Status(status)) => return refuse(&mut stream, status),
        Some(Fault::Redirect) => {
            let _ = write!(
                stream,
                "HTTP/1.1 302 Found\r\nlocation: /elsewhere/{file}\r\ncontent-length: 0\r\n\r\n"
            );
            return serve(stream, shelf);
        }
        Some(Fault::Elsewhere(endpoint)) => {
            let _ = write!(
                stream,
                "HTTP/1.1 302 Found\r\nlocation: {endpoint}/{file}\r\ncontent-length: 0\r\n\r\n"
            );
            return;
        }
        _ => {}
    }
    let hash = shelf.etag.clone().unwrap_or_else(|| format!("\"{}\"", hex(bytes)));
    let commit = shelf.commit.as_deref().unwrap_or(COMMIT);
    let head = format!(
        "HTTP/1.1 206 Partial Content\r\ncontent-length: {}\r\ncontent-range: bytes {first}-{last}/{}\r\netag: {hash}\r\n\
         x-repo-commit: {commit}\r\nconnection: close\r\n\r\n",
        last + 1 - first,
        shelf.claimed.unwrap_or(bytes.len() as u64)
    );
    let mut body = bytes[first..=last].to_vec();
    if matches!(fault, Some(Fault::Corrupt)) {
        body.iter_mut().for_each(|byte| *byte ^= 1);
    }
    if let Some(Fault::BreakOff(after) | Fault::Stall(after)) = fault {
        body.truncate(after);
    }
    if !probe {
        shelf.served.fetch_add(body.len() as u64, Ordering::Relaxed);
    }
    let _ = stream.write_all(head.as_bytes());
    if matches!(fault, Some(Fault::Throttle)) {
        for piece in body.chunks(body.len() / 8 + 1) {
            std::thread::sleep(Duration::from_millis(20));
            let _ = stream.write_all(piece);
        }
    } else {
        let _ = stream.write_all(&body);
    }
    if matches!(fault, Some(Fault::Stall(_))) {
        let _ = stream.read(&mut [0]); // until the client has gone
    }
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Contents of a file.
pub(crate) fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|index| (index * index % 251) as u8).collect()
}

/// A shelf of files by name and size.
pub(crate) fn shelf(files: &[(&str, usize)]) -> Shelf {
    Shelf {
        files: files.iter().map(|&(name, size)| (name.to_owned(), bytes(size))).collect(),
        ..Shelf::default()
    }
}
