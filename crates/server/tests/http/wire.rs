//! Things that only a socket shows: interim answers, `Expect`, early refusals of long bodies, hanging up, shutting down.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use server::App;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::fixture::*;

struct Listening {
    address: SocketAddr,
    app: Arc<App>,
    stop: Arc<Notify>,
    server: JoinHandle<Result<(), server::Error>>,
    _folder: tempfile::TempDir,
}

async fn listen(settings: &str) -> Listening {
    let folder = tempfile::tempdir().unwrap();
    let app = App::open(config(&folder, settings)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = Arc::new(Notify::new());
    let (signal, served) = (stop.clone(), app.clone());
    let server = tokio::spawn(async move {
        server::serve(listener, served, &inverter(), || {
            let signal = signal.clone();
            async move { signal.notified().await }
        })
        .await
    });
    Listening { address, app, stop, server, _folder: folder }
}

fn head(path: &str, length: usize, more: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: h\r\nx-api-key: K\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{more}\r\n"
    )
}

/// Sends one request, `Connection: close`, and returns everything that came back.
async fn exchange(address: SocketAddr, path: &str, body: &Value, more: &str) -> String {
    let body = body.to_string();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(head(path, body.len(), &format!("Connection: close\r\n{more}")).as_bytes())
        .await
        .unwrap();
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    stream.read_to_end(&mut seen).await.unwrap();
    String::from_utf8_lossy(&seen).into_owned()
}

/// F-75: the SDK gets interim answers while it waits; nobody else does, nor an HTTP/1.0 client.
#[tokio::test]
async fn the_sdk_is_kept_alive() {
    let listening = listen(&format!("{KEYS}keep_alive = \"100ms\"")).await;
    let slow = ok(json!({ "prompt": "sleep 450" }));
    let path = "/v1/material-transfer";
    let sdk = exchange(listening.address, path, &slow, "User-Agent: segmind-python-sdk/1.3.0\r\n").await;
    let interim = sdk.matches("HTTP/1.1 102 Processing\r\n\r\n").count();
    assert!((2..=6).contains(&interim), "{interim}");
    let answer = sdk.trim_start_matches("HTTP/1.1 102 Processing\r\n\r\n");
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("content-type: image/png"),
        "{answer:.300}"
    );
    let other = exchange(listening.address, path, &slow, "User-Agent: python-requests/2.34\r\n").await;
    assert!(other.starts_with("HTTP/1.1 200 OK\r\n") && !other.contains("102 Processing"));
    let queued = exchange(
        listening.address,
        "/v2/material-transfer",
        &slow,
        "User-Agent: segmind-python-sdk/1.3.0\r\n",
    )
    .await;
    assert!(queued.starts_with("HTTP/1.1 200 OK\r\n"));
}

