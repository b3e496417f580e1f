//! A body that reports its progress.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, SizeHint};

/// Progress of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyProgress {
    /// The next frame is not available yet.
    Waits,
    /// A frame was returned, and more may follow.
    Moves,
    /// Nothing follows.
    Ends,
}

/// A body that reports its progress at each poll.
pub struct ObservedBody<F> {
    body: Body,
    note: F,
}

impl<F: FnMut(BodyProgress)> ObservedBody<F> {
    /// Wraps a body that reports to `note`.
    pub fn new(body: Body, note: F) -> Self {
        Self { body, note }
    }
}

impl<F: FnMut(BodyProgress) + Unpin> HttpBody for ObservedBody<F> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        let progress = match &frame {
            Poll::Pending => BodyProgress::Waits,
            Poll::Ready(Some(_)) if !self.body.is_end_stream() => BodyProgress::Moves,
            Poll::Ready(_) => BodyProgress::Ends,
        };
        (self.note)(progress);
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
