//! The real binary as a server, for tests.

use std::io::{Cursor, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Generous: two cores may be shared with everybody else's tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A server on a folder of its own, killed at the end.
pub(crate) struct Server {
    pub(crate) child: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Server {
    /// Starts it by `under`, a command that runs the one behind it; nothing: by itself.
    pub(crate) fn start(under: &[&str], log: Stdio) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // The log, which tells the address, is what cannot be read here. Nobody else takes the port in between.
        let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
        let address = free.to_string();
        let mut command = under.iter().chain(&[env!("CARGO_BIN_EXE_material-transfer")]);
        let child = Command::new(command.next().expect("a program"))
            .args(command)
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

    pub(crate) fn get(&self, path: &str) -> Option<String> {
        self.ask(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes())
    }

    /// A transfer, waited for.
    pub(crate) fn transfer(&self, subject: &[u8]) -> Option<String> {
        let body = form(&[("subject_image", subject), ("material_image", &png(96, 96))]);
        let head = format!(
            "POST /v1/material-transfer HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\
             content-type: multipart/form-data; boundary=cut\r\n\r\n",
            body.len()
        );
        self.ask(&[head.as_bytes(), &body].concat())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn png(width: u32, height: u32) -> Vec<u8> {
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
