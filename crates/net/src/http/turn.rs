//! Turn of a connection: the server's, or its client's.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use hyper::body::Body as HttpBody;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep_until};

use super::noted::{BodyProgress, ObservedBody};

/// The turn of one connection. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Turn(Arc<Mutex<Whose>>);

#[derive(Debug, Clone, Copy)]
enum Whose {
    /// The server works on a request.
    Server,
    /// The client has to send something.
    Sender { since: Instant },
    /// The client has to read an answer.
    Reader { since: Instant },
}

impl Turn {
    /// Starts with the client, which has to send a request first.
    pub fn new() -> Self {
        let since = Instant::now();
        Self(Arc::new(Mutex::new(Whose::Sender { since })))
    }

    pub fn server(&self) {
        *self.lock() = Whose::Server;
    }

    pub fn sender(&self) {
        let since = Instant::now();
        *self.lock() = Whose::Sender { since };
    }

    pub fn reader(&self) {
        let since = Instant::now();
        *self.lock() = Whose::Reader { since };
    }

    /// Passes the turn to the client, since the answer is written.
    fn written(&self) {
        let mut whose = self.lock();
        if matches!(*whose, Whose::Reader { .. }) {
            let since = Instant::now();
            *whose = Whose::Sender { since };
        }
    }

    /// Returns the time since which the connection waits for its client, if it does.
    pub fn client_since(&self) -> Option<Instant> {
        match *self.lock() {
            Whose::Server => None,
            Whose::Sender { since } | Whose::Reader { since } => Some(since),
        }
    }

    /// Waits until the client has left an answer unread for `longest`.
    pub async fn unread_for(&self, longest: Duration) {
        loop {
            let now = Instant::now();
            let due = match *self.lock() {
                Whose::Reader { since } => since + longest,
                _ => now + longest,
            };
            if due <= now {
                return;
            }
            sleep_until(due).await;
        }
    }

    /// Wraps a request's body, so that the connection waits for its sender.
    pub fn wrap_request(
        &self,
        body: impl HttpBody<Data = Bytes, Error = hyper::Error> + Send + 'static,
    ) -> Body {
        let turn = self.clone();
        Body::new(ObservedBody::new(
            Body::new(body),
            move |progress| match progress {
                BodyProgress::Waits => turn.sender(),
                BodyProgress::Moves | BodyProgress::Ends => turn.server(),
            },
        ))
    }

    /// Wraps an answer's body, so that the connection waits for its reader, except while the server
    /// has no next part.
    pub fn wrap_answer(&self, body: Body) -> ObservedBody<impl FnMut(BodyProgress) + use<>> {
        self.reader();
        let turn = self.clone();
        ObservedBody::new(body, move |progress| match progress {
            BodyProgress::Waits => turn.server(),
            BodyProgress::Moves | BodyProgress::Ends => turn.reader(),
        })
    }

    /// Wraps a connection, so that it notes when an answer is written completely.
    pub fn wrap_stream<S>(&self, stream: S) -> NotedStream<S> {
        let turn = self.clone();
        NotedStream { turn, stream }
    }

    /// Locks the state, which is consistent even after a panic: no code panics while it holds the
    /// lock.
    fn lock(&self) -> MutexGuard<'_, Whose> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct NotedStream<S> {
    turn: Turn,
    stream: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for NotedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for NotedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Notes the end of an answer: hyper flushes once it has written everything that it holds.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.stream).poll_flush(cx));
        self.turn.written();
        Poll::Ready(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
