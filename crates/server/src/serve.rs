//! The running server: listener, connections, workers, sweeping, and the way down.
//!
//! Down goes in steps. A signal: no new work (502), running jobs go on. When they are done, or the grace is over, or at a
//! second signal: what still runs goes back to the queue, waiting calls are answered, connections are closed.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use crate::base_url::Peer;
use crate::config::Config;
use crate::interim::InterimStream;
use crate::state::{App, Error, Phase};
use crate::worker::{EngineFactory, Workers};

/// How often expired jobs are removed from disk; they are invisible at once in any case.
const SWEEP: Duration = Duration::from_secs(5);
/// How long a client may take to send the head of its next request; also how long an idle connection is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// How long workers and connections may take to wind up once the grace is over.
const LAST_MOMENTS: Duration = Duration::from_secs(10);

/// Runs a server until SIGTERM or SIGINT and everything has wound up.
///
/// # Errors
/// [`Error`]: the data directory, the address, the signals, or no engine that can be loaded.
pub async fn run(config: Config, engine: EngineFactory) -> Result<(), Error> {
    let address = config.listen.clone();
    let listen = |source| Error::Listen { address: address.clone(), source };
    let listener = TcpListener::bind(&address).await.map_err(listen)?;
    let app = tokio::task::spawn_blocking(|| App::open(config))
        .await
        .map_err(|error| Error::Worker(error.to_string()))??;
    let bound = listener.local_addr().map_err(listen)?;
    let signals = signals().map_err(Error::Signals)?;
    tracing::info!("listening on http://{bound}");
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
    let mut workers = Workers::start(&app, engine)?;
    let sweeping = tokio::spawn(sweep(app.clone()));
    let ((), outcome) = tokio::join!(accept(listener, app.clone()), wind_up(&app, &mut workers, signal));
    sweeping.abort();
    outcome
}

/// Told of every SIGTERM and SIGINT from now on, before anything could be sent one.
#[cfg(unix)]
fn signals() -> std::io::Result<Arc<Notify>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let told = Arc::new(Notify::new());
    let tell = told.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => tell.notify_one(),
                _ = interrupt.recv() => tell.notify_one(),
            }
        }
    });
    Ok(told)
}

/// Told of every Ctrl-C.
#[cfg(not(unix))]
fn signals() -> std::io::Result<Arc<Notify>> {
    let told = Arc::new(Notify::new());
    let tell = told.clone();
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            tell.notify_one();
        }
    });
    Ok(told)
}

async fn wind_up<S: Future<Output = ()>>(
    app: &App,
    workers: &mut Workers,
    signal: impl Fn() -> S,
) -> Result<(), Error> {
    let outcome = tokio::select! {
        () = signal() => Ok(()),
        () = workers.ended() => Err(Error::Worker(app.load_error())),
    };
    tracing::info!("no new work; running jobs may go on for {}", app.config.shutdown_grace);
    app.enter(Phase::Draining);
    tokio::select! {
        () = workers.ended() => {}
        () = tokio::time::sleep(app.config.shutdown_grace.0) => tracing::info!("the grace is over"),
        () = signal() => {}
    }
    app.enter(Phase::Stopping);
    if tokio::time::timeout(LAST_MOMENTS, workers.ended()).await.is_err() {
        tracing::warn!("a job does not stop; it will be begun again at the next start");
    }
    outcome
}

/// Takes connections until the very end, so that clients get an answer while the server winds up.
async fn accept(listener: TcpListener, app: Arc<App>) {
    let router = crate::app(app.clone());
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(connection(stream, peer, router.clone(), app.clone()));
                }
                Err(error) => {
                    // Out of file descriptors, most likely; they come back.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = app.reached(Phase::Stopping) => break,
        }
    }
    drop(listener);
    let closed = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(LAST_MOMENTS, closed).await.is_err() {
        tracing::info!("closing connections that are still open");
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, router: Router, app: Arc<App>) {
    // Interim answers and small bodies must not wait for an acknowledgement.
    let _ = stream.set_nodelay(true);
    let (stream, interim) = InterimStream::new(stream);
    let service = hyper::service::service_fn(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        request.extensions_mut().insert(interim.clone());
        let answer = router.clone().oneshot(request.map(Body::new));
        async move { Ok::<_, Infallible>(answer.await.unwrap_or_else(|never| match never {})) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = app.reached(Phase::Stopping) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection ended");
    }
}

async fn sweep(app: Arc<App>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        match app.jobs.sweep().await {
            Ok(0) => {}
            Ok(removed) => tracing::debug!(removed, "swept"),
            Err(error) => tracing::error!(%error, "expired jobs could not be removed"),
        }
    }
}