/// A burst of wrong keys over all routes is answered 429 with the time to wait; right keys from the same address never are.
#[tokio::test]
async fn wrong_keys_are_answered_429_and_right_ones_are_served() {
    let listening = listen(&format!("{KEYS}wrong_keys_per_minute = 4")).await;
    let body = ok(json!({})).to_string();
    let call = async |method: &str, path: &str, key: &str| {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: h\r\nx-api-key: {key}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(listening.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut seen = Vec::new();
        stream.read_to_end(&mut seen).await.unwrap();
        String::from_utf8_lossy(&seen).into_owned()
    };
    let routes = [
        ("POST", "/v1/material-transfer"),
        ("POST", "/upload-asset"),
        ("GET", "/v1/get-user-credits"),
        ("GET", "/v2/requests/00000000-0000-0000-0000-000000000000/status"),
    ];
    for (method, path) in routes {
        let answer = call(method, path, "BAD").await;
        assert!(answer.starts_with("HTTP/1.1 401 "), "{path}: {answer:.300}");
    }
    for (method, path) in routes {
        let answer = call(method, path, "BAD").await;
        assert!(answer.starts_with("HTTP/1.1 429 "), "{path}: {answer:.300}");
        assert!(answer.contains("\r\nretry-after: 15\r\n"), "{path}: {answer:.300}");
        assert!(answer.contains("wrong API keys"), "{path}: {answer:.300}");
    }
    let served = call("POST", "/v1/material-transfer", "K").await;
    assert!(served.starts_with("HTTP/1.1 200 "), "{served:.300}");
    let missing = call("POST", "/v1/material-transfer", "").await;
    assert!(missing.starts_with("HTTP/1.1 401 "), "none is no wrong one: {missing:.300}");
}

/// F-71: a big body waits for `100 Continue`; a chunked one needs no length.
#[tokio::test]
async fn big_bodies() {
    let listening = listen(KEYS).await;
    let body = ok(json!({ "pad": "x".repeat(20 << 20) })).to_string();
    let mut stream = TcpStream::connect(listening.address).await.unwrap();
    let more = "Expect: 100-continue\r\nConnection: close\r\n";
    stream.write_all(head("/v1/material-transfer", body.len(), more).as_bytes()).await.unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    stream.read_to_end(&mut seen).await.unwrap();
    assert!(seen.starts_with(b"HTTP/1.1 200 OK\r\n"));

    let mut stream = TcpStream::connect(listening.address).await.unwrap();
    let chunked = "POST /v1/material-transfer HTTP/1.1\r\nHost: h\r\nx-api-key: K\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
    stream.write_all(chunked.as_bytes()).await.unwrap();
    for piece in ok(json!({})).to_string().as_bytes().chunks(1000) {
        stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await.unwrap();
        stream.write_all(piece).await.unwrap();
        stream.write_all(b"\r\n").await.unwrap();
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    seen.clear();
    stream.read_to_end(&mut seen).await.unwrap();
    assert!(seen.starts_with(b"HTTP/1.1 200 OK\r\n"));
}

/// F-70 on the wire: a client that sends all of a body before it reads still sees why it was refused.
#[tokio::test]
async fn early_refusals_reach_the_client() {
    let listening = listen(KEYS).await;
    let pad = vec![b'x'; 65 << 20];
    let wrong_key = head("/v1/material-transfer", pad.len(), "").replace("x-api-key: K", "x-api-key: BAD");
    for (head, status) in [
        (head("/v1/material-transfer", pad.len(), ""), "413 Payload Too Large"),
        (wrong_key, "401 Unauthorized"),
        (head("/v1/no-such-model", pad.len(), ""), "404 Not Found"),
        (head("/nowhere", pad.len(), ""), "404 Not Found"),
        (head("/health", pad.len(), ""), "405 Method Not Allowed"),
    ] {
        let mut stream = TcpStream::connect(listening.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&pad).await.unwrap();
        let mut seen = [0; 40];
        stream.read_exact(&mut seen).await.unwrap();
        assert!(
            seen.starts_with(format!("HTTP/1.1 {status}\r\n").as_bytes()),
            "{}",
            String::from_utf8_lossy(&seen)
        );
    }
    // With `Expect` nothing was sent, and nothing is asked for.
    let mut stream = TcpStream::connect(listening.address).await.unwrap();
    stream
        .write_all(head("/v1/material-transfer", pad.len(), "Expect: 100-continue\r\n").as_bytes())
        .await
        .unwrap();
    let mut seen = [0; 12];
    stream.read_exact(&mut seen).await.unwrap();
    assert_eq!(&seen, b"HTTP/1.1 413");
    let fine = exchange(listening.address, "/v1/material-transfer", &ok(json!({})), "").await;
    assert!(fine.starts_with("HTTP/1.1 200 OK\r\n"), "the server is none the worse");
}

/// C.5 on the wire: hanging up frees the worker.
#[tokio::test]
async fn hanging_up_cancels() {
    let listening = listen(KEYS).await;
    let body = ok(json!({ "prompt": "sleep 60000" })).to_string();
    let mut stream = TcpStream::connect(listening.address).await.unwrap();
    stream.write_all(head("/v1/material-transfer", body.len(), "").as_bytes()).await.unwrap();
    stream.write_all(body.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(stream);
    let body = ok(json!({}));
    let next = exchange(listening.address, "/v1/material-transfer", &body, "");
    let next = tokio::time::timeout(Duration::from_secs(10), next).await.unwrap();
    assert!(next.starts_with("HTTP/1.1 200 OK\r\n"));
}

/// The gentle way down: new work is refused, what runs is finished, its client gets the picture.
#[tokio::test]
async fn draining() {
    let listening = listen(KEYS).await;
    let address = listening.address;
    let running = tokio::spawn(async move {
        exchange(address, "/v1/material-transfer", &ok(json!({ "prompt": "sleep 800" })), "").await
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    listening.stop.notify_one();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let refused = exchange(address, "/v2/material-transfer", &ok(json!({})), "").await;
    assert!(
        refused.starts_with("HTTP/1.1 502 Bad Gateway\r\n") && refused.contains("retry-after: "),
        "{refused}"
    );
    assert!(running.await.unwrap().starts_with("HTTP/1.1 200 OK\r\n"));
    listening.server.await.unwrap().unwrap();
    TcpStream::connect(address).await.unwrap_err();
}

/// The quick way down: the job goes back to the queue and the waiting client learns its id.
#[tokio::test]
async fn stopping_releases_the_job() {
    let listening = listen(&format!("{KEYS}shutdown_grace = \"100ms\"")).await;
    let address = listening.address;
    let running = tokio::spawn(async move {
        exchange(address, "/v1/material-transfer", &ok(json!({ "prompt": "sleep 60000" })), "").await
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    listening.stop.notify_one();
    let answer = running.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n") && answer.contains("request_id"), "{answer}");
    listening.server.await.unwrap().unwrap();
    let id = answer.split("\"request_id\":\"").nth(1).unwrap()[..36].to_owned();
    let status = Bench::around(listening.app.clone()).get(&format!("/v2/requests/{id}/status")).await.json();
    assert_eq!(status["status"], "QUEUED", "kept for the next start");
}

async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let asked = format!("GET {path} HTTP/1.1\r\nHost: h\r\nx-api-key: K\r\nConnection: close\r\n\r\n");
    stream.write_all(asked.as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    stream.read_to_end(&mut seen).await.unwrap();
    String::from_utf8_lossy(&seen).into_owned()
}

/// The disk goes away while a job computes and comes back later: the job is none the worse, and meanwhile everybody is
/// told what is wrong.
#[tokio::test]
async fn a_disk_that_fails_is_no_fault_of_the_jobs() {
    let listening = listen(KEYS).await;
    let address = listening.address;
    let (blobs, aside) = (listening._folder.path().join("blobs"), listening._folder.path().join("aside"));
    let running = tokio::spawn(async move {
        exchange(address, "/v1/material-transfer", &ok(json!({ "prompt": "sleep 600" })), "").await
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    std::fs::rename(&blobs, &aside).unwrap();
    let mut told = String::new();
    for _ in 0..300 {
        told = get(address, "/health/ready").await;
        if told.starts_with("HTTP/1.1 503") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(told.starts_with("HTTP/1.1 503") && told.contains("blobs"), "{told}");
    let refused = exchange(address, "/v2/material-transfer", &ok(json!({})), "").await;
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("retry-after: "), "{refused}");
    assert!(!running.is_finished(), "its picture is kept until it can be stored");
    std::fs::rename(&aside, &blobs).unwrap();
    let answer = running.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer:.300}");
    while !get(address, "/health/ready").await.starts_with("HTTP/1.1 200") {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let fine = exchange(address, "/v1/material-transfer", &ok(json!({})), "").await;
    assert!(fine.starts_with("HTTP/1.1 200 OK\r\n"));
}

/// More connections than there may be, all of them silent: those that ask are served, the silent ones make room.
#[tokio::test]
async fn silent_connections_make_room() {
    let listening = listen(&format!("{KEYS}max_connections = 20")).await;
    let mut silent = Vec::new();
    for _ in 0..60 {
        silent.push(TcpStream::connect(listening.address).await.unwrap());
    }
    for _ in 0..5 {
        assert!(get(listening.address, "/health/live").await.starts_with("HTTP/1.1 200"));
    }
    let mut byte = [0];
    let read = tokio::time::timeout(Duration::from_secs(10), silent[0].read(&mut byte)).await.unwrap();
    assert!(matches!(read, Ok(0) | Err(_)), "the first one is closed");
}

/// An answer that nobody reads is in memory by the piece, and the one who reads it gets all of it.
#[tokio::test]
async fn a_file_is_sent_as_it_is_read() {
    let listening = listen(KEYS).await;
    let large = data_uri(&png(3000, 2000, 9));
    let upload = exchange(listening.address, "/upload-asset", &json!({ "data_urls": [large] }), "").await;
    let path = upload.split("/files/").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let mut stream = TcpStream::connect(listening.address).await.unwrap();
    let asked = format!("GET /files/{path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    stream.write_all(asked.as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    stream.read_to_end(&mut seen).await.unwrap();
    let head = seen.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    assert_eq!(seen[head + 4..], png(3000, 2000, 9)[..]);
}

/// An engine that cannot be loaded ends the program with the reason.
#[tokio::test]
async fn no_engine_no_server() {
    let folder = tempfile::tempdir().unwrap();
    let app = App::open(config(&folder, KEYS)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let broken: server::EngineFactory = Arc::new(|_| Err("there is no profile of that name".into()));
    let ended = server::serve(listener, app, &broken, std::future::pending::<()>).await;
    assert_eq!(ended.unwrap_err().to_string(), "no worker is running: there is no profile of that name");
}
