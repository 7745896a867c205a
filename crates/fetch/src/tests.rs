//! Against a real server on the loopback: redirects, caps, time, sniffing, and what must never be reached.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::get;

use super::*;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\nthirty-two bytes and some more of a picture";
static ENDLESS: AtomicUsize = AtomicUsize::new(0);

async fn hop(Path(left): Path<usize>) -> Response {
    if left == 0 { PNG.into_response() } else { Redirect::to(&format!("/hop/{}", left - 1)).into_response() }
}

/// A picture with the names of the request's headers behind it.
async fn headers_seen(headers: HeaderMap) -> Vec<u8> {
    let mut names: Vec<&str> = headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    [PNG, names.join(" ").as_bytes()].concat()
}

/// Never ends; counts its chunks.
async fn endless() -> Response {
    let head = futures::stream::once(async { Ok::<_, std::io::Error>(Bytes::from_static(PNG)) });
    let rest = futures::stream::repeat_with(|| {
        ENDLESS.fetch_add(1, Ordering::Relaxed);
        Ok(Bytes::from(vec![0; 1024]))
    });
    Body::from_stream(futures::StreamExt::chain(head, rest)).into_response()
}

async fn host() -> SocketAddr {
    let app = Router::new()
        .route("/picture", get(async || PNG))
        .route("/headers", get(headers_seen))
        .route("/page", get(async || "<!doctype html><title>no picture</title><p>really none at all"))
        .route("/hop/{left}", get(hop))
        .route("/away", get(async || Redirect::to("http://169.254.169.254/latest/meta-data/")))
        .route("/file", get(async || Redirect::to("file:///etc/hostname")))
        .route("/endless", get(endless))
        .route(
            "/slow",
            get(async || {
                tokio::time::sleep(Duration::from_secs(30)).await;
                PNG
            }),
        );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

fn policy(allow: &[&str]) -> Policy {
    let allow = allow.iter().map(|range| range.parse().unwrap()).collect();
    Policy { allow, max_bytes: 10_000, timeout: Duration::from_millis(500), ..Policy::default() }
}

async fn fetch(policy: Policy, url: String) -> Result<Bytes, FetchError> {
    Fetcher::new(policy).unwrap().fetch(&url.parse().unwrap()).await
}

#[tokio::test]
async fn fetches_a_picture_with_nothing_of_ours_along() {
    let host = host().await;
    let fetched = fetch(policy(&["127.0.0.0/8"]), format!("http://{host}/headers")).await.unwrap();
    assert_eq!(fetched.strip_prefix(PNG), Some(&b"accept host user-agent"[..]));
}

#[tokio::test]
async fn private_addresses_are_refused_by_number_and_by_name() {
    let port = host().await.port();
    for name in ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "2130706433", "0x7f.1"] {
        let url = format!("http://{name}:{port}/picture");
        assert_eq!(fetch(policy(&[]), url.clone()).await, Err(FetchError::NotAllowed), "{name}");
        let any_port = Policy { ports: vec![], ..policy(&[]) };
        assert_eq!(fetch(any_port, url).await, Err(FetchError::NotAllowed), "{name}");
    }
    assert!(fetch(policy(&["127.0.0.0/8"]), format!("http://localhost:{port}/picture")).await.is_ok());
}

#[tokio::test]
async fn every_redirect_is_checked_and_counted() {
    let host = host().await;
    let local = || policy(&["127.0.0.0/8"]);
    assert!(fetch(local(), format!("http://{host}/hop/5")).await.is_ok());
    let six = fetch(local(), format!("http://{host}/hop/6")).await;
    assert_eq!(six, Err(FetchError::Failed("too many redirects")));
    assert_eq!(fetch(local(), format!("http://{host}/away")).await, Err(FetchError::NotAllowed));
    assert_eq!(fetch(local(), format!("http://{host}/file")).await, Err(FetchError::BadUrl));
}

