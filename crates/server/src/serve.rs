//! The running server: listener, connections, workers, sweeping, and the way down.
//!
//! Down goes in steps. A signal: no new work (502), running jobs go on. When they are done, or the grace is over, or at a
//! second signal: what still runs goes back to the queue, waiting calls are answered, connections are closed.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};
use tower::ServiceExt as _;

use crate::about::About;
use crate::base_url::Peer;
use crate::config::Config;
use crate::connections::{self, Connections, Line};
use crate::error::Error;
use crate::fleet;
use crate::interim::InterimStream;
use crate::lifecycle::Phase;
use crate::memory;
use crate::state::App;
use crate::worker::{EngineFactory, Workers};

/// How often expired jobs are removed from disk; they are invisible at once in any case.
const SWEEP: Duration = Duration::from_secs(5);
/// How often the disk is looked at; more often while it is not well, so that work goes on soon.
const LOOK: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(1)];
/// How often connections are looked at that may have to go.
const REAP: Duration = Duration::from_secs(1);
/// A last resort for heads that take for ever; [`Connections`] is stricter.
const HEAD_TIMEOUT: Duration = Duration::from_secs(120);
/// How long workers and connections may take to wind up once the grace is over.
const LAST_MOMENTS: Duration = Duration::from_secs(10);

/// Runs a server until SIGTERM or SIGINT and everything has wound up.
///
/// # Errors
/// [`Error`]: the data directory, the address, the signals, or no engine that can be loaded.
pub async fn run(config: Config, about: About, engine: EngineFactory) -> Result<(), Error> {
    std::sync::LazyLock::force(&crate::process::STARTED);
    tracing::info!("material-transfer {about}");
    let address = config.listen.as_str().to_owned();
    let listen = |source| Error::Listen { address: address.clone(), source };
    let listener = TcpListener::bind(&address).await.map_err(listen)?;
    let app = tokio::task::spawn_blocking(|| App::open(config))
        .await
        .map_err(|error| Error::Worker(error.to_string()))??;
    let bound = listener.local_addr().map_err(listen)?;
    let signals = signals().map_err(Error::Signals)?;
    app.introduce(about);
    tracing::info!("listening on http://{bound}");
    first_lines(&app, bound);
    memory::tell(&app.config);
    warn_if_open(&app, bound);
    let signal = || {
        let signals = signals.clone();
        async move { signals.notified().await }
    };
    serve(listener, app, &engine, signal).await
}

/// Serves on a listener. `signal` is awaited for the wish to stop, and a second time for impatience.
///
/// # Errors
/// [`Error::Worker`], if there are no workers or none of them got an engine.
pub async fn serve<S: Future<Output = ()>>(
    listener: TcpListener,
    app: Arc<App>,
    engine: &EngineFactory,
    signal: impl Fn() -> S,
) -> Result<(), Error> {
    let connections = Connections::new(connections::fitting(app.config.max_connections));
    let mut workers = Workers::start(&app, engine)?;
    let mut beside = JoinSet::new();
    beside.spawn(look(app.clone()));
    let reporting = tokio::spawn(fleet::report(app.clone()));
    beside.spawn(reap(connections.clone()));
    let sweeping = AbortOnDrop(tokio::spawn(sweep(app.clone())));
    let accepting = accept(listener, app.clone(), connections);
    let ((), outcome) = tokio::join!(accepting, wind_up(&app, &mut workers, sweeping, signal));
    // A database that does not answer does not keep the process.
    let _ = tokio::time::timeout(REAP, reporting).await;
    outcome
}

/// What somebody who has just started it wants to know.
fn first_lines(app: &App, bound: SocketAddr) {
    let host = if bound.ip().is_unspecified() { "localhost".to_owned() } else { bound.ip().to_string() };
    let host = if bound.ip().is_ipv6() && host.contains(':') { format!("[{host}]") } else { host };
    let own = format!("http://{host}:{}{}", bound.port(), app.config.path_prefix);
    let address =
        app.config.public_url.as_ref().map_or(own, |url| url.as_str().trim_end_matches('/').to_owned());
    let keys = match app.config.api_key.len() + app.config.keys.len() {
        0 => "open, no key is asked for".to_owned(),
        1 => "one key".to_owned(),
        several => format!("{several} keys"),
    };
    let folder = std::path::absolute(&app.config.data_dir).unwrap_or_else(|_| app.config.data_dir.clone());
    tracing::info!(
        profile = app.config.profile,
        workers = app.config.workers,
        data = %folder.display(),
        keys,
        "open {address}/ in a browser; the API is described at {address}/docs"
    );
}

/// A server without keys that others can reach is meant rarely, and then by somebody who does not mind the line.
fn warn_if_open(app: &App, bound: SocketAddr) {
    if app.keys.is_open() && !bound.ip().is_loopback() {
        tracing::warn!(
            "THE SERVER IS OPEN: {bound} can be reached from other machines, and no key is asked for. Everybody who reaches \
             it can use it and read its results. Set api_key_file, api_key or keys, or listen on 127.0.0.1"
        );
    }
}

