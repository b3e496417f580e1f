//! A listener, with TLS where it is asked for, and what a client may take of it.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::IntCounterVec;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy, sink};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::error::Elapsed;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;
use tracing::debug;

use crate::telemetry::metrics::Metrics;

use super::acceptor::Acceptor;
use super::headers::Reached;
use super::room::{NoSeat, Room, Seat};
use super::turn::Turn;

/// Of a request's line and headers.
const HEADER_BYTES_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;
/// How long they may take, and a TLS handshake, and how long a connection may idle between
/// requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client that was answered may go on sending, until it closes the connection too.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// After an accept that failed, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Between two looks for room, while the server works on as many requests as it takes.
const FULL_PAUSE: Duration = Duration::from_millis(10);

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {address} ({key}): {source}; is another risksignal running there? Set {key} to another port{}", match *.key {
        "ops.listen" => ", or to off",
        _ => "",
    }
)]
pub struct ListenError {
    key: &'static str,
    address: SocketAddr,
    source: io::Error,
}

/// What a listener's clients may take of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Connections at once. A new one takes the place of one that waits for its client; while the
    /// server works on as many requests, it waits in the kernel.
    pub connections: usize,
    /// Those of one address. A new one takes the place of another one of that address, or is
    /// closed while the server works on as many requests of it.
    pub per_client: usize,
    /// Longest time in which a client leaves an answer unread.
    pub answer_timeout: Duration,
    /// How long a connection may last until it is closed after the request under way.
    pub lifetime: Duration,
    /// How long that request may take then, and at a stop.
    pub linger: Duration,
}

/// A bound address.
pub(crate) struct Listener {
    listener: TcpListener,
    address: SocketAddr,
    bounds: Bounds,
    connections: TaskTracker,
    cuts: Cuts,
}

/// Counts the connections of one listener that end before their clients are done.
#[derive(Debug, Clone)]
struct Cuts {
    counters: IntCounterVec,
    listener: &'static str,
}

impl Cuts {
    fn count(&self, reason: &str) {
        let labels = [self.listener, reason];
        self.counters.with_label_values(&labels).inc();
    }
}

/// Everything that the connections of a listener share.
#[derive(Clone)]
struct Shared {
    router: Router,
    tls: Acceptor,
    bounds: Bounds,
    stop: CancellationToken,
    cuts: Cuts,
}

impl Listener {
    /// Takes an address; `key` is the setting that it comes from.
    pub async fn bind(
        key: &'static str,
        address: SocketAddr,
        bounds: Bounds,
        metrics: &Metrics,
    ) -> Result<Self, ListenError> {
        let failed = |source| ListenError {
            key,
            address,
            source,
        };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let cuts = Cuts {
            counters: metrics.connections_cut_total.clone(),
            listener: key,
        };
        Ok(Self {
            listener,
            address,
            bounds,
            connections: TaskTracker::new(),
            cuts,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The connections there are, each a task.
    pub fn connections(&self) -> TaskTracker {
        self.connections.clone()
    }

    /// Answers until `stop`, then ends once every request under way is answered.
    pub async fn serve(self, router: Router, tls: Acceptor, stop: CancellationToken) {
        let room = Room::new(self.bounds.connections, self.bounds.per_client);
        let shared = Shared {
            router,
            tls,
            bounds: self.bounds,
            stop,
            cuts: self.cuts,
        };
        let accept = async {
            loop {
                match self.listener.accept().await {
                    Ok((stream, peer)) => {
                        let Some(seat) = seated(&room, peer, &shared.cuts).await else {
                            continue;
                        };
                        let shared = shared.clone();
                        self.connections.spawn(shared.take(stream, seat));
                    }
                    Err(error) => {
                        debug!(%error, "A connection was not accepted");
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        };
        shared.stop.run_until_cancelled(accept).await;
        drop(self.listener);
        self.connections.close();
        self.connections.wait().await;
    }
}

/// Finds a seat for a connection; none where its client has its share.
async fn seated(room: &Room, peer: SocketAddr, cuts: &Cuts) -> Option<Seat> {
    loop {
        match room.seat(peer.ip()) {
            Ok(seat) => return Some(seat),
            Err(NoSeat::Share) => {
                debug!(%peer, "A client has as many requests under way as it may");
                cuts.count("share");
                return None;
            }
            Err(NoSeat::Full) => sleep(FULL_PAUSE).await,
        }
    }
}

impl Shared {
    /// Answers a connection until it ends, gives way to another one, or leaves an answer unread.
    async fn take(self, stream: TcpStream, seat: Seat) {
        let (turn, cuts) = (seat.turn.clone(), self.cuts.clone());
        let answer_timeout = self.bounds.answer_timeout;
        tokio::select! {
            () = self.connected(stream, turn.clone()) => {}
            () = seat.gives_way.cancelled() => cuts.count("room"),
            () = turn.unread_for(answer_timeout) => cuts.count("unread"),
        }
    }

    async fn connected(self, stream: TcpStream, turn: Turn) {
        // An answer goes out at once, however small.
        let _ = stream.set_nodelay(true);
        // Fails only for a connection that is over.
        let Ok(reached) = stream.local_addr().map(Reached) else {
            return;
        };
        let Some(tls) = self.tls.get() else {
            return self.converse(stream, reached, turn).await;
        };
        match timeout(HEADER_TIMEOUT, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.converse(stream, reached, turn).await,
            Ok(Err(error)) => debug!(%error, "A TLS handshake failed"),
            Err(_) => debug!("A TLS handshake took too long"),
        }
    }

    async fn converse<S>(self, stream: S, reached: Reached, turn: Turn)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut stream = turn.of_stream(stream);
        let ended = self.answer(&mut stream, reached, &turn).await;
        if let Ok(Err(error)) = &ended {
            debug!(%error, "A request ended early");
        }
        if ended.is_ok() {
            // To close with something unread would take back the answer of a client that was
            // refused early and still sends.
            turn.sender();
            let close = async {
                stream.shutdown().await?;
                copy(&mut stream, &mut sink()).await
            };
            let _ = timeout(CLOSE_TIMEOUT, close).await;
        }
    }

    /// Answers the requests of a connection; an error when one took longer than it may at the end.
    async fn answer<S>(
        &self,
        stream: &mut S,
        reached: Reached,
        turn: &Turn,
    ) -> Result<hyper::Result<()>, Elapsed>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let service = service_fn(async |request: Request<Incoming>| {
            turn.server();
            let mut request = request.map(|body| turn.of_request(body));
            request.extensions_mut().insert(reached);
            let answer = self.router.clone().oneshot(request).await?;
            Ok::<_, Infallible>(answer.map(|body| turn.of_answer(body)))
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_header_size(HEADER_BYTES_MAX)
            .max_buf_size(HEADER_BYTES_MAX)
            .max_headers(HEADERS_MAX)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let last = async {
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = sleep(self.bounds.lifetime) => {}
            }
        };
        tokio::select! {
            ended = connection.as_mut() => return Ok(ended),
            () = last => {}
        }
        connection.as_mut().graceful_shutdown();
        timeout(self.bounds.linger, connection).await
    }
}
