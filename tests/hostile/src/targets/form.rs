//! Requests to the routes that take a body, through the whole server (no worker runs): the first byte chooses route and
//! content type, the rest is the body. Every answer is an answer: JSON with a text under `error`, or a success.

use std::cell::{Cell, RefCell};
use std::sync::LazyLock;

use axum::Router;
use axum::body::Body;
use http::Request;
use server::{App, Config};
use tower::ServiceExt as _;

use crate::limits::bounded;

const SETTINGS: &str = r#"
api_key = ["K"]
queue_limit = 100000
queue_limit_per_key = 100000
v1_deadline = "1ms"
disk_reserve = 0
"#;

/// After so many accepted jobs the server is opened anew, on a new folder.
const FULL: usize = 500;

static RUNTIME: LazyLock<tokio::runtime::Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime"));

thread_local! {
    static SERVER: RefCell<Option<(Router, tempfile::TempDir)>> = const { RefCell::new(None) };
    static ACCEPTED: Cell<usize> = const { Cell::new(0) };
}

fn open() -> (Router, tempfile::TempDir) {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder");
    let mut config: Config = toml::from_str(SETTINGS).expect("settings of ours");
    config.data_dir = folder.path().to_owned();
    (server::app(App::open(config).expect("a server")), folder)
}

/// One input.
pub fn run(input: &[u8]) {
    let Some((choice, body)) = input.split_first() else { return };
    let (path, kind) = match choice % 4 {
        0 => ("/v2/material-transfer", "multipart/form-data; boundary=x"),
        1 => ("/v1/material-transfer", "multipart/form-data; boundary=x"),
        2 => ("/v2/material-transfer", "application/json"),
        _ => ("/upload-asset", "application/json"),
    };
    let router = SERVER.with_borrow_mut(|server| {
        if ACCEPTED.get() >= FULL {
            ACCEPTED.set(0);
            *server = None;
        }
        server.get_or_insert_with(open).0.clone()
    });
    let request = Request::post(path)
        .header("host", "fuzz")
        .header("x-api-key", "K")
        .header("content-type", kind)
        .body(Body::from(body.to_vec()))
        .expect("a request of ours");
    // Pictures are decoded on their way in: their memory is the server's own budget, not the body's length.
    let (status, answer) = bounded(body.len(), 256 << 20, || {
        RUNTIME.block_on(async {
            let answer = router.oneshot(request).await.expect("infallible");
            let status = answer.status().as_u16();
            (status, axum::body::to_bytes(answer.into_body(), usize::MAX).await.expect("an answer in memory"))
        })
    });
    assert!(status < 500 || [503, 504].contains(&status), "{status}: {}", String::from_utf8_lossy(&answer));
    if status < 300 {
        ACCEPTED.set(ACCEPTED.get() + 1);
    } else {
        let text = std::str::from_utf8(&answer).expect("JSON");
        assert!(text.starts_with("{\"error\":"), "{status}: {text}");
    }
}