/// Notified of every SIGTERM and SIGINT from now on, before anything could be sent one.
#[cfg(unix)]
fn signals() -> std::io::Result<Arc<Notify>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let received = Arc::new(Notify::new());
    let sender = received.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => sender.notify_one(),
                _ = interrupt.recv() => sender.notify_one(),
            }
        }
    });
    Ok(received)
}

/// Notified of every Ctrl-C.
#[cfg(not(unix))]
fn signals() -> std::io::Result<Arc<Notify>> {
    let received = Arc::new(Notify::new());
    let sender = received.clone();
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            sender.notify_one();
        }
    });
    Ok(received)
}

/// Waits until nothing runs here, and no call waits for a picture that another node is making.
async fn drained(app: &App, workers: &mut Workers) {
    workers.drained().await;
    if app.registry.is_some() {
        app.lifecycle.calls_answered().await;
    }
}

async fn wind_up<S: Future<Output = ()>>(
    app: &App,
    workers: &mut Workers,
    mut sweeping: AbortOnDrop,
    signal: impl Fn() -> S,
) -> Result<(), Error> {
    let outcome = tokio::select! {
        () = signal() => Ok(()),
        // Nothing can be accepted or ended any more; another process may do better.
        _ = &mut sweeping.0 => Err(Error::Worker("the job store has stopped because of a fault".to_owned())),
        () = workers.ended() => Err(Error::Worker(app.lifecycle.load_error())),
    };
    tracing::info!("no new work; running jobs may go on for {}", app.config.shutdown_grace);
    app.lifecycle.enter(Phase::Draining);
    tokio::select! {
        () = drained(app, workers) => {}
        () = tokio::time::sleep(app.config.shutdown_grace.0) => tracing::info!("the grace is over"),
        () = signal() => {}
    }
    app.lifecycle.enter(Phase::Stopping);
    if tokio::time::timeout(LAST_MOMENTS, workers.ended()).await.is_err() {
        tracing::warn!("a job does not stop; it will be begun again at the next start");
    }
    outcome
}

/// Takes connections until the very end, so that clients get an answer while the server winds up.
async fn accept(listener: TcpListener, app: Arc<App>, connections: Arc<Connections>) {
    let router = crate::app(app.clone());
    let mut open = JoinSet::new();
    let (mut number, mut failing, mut full) = (0, false, false);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    number += 1;
                    failing = false;
                    let line = Line::new(peer.ip(), std::time::Instant::now());
                    let trusted = app.config.trusted_proxies.iter().any(|range| range.contains(peer.ip()));
                    let room = connections.admit(number, &line, trusted);
                    if room {
                        let (router, app, connections) = (router.clone(), app.clone(), connections.clone());
                        open.spawn(async move {
                            connection(stream, peer, line, router, app).await;
                            connections.closed(number);
                        });
                    } else if !full {
                        tracing::warn!(%peer, "all connections are in use; new ones are closed until one is free");
                    }
                    full = !room;
                }
                Err(error) => {
                    // Out of file descriptors, most likely; they come back.
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, "no connection can be accepted for now");
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = open.join_next() => {}
            () = app.lifecycle.reached(Phase::Stopping) => break,
        }
    }
    drop(listener);
    let closed = async { while open.join_next().await.is_some() {} };
    if tokio::time::timeout(LAST_MOMENTS, closed).await.is_err() {
        tracing::info!("closing connections that are still open");
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, line: Arc<Line>, router: Router, app: Arc<App>) {
    // Interim answers and small bodies must not wait for an acknowledgement.
    let _ = stream.set_nodelay(true);
    let (stream, interim) = InterimStream::new(stream, line.clone());
    let called = line.clone();
    let service = hyper::service::service_fn(move |mut request: http::Request<Incoming>| {
        called.begins();
        request.extensions_mut().insert(Peer(peer));
        request.extensions_mut().insert(interim.clone());
        let answer = router.clone().oneshot(request.map(Body::new));
        let called = called.clone();
        async move {
            let answer = answer.await.unwrap_or_else(|never| match never {});
            Ok::<_, Infallible>(answer.map(|body| Answer { body, line: called }))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = line.ended() => return,
        () = app.lifecycle.reached(Phase::Stopping) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection ended");
    }
}

/// The body of an answer; the connection is idle again once it is handed over.
struct Answer {
    body: Body,
    line: Arc<Line>,
}

impl hyper::body::Body for Answer {
    type Data = bytes::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<bytes::Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.line.answered();
    }
}

/// Ends connections that have to go.
async fn reap(connections: Arc<Connections>) {
    loop {
        tokio::time::sleep(REAP).await;
        connections.reap(std::time::Instant::now());
    }
}

/// Looks whether the disk is well.
async fn look(app: Arc<App>) {
    loop {
        app.jobs.check().await;
        tokio::time::sleep(LOOK[usize::from(app.jobs.unwell().is_some())]).await;
    }
}

/// A task that ends with whoever holds it.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Tidies up for as long as there is a store.
async fn sweep(app: Arc<App>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        match app.jobs.sweep().await {
            Ok(0) => {}
            Err(jobs::Error::Closed) => return,
            Ok(removed) => tracing::debug!(removed, "swept"),
            Err(error) => tracing::error!(%error, "expired jobs could not be removed"),
        }
    }
}
