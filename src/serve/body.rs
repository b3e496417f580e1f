//! The body of a request, in bounded size and time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_compression::tokio::bufread::GzipDecoder;
use axum::body::{Body, BodyDataStream};
use axum::http::StatusCode;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use tokio::io::AsyncReadExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::io::StreamReader;

use super::problem::Problem;

/// Bytes that are decompressed at once.
const CHUNK_BYTES: usize = 16 * 1024;

/// Encoding of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Plain.
    Identity,
    /// One gzip member or several, one after the other (RFC 1952, section 2.2).
    Gzip,
}

/// Bounds of bodies, all together and each.
#[derive(Debug, Clone)]
pub(crate) struct Bodies {
    room: Arc<Semaphore>,
    max: usize,
    timeout: Duration,
}

/// A body, and its share of the room.
#[derive(Debug)]
pub(crate) struct HeldBody {
    pub bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

/// A body of which more may come.
#[derive(Debug, Default)]
struct Growing {
    bytes: BytesMut,
    room: Option<OwnedSemaphorePermit>,
}

/// More bytes were sent than a body may have.
#[derive(Debug, thiserror::Error)]
#[error("too many bytes")]
struct SentTooMuch;

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
    pub async fn read(&self, body: Body, encoding: Encoding) -> Result<HeldBody, Problem> {
        let body = body.into_data_stream();
        let read = async {
            match encoding {
                Encoding::Identity => self.read_plain(body).await,
                Encoding::Gzip => self.read_gzip(body).await,
            }
        };
        let read = timeout(self.timeout, read).await;
        read.unwrap_or_else(|_| {
            Err(Problem::new(
                StatusCode::REQUEST_TIMEOUT,
                "slow_body",
                format!("the body did not arrive within {:?}", self.timeout),
            ))
        })
    }

    async fn read_plain(&self, mut body: BodyDataStream) -> Result<HeldBody, Problem> {
        let mut growing = Growing::default();
        while let Some(data) = body.next().await {
            let data = data.map_err(|error| unreadable(&error))?;
            self.add(&mut growing, &data)?;
        }
        Ok(growing.into_held())
    }

    /// Reads every member. What follows the last one and is none makes the whole unreadable,
    /// as does a member that is cut: a part of the signals would be lost in silence.
    async fn read_gzip(&self, body: BodyDataStream) -> Result<HeldBody, Problem> {
        let mut decoder = GzipDecoder::new(StreamReader::new(self.bounded(body)));
        decoder.multiple_members(true);
        let mut growing = Growing::default();
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            match decoder.read(&mut chunk).await {
                Ok(0) => return Ok(growing.into_held()),
                Ok(count) => self.add(&mut growing, &chunk[..count])?,
                Err(error) if is_sent_too_much(&error) => return Err(self.too_large()),
                Err(error) => return Err(unreadable(&error)),
            }
        }
    }

    /// The bytes as they are sent, which the bound on a body holds too: members of nothing
    /// would never reach it after decompression.
    fn bounded(&self, body: BodyDataStream) -> impl Stream<Item = io::Result<Bytes>> + Unpin {
        let mut left = self.max;
        body.map(move |data| {
            let data = data.map_err(io::Error::other)?;
            left = left
                .checked_sub(data.len())
                .ok_or_else(|| io::Error::other(SentTooMuch))?;
            Ok(data)
        })
    }

    fn add(&self, growing: &mut Growing, data: &[u8]) -> Result<(), Problem> {
        if growing.bytes.len() + data.len() > self.max {
            return Err(self.too_large());
        }
        let more = self.take(data.len())?;
        match &mut growing.room {
            Some(room) => room.merge(more),
            None => growing.room = Some(more),
        }
        growing.bytes.extend_from_slice(data);
        Ok(())
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

    /// Answers a body that has more bytes than it may.
    pub fn too_large(&self) -> Problem {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            format!(
                "the body has more than {} bytes, as it is sent or after decompression",
                self.max
            ),
        )
    }

    /// Returns true when a body of this length cannot fit.
    pub fn exceeds(&self, length: u64) -> bool {
        length > self.max as u64
    }
}

