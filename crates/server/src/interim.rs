//! `102 Processing` on a connection that hyper serves. hyper has no call for interim answers on the server side, so the
//! stream that it writes to can put one in, between a request and its answer.
//!
//! Handlers run inside the task of their connection, so nothing else writes at that moment. What could be under way is
//! the end of an earlier answer that the client has not taken yet; then hyper has been left with unwritten bytes, the
//! stream knows it, and the interim answer is left out.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::connections::Line;

/// RFC 2518, section 10.1.
const PROCESSING: &[u8] = b"HTTP/1.1 102 Processing\r\n\r\n";

#[derive(Debug)]
struct Wire {
    stream: TcpStream,
    /// What is left of an interim answer that did not go out whole; it goes before anything else.
    rest: &'static [u8],
    /// The last write took less than was offered: the writer has more, which must not be torn apart.
    behind: bool,
}

/// The stream of one connection, for hyper.
#[derive(Debug)]
pub(crate) struct InterimStream(Arc<Mutex<Wire>>, Arc<Line>);

/// The handler's end of it; found in a request's extensions.
#[derive(Debug, Clone)]
pub(crate) struct Interim(Arc<Mutex<Wire>>);

impl InterimStream {
    pub(crate) fn new(stream: TcpStream, line: Arc<Line>) -> (Self, Interim) {
        let wire = Arc::new(Mutex::new(Wire { stream, rest: &[], behind: false }));
        (Self(wire.clone(), line), Interim(wire))
    }

    /// Notes how the peer takes what it is sent.
    fn noted(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Ready(Ok(bytes)) => self.1.wrote(*bytes),
            Poll::Pending => self.1.blocked(),
            Poll::Ready(Err(_)) => {}
        }
        written
    }
}

impl Interim {
    /// Sends `102 Processing` if it can go out at once. For HTTP/1.1 only, and only before the answer.
    pub(crate) fn processing(&self) {
        let mut wire = lock(&self.0);
        if wire.behind || !wire.rest.is_empty() {
            return;
        }
        match wire.stream.try_write(PROCESSING) {
            Ok(written) => wire.rest = &PROCESSING[written..],
            // A client that does not read, or is gone: hyper will notice by itself.
            Err(error) => tracing::debug!(%error, "no interim answer"),
        }
    }
}

fn lock(wire: &Mutex<Wire>) -> MutexGuard<'_, Wire> {
    wire.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Wire {
    /// Finishes an interim answer, then writes with `write` the `offered` bytes.
    fn poll_after_rest(
        &mut self,
        context: &mut Context<'_>,
        offered: usize,
        write: impl FnOnce(Pin<&mut TcpStream>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        self.behind = true;
        ready!(self.poll_rest(context))?;
        let written = ready!(write(Pin::new(&mut self.stream), context))?;
        self.behind = written < offered;
        Poll::Ready(Ok(written))
    }

    fn poll_rest(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.rest.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, self.rest))?;
            self.rest = &self.rest[written..];
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for InterimStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut lock(&self.0).stream).poll_read(context, buffer);
        if read.is_ready() && buffer.filled().len() > before {
            self.1.read();
        }
        read
    }
}

impl AsyncWrite for InterimStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = lock(&self.0)
            .poll_after_rest(context, bytes.len(), |stream, context| stream.poll_write(context, bytes));
        self.noted(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let offered = slices.iter().map(|slice| slice.len()).sum();
        let written = lock(&self.0)
            .poll_after_rest(context, offered, |stream, context| stream.poll_write_vectored(context, slices));
        self.noted(written)
    }

    fn is_write_vectored(&self) -> bool {
        lock(&self.0).stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut wire = lock(&self.0);
        ready!(wire.poll_rest(context))?;
        Pin::new(&mut wire.stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut wire = lock(&self.0);
        ready!(wire.poll_rest(context))?;
        Pin::new(&mut wire.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    async fn pair() -> (InterimStream, Interim, TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        let line = Line::new(peer.ip(), std::time::Instant::now());
        let (stream, interim) = InterimStream::new(stream, line);
        (stream, interim, client)
    }

    #[tokio::test]
    async fn goes_out_at_once_and_before_what_follows() {
        let (mut server, interim, mut client) = pair().await;
        server.write_all(b"one ").await.unwrap();
        interim.processing();
        server.write_all(b"two").await.unwrap();
        drop((server, interim));
        let mut seen = Vec::new();
        client.read_to_end(&mut seen).await.unwrap();
        assert_eq!(seen, [b"one ", PROCESSING, b"two"].concat());
    }

    /// A client that does not read blocks the writer in the middle of its bytes; nothing may get in between.
    #[tokio::test]
    async fn never_tears_an_answer_apart() {
        let (mut server, interim, mut client) = pair().await;
        let long = vec![b'x'; 64 << 20];
        let expected = long.len();
        let writing = tokio::spawn(async move {
            server.write_all(&long).await.unwrap();
            server
        });
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        assert!(lock(&interim.0).behind, "the sockets' buffers are smaller than this");
        interim.processing();
        let mut seen = vec![0; expected];
        client.read_exact(&mut seen).await.unwrap();
        assert!(seen.iter().all(|byte| *byte == b'x'));
        let server = writing.await.unwrap();
        interim.processing();
        drop((server, interim));
        seen.clear();
        client.read_to_end(&mut seen).await.unwrap();
        assert_eq!(seen, PROCESSING, "once the way is free again");
    }
}
