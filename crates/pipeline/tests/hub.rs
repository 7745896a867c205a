//! The hub client against a local hub that misbehaves on purpose: breaks off, throttles, corrupts, refuses.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pipeline::hub::{Hub, HubError, Manifest, PullProgress, Quiet, Verdict};
use sha2::{Digest, Sha256};

/// What the hub does to the next request for a file's bytes.
#[derive(Clone, Copy)]
enum Fault {
    /// Closes the connection after so many bytes.
    BreakOff(usize),
    /// Answers with this status.
    Status(u16),
    /// Flips a bit in every byte.
    Corrupt,
    /// Sends in small pieces with pauses.
    Throttle,
    /// Sends the file from another path of this hub.
    Redirect,
}

#[derive(Default)]
struct Shelf {
    files: HashMap<String, Vec<u8>>,
    faults: Mutex<HashMap<String, Vec<Fault>>>,
    token: Option<String>,
    served: AtomicU64,
}

struct FakeHub {
    endpoint: String,
    shelf: Arc<Shelf>,
}

impl FakeHub {
    fn start(shelf: Shelf) -> Self {
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

    /// A client of this hub with an empty cache.
    fn client(&self, token: Option<&str>) -> (tempfile::TempDir, Hub) {
        let folder = tempfile::tempdir().unwrap();
        let hub =
            Hub::at(folder.path().join("hub"), Some(self.endpoint.clone()), token.map(str::to_owned), false)
                .with_first_pause(Duration::from_millis(5));
        (folder, hub)
    }

    fn faults(&self, file: &str, faults: &[Fault]) {
        self.shelf.faults.lock().unwrap().insert(file.to_owned(), faults.iter().rev().copied().collect());
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
    if shelf.token.as_ref().is_some_and(|token| header("authorization") != Some(format!("Bearer {token}"))) {
        return refuse(&mut stream, 401);
    }
    let Some(bytes) = shelf.files.get(file) else { return refuse(&mut stream, 404) };
    let range = header("range").unwrap_or_default();
    let (first, last) = range.trim_start_matches("bytes=").split_once('-').unwrap();
    let first: usize = first.parse().unwrap();
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
        _ => {}
    }
    let hash = hex(bytes);
    let head = format!(
        "HTTP/1.1 206 Partial Content\r\ncontent-length: {}\r\ncontent-range: bytes {first}-{last}/{}\r\netag: \"{hash}\"\r\n\
         x-repo-commit: 0123abcd\r\nconnection: close\r\n\r\n",
        last + 1 - first,
        bytes.len()
    );
    let mut body = bytes[first..=last].to_vec();
    if matches!(fault, Some(Fault::Corrupt)) {
        body.iter_mut().for_each(|byte| *byte ^= 1);
    }
    if let Some(Fault::BreakOff(after)) = fault {
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
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|index| (index * index % 251) as u8).collect()
}

fn manifest(file: &str) -> Manifest {
    Manifest {
        name: file.trim_end_matches(".bin").to_owned(),
        purpose: "a test".to_owned(),
        repository: "owner/weights".to_owned(),
        revision: "main".to_owned(),
        file: file.to_owned(),
        size: None,
        sha256: None,
        licence: "none".to_owned(),
        licence_url: "none".to_owned(),
    }
}

fn shelf(files: &[(&str, usize)]) -> Shelf {
    Shelf {
        files: files.iter().map(|&(name, size)| (name.to_owned(), bytes(size))).collect(),
        ..Shelf::default()
    }
}

#[test]
fn several_files_arrive_once_and_are_sound() {
    let hub = FakeHub::start(shelf(&[("a.bin", 300_000), ("b.bin", 1), ("c.bin", 70_001)]));
    hub.faults("c.bin", &[Fault::Redirect, Fault::Throttle]);
    let (_folder, client) = hub.client(None);
    let wanted = [manifest("a.bin"), manifest("b.bin"), manifest("c.bin")];
    let wanted: Vec<&Manifest> = wanted.iter().collect();
    let paths = client.pull(&wanted, &Quiet).unwrap();
    for (path, size) in paths.iter().zip([300_000, 1, 70_001]) {
        assert_eq!(std::fs::read(path).unwrap(), bytes(size));
    }
    let served = hub.shelf.served.load(Ordering::Relaxed);
    client.pull(&wanted, &Quiet).unwrap();
    assert_eq!(hub.shelf.served.load(Ordering::Relaxed), served, "nothing is fetched twice");
    assert_eq!(client.verify(wanted[0]).unwrap(), Verdict::Sound);
}

#[test]
fn a_broken_download_resumes_where_it_broke_off() {
    let hub = FakeHub::start(shelf(&[("a.bin", 500_000)]));
    hub.faults(
        "a.bin",
        &[Fault::BreakOff(200_000), Fault::Status(503), Fault::Status(429), Fault::BreakOff(100_000)],
    );
    let (_folder, client) = hub.client(None);
    let paths = client.pull(&[&manifest("a.bin")], &Quiet).unwrap();
    assert_eq!(std::fs::read(&paths[0]).unwrap(), bytes(500_000));
    assert_eq!(hub.shelf.served.load(Ordering::Relaxed), 500_000, "no byte is fetched twice");
}

#[test]
fn a_pull_that_gave_up_is_resumed_by_the_next() {
    let hub = FakeHub::start(shelf(&[("a.bin", 500_000)]));
    hub.faults("a.bin", &[Fault::BreakOff(50_000); 6]);
    let (_folder, client) = hub.client(None);
    let error = client.pull(&[&manifest("a.bin")], &Quiet).unwrap_err();
    assert!(matches!(error, HubError::Interrupted { attempts: 6, .. }), "{error}");
    client.pull(&[&manifest("a.bin")], &Quiet).unwrap();
    assert_eq!(hub.shelf.served.load(Ordering::Relaxed), 500_000);
}

#[test]
fn a_damaged_file_is_fetched_anew_once_and_then_refused() {
    let hub = FakeHub::start(shelf(&[("a.bin", 10_000)]));
    let (_folder, client) = hub.client(None);
    hub.faults("a.bin", &[Fault::Corrupt]);
    client.pull(&[&manifest("a.bin")], &Quiet).unwrap();
    client.remove(&manifest("a.bin")).unwrap();
    hub.faults("a.bin", &[Fault::Corrupt, Fault::Corrupt]);
    let error = client.pull(&[&manifest("a.bin")], &Quiet).unwrap_err();
    assert!(matches!(error, HubError::Damaged { .. }), "{error}");
    assert_eq!(client.verify(&manifest("a.bin")).unwrap(), Verdict::Absent, "no damaged file is left behind");
}

#[test]
fn refusals_say_what_to_do() {
    let hub = FakeHub::start(Shelf { token: Some("secret".to_owned()), ..shelf(&[("a.bin", 10)]) });
    let (_folder, client) = hub.client(None);
    let error = client.pull(&[&manifest("a.bin")], &Quiet).unwrap_err();
    assert!(
        matches!(error, HubError::Forbidden { status: 401, .. }) && error.to_string().contains("HF_TOKEN")
    );
    let (_folder, client) = hub.client(Some("secret"));
    client.pull(&[&manifest("a.bin")], &Quiet).unwrap();
    let error = client.pull(&[&manifest("gone.bin")], &Quiet).unwrap_err();
    assert!(matches!(error, HubError::Missing { .. }), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let offline = Hub::at(folder.path().to_owned(), Some(hub.endpoint.clone()), None, true);
    let error = offline.pull(&[&manifest("a.bin")], &Quiet).unwrap_err();
    assert!(matches!(error, HubError::Offline { .. }), "{error}");
}

#[test]
fn verify_and_remove_look_at_the_bytes() {
    let hub = FakeHub::start(shelf(&[("a.bin", 10_000)]));
    let (_folder, client) = hub.client(None);
    let manifest = manifest("a.bin");
    let path = client.pull(&[&manifest], &Quiet).unwrap().remove(0);
    let blob = path.canonicalize().unwrap();
    std::fs::write(&blob, vec![7; 10_000]).unwrap();
    assert!(matches!(client.verify(&manifest).unwrap(), Verdict::Damaged(_)));
    assert_eq!(client.remove(&manifest).unwrap(), 10_000);
    assert!(!blob.exists());
    assert_eq!(client.verify(&manifest).unwrap(), Verdict::Absent);
}

#[test]
fn progress_counts_every_byte() {
    #[derive(Default)]
    struct Count(AtomicU64, AtomicU64);
    impl PullProgress for Count {
        fn begin(&self, _: &Manifest, size: u64) {
            self.0.store(size, Ordering::Relaxed);
        }
        fn advance(&self, _: &Manifest, bytes: u64) {
            self.1.fetch_add(bytes, Ordering::Relaxed);
        }
        fn finish(&self, _: &Manifest, _: &std::path::Path) {}
    }
    let hub = FakeHub::start(shelf(&[("a.bin", 123_456)]));
    let (_folder, client) = hub.client(None);
    let count = Count::default();
    client.pull(&[&manifest("a.bin")], &count).unwrap();
    assert_eq!((count.0.into_inner(), count.1.into_inner()), (123_456, 123_456));
}