impl Growing {
    fn into_held(self) -> HeldBody {
        HeldBody {
            bytes: self.bytes.freeze(),
            _room: self.room,
        }
    }
}

fn is_sent_too_much(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(|error| error.is::<SentTooMuch>())
}

fn unreadable(error: &(dyn std::error::Error + 'static)) -> Problem {
    let detail = format!("the body cannot be read: {}", innermost(error));
    Problem::new(StatusCode::BAD_REQUEST, "body", detail)
}

/// Such as gzip's own words, which those around only wrap.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use futures_util::stream;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn pieces(pieces: Vec<Vec<u8>>) -> Body {
        Body::from_stream(stream::iter(pieces.into_iter().map(Ok::<_, io::Error>)))
    }

    #[tokio::test]
    async fn bodies_are_bounded_each_and_together() {
        let bodies = Bodies::new(10, 6, Duration::from_secs(1));
        let read = |text: &'static str| bodies.read(Body::from(text), Encoding::Identity);
        let first = read("123456").await.unwrap();
        assert_eq!(first.bytes, "123456");
        let problem = read("1234567").await.unwrap_err();
        assert_eq!(problem.code, "body_too_large");
        let problem = read("12345").await.unwrap_err();
        assert_eq!((problem.code, problem.retry_after), ("busy", Some(1)));
        drop(first);
        assert!(read("12345").await.is_ok());
    }

    #[tokio::test]
    async fn what_members_hold_takes_room_together() {
        let bodies = Bodies::new(1000, 900, Duration::from_secs(1));
        let body = gzip(&[b' '; 300]).repeat(3);
        let read = || bodies.read(Body::from(body.clone()), Encoding::Gzip);
        let first = read().await.unwrap();
        assert_eq!(first.bytes, [b' '; 900][..]);
        assert_eq!(read().await.unwrap_err().code, "busy");
        drop(first);
        assert!(read().await.is_ok());
        let fourth = Body::from(gzip(b" ").into_iter().chain(body).collect::<Vec<u8>>());
        let problem = bodies.read(fourth, Encoding::Gzip).await.unwrap_err();
        assert_eq!(problem.code, "body_too_large");
    }

    #[tokio::test]
    async fn a_gzip_is_read_whole_or_not_at_all_wherever_it_is_cut() {
        let bodies = Bodies::new(1 << 20, 1 << 20, Duration::from_secs(1));
        let first = gzip(b"first\n");
        let whole = [first.clone(), gzip(b""), gzip(b"second\n")].concat();
        let members = [first.len(), first.len() + gzip(b"").len(), whole.len()];
        for at in 1..=whole.len() {
            // In two pieces, and without the second one.
            let two = pieces(vec![whole[..at].to_vec(), whole[at..].to_vec()]);
            let held = bodies.read(two, Encoding::Gzip).await.unwrap();
            assert_eq!(held.bytes, "first\nsecond\n", "{at}");
            let cut = Body::from(whole[..at].to_vec());
            let read = bodies.read(cut, Encoding::Gzip).await;
            assert_eq!(read.is_ok(), members.contains(&at), "{at}");
            if let Err(problem) = read {
                assert_eq!(problem.status, StatusCode::BAD_REQUEST, "{at}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        let bodies = Bodies::new(10, 6, Duration::from_secs(1));
        for encoding in [Encoding::Identity, Encoding::Gzip] {
            let endless = Body::from_stream(stream::pending::<Result<Bytes, axum::Error>>());
            let problem = bodies.read(endless, encoding).await.unwrap_err();
            assert_eq!(problem.status, StatusCode::REQUEST_TIMEOUT);
        }
    }
}
