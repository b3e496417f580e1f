//! One POST to ClickHouse, with its whole answer. The `clickhouse` crate sends every query except
//! inserts, whose answers are proofs: the crate drops the headers of an answer.

use std::io;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use clickhouse::error::Error;
use http_body_util::BodyExt;
use http_body_util::channel::{Channel, Sender};
use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, HeaderValue, USER_AGENT};
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use lz4_flex::frame::{BlockSize, FrameEncoder, FrameInfo};
use option_kit::{Secret, redacted_url};
use tokio::time::timeout;
use url::Url;

/// Bytes kept of an answer's body. An exception may quote a whole payload.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Chunks that may wait for the connection.
const CHUNKS_WAITING: usize = 1;
const USER_AGENT_VALUE: &str = concat!("risksignal/", env!("CARGO_PKG_VERSION"));

/// Body of a request. Only [`Feed::end`] completes it: a body that ended early would have fewer
/// rows.
type Outgoing = Channel<Bytes, BrokenOff>;

/// Connections for inserts.
#[derive(Clone)]
pub(super) struct Post {
    pub client: HttpClient,
    pub url: String,
    pub user: String,
    pub password: Secret,
    pub is_compressed: bool,
}

/// A pool of connections, in plain text or over TLS only.
#[derive(Clone)]
pub(super) enum HttpClient {
    /// For an http URL.
    Plain(legacy::Client<HttpConnector, Outgoing>),
    /// For an https URL.
    Tls(legacy::Client<HttpsConnector<HttpConnector>, Outgoing>),
}

/// Time limits of one POST.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeouts {
    /// Longest time that a chunk waits for the connection.
    pub send: Duration,
    /// Longest time from the last byte sent to the last byte of the answer.
    pub end: Duration,
}

/// A completely read answer.
#[derive(Debug)]
pub(super) struct HttpAnswer {
    /// URL of the server in a form that may be printed.
    pub url: String,
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// First bytes of the body.
    pub body: String,
    /// True if the answer arrived after the whole request was sent.
    pub is_after_request: bool,
}

/// Error of an incomplete request body, which the server must reject.
#[derive(Debug, thiserror::Error)]
#[error("sending was broken off")]
pub(super) struct BrokenOff;

/// Feeds a request's body, and aborts it if dropped before its end.
struct Feed(Option<Sender<Bytes, BrokenOff>>);

impl Feed {
    /// Returns false if the connection accepts no more chunks.
    async fn send(&mut self, chunk: Bytes, longest: Duration) -> Result<bool, Error> {
        let Some(sender) = &mut self.0 else {
            return Ok(false);
        };
        if chunk.is_empty() {
            return Ok(true);
        }
        let sent = timeout(longest, sender.send_data(chunk)).await;
        Ok(sent.map_err(|_| Error::TimedOut)?.is_ok())
    }

    fn end(mut self) {
        self.0 = None;
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        if let Some(sender) = self.0.take() {
            sender.abort(BrokenOff);
        }
    }
}

/// Encodes chunks into an LZ4 frame, or passes them on.
struct Encoder(Option<FrameEncoder<Vec<u8>>>);

impl Encoder {
    fn new(is_compressed: bool, bytes: usize) -> Self {
        let block = match bytes {
            ..=65_536 => BlockSize::Max64KB,
            _ => BlockSize::Max256KB,
        };
        let info = FrameInfo::new().block_size(block).content_checksum(true);
        Self(is_compressed.then(|| FrameEncoder::with_frame_info(info, Vec::new())))
    }

    fn chunk(&mut self, chunk: Bytes) -> io::Result<Bytes> {
        let Some(encoder) = &mut self.0 else {
            return Ok(chunk);
        };
        io::Write::write_all(encoder, &chunk)?;
        Ok(std::mem::take(encoder.get_mut()).into())
    }

    fn end(self) -> io::Result<Bytes> {
        match self.0 {
            Some(encoder) => Ok(encoder.finish()?.into()),
            None => Ok(Bytes::new()),
        }
    }
}

