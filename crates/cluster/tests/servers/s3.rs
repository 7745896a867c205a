//! An S3 server on loopback: s3s-fs checks signatures and keeps objects as files. It can be told to misbehave.

use std::{
    convert::Infallible,
    net::{SocketAddr, TcpListener},
    path::Path,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper_util::rt::{TokioExecutor, TokioIo};
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};

/// The key and the secret.
pub(crate) const CREDENTIALS: [&str; 2] = ["test-access", "test-secret"];
/// The bucket that is there.
pub(crate) const BUCKET: &str = "pictures";

/// How it misbehaves.
#[derive(Debug, Default)]
pub(crate) struct Faults(AtomicUsize);

/// As a word on the wire, a way to misbehave is its name in lower case.
pub(crate) const WAYS: [&str; 6] = ["none", "500", "503", "slow", "half", "silent"];

impl Faults {
    pub(crate) fn set(&self, way: &str) -> bool {
        let found = WAYS.iter().position(|each| *each == way);
        self.0.store(found.unwrap_or(0), Ordering::Relaxed);
        found.is_some()
    }

    fn way(&self) -> &'static str {
        WAYS[self.0.load(Ordering::Relaxed)]
    }
}

/// Serves the folder until the runtime ends.
pub(crate) fn serve(folder: &Path, listener: TcpListener) -> (SocketAddr, Arc<Faults>) {
    std::fs::create_dir_all(folder.join(BUCKET)).unwrap();
    let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder).unwrap());
    builder.set_auth(SimpleAuth::from_single(CREDENTIALS[0], CREDENTIALS[1]));
    let (service, faults) = (builder.build(), Arc::new(Faults::default()));
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let told = faults.clone();
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let (service, faults) = (service.clone(), told.clone());
            tokio::spawn(async move {
                let answer = hyper::service::service_fn(move |request| {
                    answer(service.clone(), faults.clone(), request)
                });
                let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                let _ = builder.serve_connection(TokioIo::new(stream), answer).await;
            });
        }
    });
    (address, faults)
}

type Response = hyper::Response<Answer>;

async fn answer(
    service: s3s::service::S3Service,
    faults: Arc<Faults>,
    request: hyper::Request<Incoming>,
) -> Result<Response, Infallible> {
    let status = |code: u16, text: &str| {
        let body = Answer::Said(Some(Bytes::copy_from_slice(text.as_bytes())));
        hyper::Response::builder().status(code).body(body).unwrap()
    };
    if let Some(way) = request.uri().path().strip_prefix("/-/fault/") {
        return Ok(status(if faults.set(way) { 200 } else { 404 }, "ok"));
    }
    match faults.way() {
        "500" => return Ok(status(500, "<Error><Code>InternalError</Code></Error>")),
        "503" => return Ok(status(503, "<Error><Code>SlowDown</Code></Error>")),
        "slow" => tokio::time::sleep(Duration::from_millis(700)).await,
        "silent" => std::future::pending().await,
        _ => {}
    }
    let half = faults.way() == "half";
    let Ok(answered) = service.call(request.map(s3s::Body::from)).await else {
        return Ok(status(500, "broken"));
    };
    Ok(answered.map(|body| if half { Answer::Half(body) } else { Answer::Whole(body) }))
}

/// A body as it should be, or one that breaks off.
enum Answer {
    Said(Option<Bytes>),
    Whole(s3s::Body),
    Half(s3s::Body),
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match &mut *self {
            Self::Said(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Self::Whole(body) => Pin::new(body).poll_frame(context),
            Self::Half(body) => Pin::new(body).poll_frame(context).map(|frame| match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.len() > 1 => Some(Ok(Frame::data(data.slice(..data.len() / 2)))),
                    _ => Some(Err("broken off".into())),
                },
                Some(Err(error)) => Some(Err(error)),
                None => None,
            }),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Said(text) => SizeHint::with_exact(text.as_ref().map_or(0, Bytes::len) as u64),
            Self::Whole(body) | Self::Half(body) => body.size_hint(),
        }
    }
}
