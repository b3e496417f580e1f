//! The body of a request, in bounded size and time.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::problem::Problem;

/// What bodies may take, all together and each.
#[derive(Debug, Clone)]
pub(crate) struct Bodies {
    room: Arc<Semaphore>,
    max: usize,
    timeout: Duration,
}

/// A body, and its share of the room.
#[derive(Debug)]
pub(crate) struct Held {
    pub bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

impl Bodies {
    /// `held_max` bytes in all, and `max` bytes of one, which has `timeout` to arrive.
    pub fn new(held_max: usize, max: usize, timeout: Duration) -> Self {
        Self {
            room: Arc::new(Semaphore::new(held_max)),
            max,
            timeout,
        }
    }

    /// Reads a body to its end.
    pub async fn read(&self, body: Body) -> Result<Held, Problem> {
        let read = timeout(self.timeout, self.read_all(body)).await;
        read.unwrap_or_else(|_| {
            Err(Problem::new(
                StatusCode::REQUEST_TIMEOUT,
                "slow_body",
                format!("the body did not arrive within {:?}", self.timeout),
            ))
        })
    }

    async fn read_all(&self, mut body: Body) -> Result<Held, Problem> {
        let mut bytes = BytesMut::new();
        let mut room: Option<OwnedSemaphorePermit> = None;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                let detail = format!("the body cannot be read: {}", innermost(&error));
                Problem::new(StatusCode::BAD_REQUEST, "body", detail)
            })?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if bytes.len() + data.len() > self.max {
                return Err(self.too_large());
            }
            let more = self.take(data.len())?;
            match &mut room {
                Some(room) => room.merge(more),
                None => room = Some(more),
            }
            bytes.extend_from_slice(&data);
        }
        Ok(Held {
            bytes: bytes.freeze(),
            _room: room,
        })
    }

    fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Problem> {
        let count = u32::try_from(bytes).unwrap_or(u32::MAX);
        let taken = Arc::clone(&self.room).try_acquire_many_owned(count);
        taken.map_err(|_| {
            Problem::retry(
                StatusCode::TOO_MANY_REQUESTS,
                "busy",
                "as many bytes as may be held wait for their answers",
                Duration::from_secs(1),
            )
        })
    }

    /// Of a body that has more bytes than it may.
    pub fn too_large(&self) -> Problem {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            format!(
                "the body has more than {} bytes after decompression",
                self.max
            ),
        )
    }

    /// Whether a body of this length cannot fit.
    pub fn exceeds(&self, length: u64) -> bool {
        length > self.max as u64
    }
}

/// Such as gzip's own words, which those around only wrap.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bodies_are_bounded_each_and_together() {
        let bodies = Bodies::new(10, 6, Duration::from_secs(1));
        let first = bodies.read(Body::from("123456")).await.unwrap();
        assert_eq!(first.bytes, "123456");
        let problem = bodies.read(Body::from("1234567")).await.unwrap_err();
        assert_eq!(problem.code, "body_too_large");
        let problem = bodies.read(Body::from("12345")).await.unwrap_err();
        assert_eq!((problem.code, problem.retry_after), ("busy", Some(1)));
        drop(first);
        assert!(bodies.read(Body::from("12345")).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        let bodies = Bodies::new(10, 6, Duration::from_secs(1));
        let endless =
            Body::from_stream(futures_util::stream::pending::<Result<Bytes, axum::Error>>());
        let problem = bodies.read(endless).await.unwrap_err();
        assert_eq!(problem.status, StatusCode::REQUEST_TIMEOUT);
    }
}