impl Post {
    /// Sends chunks, of about `bytes` in all, with these query parameters, and reads the whole
    /// answer. Awaits `at_end` after all chunks and before the end of the body.
    ///
    /// # Errors
    /// Fails when the connection fails or a time limit is exceeded. The server may have acted all
    /// the same.
    pub async fn send(
        &self,
        parameters: &[(&str, String)],
        chunks: impl Iterator<Item = Bytes>,
        bytes: usize,
        timeouts: Timeouts,
        at_end: impl Future<Output = ()>,
    ) -> Result<HttpAnswer, Error> {
        let (sender, body) = Channel::new(CHUNKS_WAITING);
        let request = self.request(parameters, body)?;
        let mut encoder = Encoder::new(self.is_compressed, bytes);
        let mut feed = Feed(Some(sender));
        let sending = async move {
            for chunk in chunks {
                let chunk = encoder.chunk(chunk)?;
                if !feed.send(chunk, timeouts.send).await? {
                    return Ok(false);
                }
            }
            if !feed.send(encoder.end()?, timeouts.send).await? {
                return Ok(false);
            }
            at_end.await;
            feed.end();
            Ok::<_, Error>(true)
        };
        let (mut answered, mut sending) = (pin!(self.client.request(request)), pin!(sending));
        // A server may reject a request before it has received the whole body.
        let (is_after_request, early) = tokio::select! {
            biased;
            answer = &mut answered => (false, Some(answer)),
            sent = &mut sending => (sent?, None),
        };
        let answer = async {
            let response = match early {
                Some(response) => response?,
                None => answered.await?,
            };
            read(response, redacted_url(&self.url), is_after_request).await
        };
        let answer = timeout(timeouts.end, answer).await;
        answer.map_err(|_| Error::TimedOut)?
    }

    fn request(
        &self,
        parameters: &[(&str, String)],
        body: Outgoing,
    ) -> Result<Request<Outgoing>, Error> {
        let invalid = |error: Box<dyn std::error::Error + Send + Sync>| Error::InvalidParams(error);
        let mut url = Url::parse(&self.url).map_err(|error| invalid(error.into()))?;
        url.query_pairs_mut().extend_pairs(parameters);
        let mut password = HeaderValue::from_bytes(self.password.expose().as_bytes())
            .map_err(|error| invalid(error.into()))?;
        password.set_sensitive(true);
        let mut request = Request::post(url.as_str())
            .header(USER_AGENT, USER_AGENT_VALUE)
            .header("X-ClickHouse-User", self.user.as_bytes())
            .header("X-ClickHouse-Key", password);
        if self.is_compressed {
            request = request.header(CONTENT_ENCODING, "lz4");
        }
        request.body(body).map_err(|error| invalid(error.into()))
    }
}

impl HttpClient {
    async fn request(&self, request: Request<Outgoing>) -> Result<Response<Incoming>, Error> {
        let answered = match self {
            Self::Plain(client) => client.request(request),
            Self::Tls(client) => client.request(request),
        };
        Ok(answered.await?)
    }
}

async fn read(
    response: Response<Incoming>,
    url: String,
    is_after_request: bool,
) -> Result<HttpAnswer, Error> {
    let (parts, mut rest) = response.into_parts();
    let mut body = Vec::new();
    while let Some(frame) = rest.frame().await {
        if let Some(data) = frame?.data_ref() {
            let room = BODY_BYTES_MAX - body.len();
            body.extend_from_slice(&data[..data.len().min(room)]);
        }
    }
    Ok(HttpAnswer {
        url,
        status: parts.status,
        headers: parts.headers,
        body: String::from_utf8_lossy(&body).into_owned(),
        is_after_request,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_the_chunks() {
        let chunks = [
            Bytes::from(vec![b'a'; 300_000]),
            Bytes::from_static(b"{}"),
            (0..100_000u32).flat_map(u32::to_le_bytes).collect(),
        ];
        for bytes in [1, 1 << 20] {
            let mut encoder = Encoder::new(true, bytes);
            let mut sent = Vec::new();
            for chunk in &chunks {
                sent.extend_from_slice(&encoder.chunk(chunk.clone()).unwrap());
            }
            sent.extend_from_slice(&encoder.end().unwrap());
            let mut read = Vec::new();
            let mut decoder = lz4_flex::frame::FrameDecoder::new(sent.as_slice());
            io::Read::read_to_end(&mut decoder, &mut read).unwrap();
            assert!(read == chunks.concat());
            assert!(sent.len() < read.len());
        }
    }

    #[tokio::test]
    async fn a_body_that_is_dropped_before_its_end_is_broken_off() {
        for is_whole in [true, false] {
            let (sender, body) = Outgoing::new(CHUNKS_WAITING);
            let mut feed = Feed(Some(sender));
            let chunk = Bytes::from_static(b"rows");
            assert!(feed.send(chunk, Duration::from_secs(1)).await.unwrap());
            if is_whole {
                feed.end();
            } else {
                drop(feed);
            }
            assert_eq!(body.collect().await.is_ok(), is_whole);
        }
    }
}