#[tokio::test]
async fn caps_on_kind_size_and_time() {
    let host = host().await;
    let local = || policy(&["127.0.0.0/8"]);
    let at = |path: &str| format!("http://{host}/{path}");
    assert_eq!(fetch(local(), at("nothing")).await, Err(FetchError::Status(404)));
    assert_eq!(fetch(local(), at("page")).await, Err(FetchError::Foreign("a web page")));
    assert_eq!(fetch(local(), at("endless")).await, Err(FetchError::TooLarge(10_000)));
    assert_eq!(fetch(local(), at("slow")).await, Err(FetchError::Failed("timed out")));
    let small = Policy { max_bytes: 20, ..local() };
    assert_eq!(fetch(small, at("picture")).await, Err(FetchError::TooLarge(20)), "by its content-length");
    assert!(ENDLESS.load(Ordering::Relaxed) < 10_000, "given up early");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(fetch(local(), format!("http://{closed}/x")).await, Err(FetchError::Failed("no connection")));
    let unknown =
        fetch(Policy { timeout: Duration::from_secs(20), ..local() }, "http://no-such-host.invalid/x".into())
            .await;
    assert_eq!(unknown, Err(FetchError::Failed("host not found")));
}

#[tokio::test]
async fn a_configured_proxy_is_used_and_no_other() {
    let host = host().await;
    let through = Policy { proxy: Some(format!("http://{host}").parse().unwrap()), ..policy(&[]) };
    // The request goes to the proxy, which answers in the place of a host that does not exist.
    assert_eq!(fetch(through.clone(), "http://pictures.invalid/picture".into()).await.unwrap(), PNG);
    assert_eq!(fetch(through.clone(), "http://10.0.0.1/picture".into()).await, Err(FetchError::NotAllowed));
    assert_eq!(
        fetch(through, "http://pictures.invalid:8080/picture".into()).await,
        Err(FetchError::Port(8080))
    );
}

#[tokio::test]
async fn nothing_is_fetched_past_a_proxy_that_is_dead() {
    let host = host().await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for proxy in [format!("http://{closed}"), format!("http://localhost:{}", closed.port())] {
        // The picture itself could be had, by name and by number.
        let dead = Policy { proxy: Some(proxy.parse().unwrap()), ..policy(&["127.0.0.0/8"]) };
        let dead = Policy { ports: vec![], ..dead };
        for name in ["localhost", "127.0.0.1"] {
            let url = format!("http://{name}:{}/picture", host.port());
            assert_eq!(
                fetch(dead.clone(), url).await,
                Err(FetchError::Failed("no connection")),
                "{name} past {proxy}"
            );
        }
    }
}

#[tokio::test]
async fn the_name_of_the_proxy_is_the_only_one_that_is_not_guarded() {
    let host = host().await;
    let proxy = format!("http://LOCALHOST:{}", host.port());
    let through = Policy { proxy: Some(proxy.parse().unwrap()), ..policy(&[]) };
    assert_eq!(fetch(through, "http://pictures.invalid/picture".into()).await.unwrap(), PNG);
    // Without the proxy the same name is private.
    assert_eq!(fetch(policy(&[]), "http://localhost/picture".into()).await, Err(FetchError::NotAllowed));
}

#[tokio::test]
async fn ports_other_than_those_of_the_web_are_closed_unless_the_range_is_opened() {
    let port = host().await.port();
    for name in ["1.1.1.1", "[2606:4700::1111]"] {
        let url = format!("http://{name}:{port}/picture");
        assert_eq!(fetch(policy(&[]), url).await, Err(FetchError::Port(port)), "{name}");
    }
    let url = format!("http://localhost:{port}/picture");
    assert_eq!(fetch(policy(&["127.0.0.0/8", "::1"]), url.clone()).await.unwrap(), PNG);
    let listed = Policy { ports: vec![port], ..policy(&[]) };
    assert_eq!(fetch(listed, url).await, Err(FetchError::NotAllowed), "the port is open, the address is not");
}
