//! A body that reports its progress.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, SizeHint};

/// Progress of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// The next frame is not there yet.
    Waits,
    /// A frame was given, and more may follow.
    Moves,
    /// Nothing follows.
    Ends,
}

/// A body that reports its progress at each poll.
pub(crate) struct Noted<F> {
    body: Body,
    note: F,
}

impl<F: FnMut(Progress)> Noted<F> {
    /// A body that reports to `note`.
    pub fn new(body: Body, note: F) -> Self {
        Self { body, note }
    }
}

impl<F: FnMut(Progress) + Unpin> HttpBody for Noted<F> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        let progress = match &frame {
            Poll::Pending => Progress::Waits,
            Poll::Ready(Some(_)) if !self.body.is_end_stream() => Progress::Moves,
            Poll::Ready(_) => Progress::Ends,
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
