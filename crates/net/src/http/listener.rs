//! A listener, with optional TLS and limits for its clients.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use option_kit::ListenAddress;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy, sink};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::error::Elapsed;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::acceptor::Acceptor;
use super::address::{ListenError, lookup};
use super::headers::Reached;
use super::metrics::ListenerMetrics;
use super::room::{ConnectionLimiter, NoSeat, Seat};
use super::turn::Turn;

/// Size of a request's line and headers.
const HEADER_BYTES_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;
/// Time limit of the request head and of a TLS handshake, and longest idle time between requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Time that a client has after its answer to finish sending and to close the connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause after a failed accept, for example when no file descriptor is free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Pause between two attempts to find room, while the server works on as many requests as it may.
const FULL_PAUSE: Duration = Duration::from_millis(10);

/// Limits that a listener sets for its clients.
#[derive(Debug, Clone, Copy)]
pub struct ListenerBounds {
    /// Connections at once. A new one replaces one that waits for its client. While the server
    /// works on as many requests, a new one waits in the kernel.
    pub connections: usize,
    /// Connections of one address. A new one replaces another one of that address, or is closed
    /// while the server works on as many requests of that address.
    pub per_client: usize,
    /// Longest time that a client may leave an answer unread.
    pub answer_timeout: Duration,
    /// Age at which a connection closes, after its current request.
    pub lifetime: Duration,
    /// Time that the current request may still take then, and at shutdown.
    pub linger: Duration,
}

/// A bound listener.
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
    bounds: ListenerBounds,
    connections: TaskTracker,
    cuts: Cuts,
}

/// Counts connections of one listener that the server closes before their clients are done.
#[derive(Debug, Clone)]
struct Cuts {
    metrics: ListenerMetrics,
    listener: &'static str,
}

impl Cuts {
    fn count(&self, reason: &str) {
        let labels = [self.listener, reason];
        let cut = &self.metrics.connections_cut_total;
        cut.with_label_values(&labels).inc();
    }
}

/// State that the connections of a listener share.
#[derive(Clone)]
struct Shared {
    router: Router,
    tls: Acceptor,
    bounds: ListenerBounds,
    stop: CancellationToken,
    cuts: Cuts,
}

impl Listener {
    /// Binds an address; `key` is the setting that it comes from.
    ///
    /// # Errors
    /// Fails when a host has no address, or the address cannot be bound.
    pub async fn bind(
        key: &'static str,
        address: &ListenAddress,
        bounds: ListenerBounds,
        metrics: &ListenerMetrics,
    ) -> Result<Self, ListenError> {
        let address = lookup(key, address).await?;
        let failed = |source| ListenError::Bind {
            key,
            address,
            source,
        };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let cuts = Cuts {
            metrics: metrics.clone(),
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

    /// Returns the bound address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the tracker of the connections, each of which is a task.
    pub fn connections(&self) -> TaskTracker {
        self.connections.clone()
    }

    /// Serves until `stop`, then ends once every current request is answered.
    pub async fn serve(self, router: Router, tls: Acceptor, stop: CancellationToken) {
        let room = ConnectionLimiter::new(self.bounds.connections, self.bounds.per_client);
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
                        self.connections
                            .spawn(shared.serve_connection(stream, seat));
                    }
                    Err(error) => {
                        debug!(%error, "Accepting a connection failed");
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

/// Returns a seat for a connection; none if its client already has its share.
async fn seated(room: &ConnectionLimiter, peer: SocketAddr, cuts: &Cuts) -> Option<Seat> {
    loop {
        match room.seat(peer.ip()) {
            Ok(seat) => return Some(seat),
            Err(NoSeat::Share) => {
                debug!(%peer, "Rejected a connection of a client with its limit of running requests");
                cuts.count("share");
                return None;
            }
            Err(NoSeat::Full) => sleep(FULL_PAUSE).await,
        }
    }
}

impl Shared {
    /// Serves a connection until it ends, gives way to another one, or leaves an answer unread.
    async fn serve_connection(self, stream: TcpStream, seat: Seat) {
        let (turn, cuts) = (seat.turn.clone(), self.cuts.clone());
        let answer_timeout = self.bounds.answer_timeout;
        tokio::select! {
            () = self.connected(stream, turn.clone()) => {}
            () = seat.gives_way.cancelled() => cuts.count("room"),
            () = turn.unread_for(answer_timeout) => cuts.count("unread"),
        }
    }

    async fn connected(self, stream: TcpStream, turn: Turn) {
        // Sends an answer at once, however small.
        let _ = stream.set_nodelay(true);
        // Fails only for a closed connection.
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
        let mut stream = turn.wrap_stream(stream);
        let ended = self.answer(&mut stream, reached, &turn).await;
        if let Ok(Err(error)) = &ended {
            debug!(%error, "A request ended early");
        }
        if ended.is_ok() {
            // Closing with unread bytes would discard the answer to a client that was rejected
            // early and still sends.
            turn.sender();
            let close = async {
                stream.shutdown().await?;
                copy(&mut stream, &mut sink()).await
            };
            let _ = timeout(CLOSE_TIMEOUT, close).await;
        }
    }

    /// Answers the requests of a connection. Returns an error when the last one exceeded its time.
    async fn answer<S>(
        &self,
        stream: &mut S,
        reached: Reached,
        turn: &Turn,
    ) -> Result<hyper::Result<()>, Elapsed>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let router = TowerToHyperService::new(self.router.clone());
        let service = service_fn(async |request: Request<Incoming>| {
            turn.server();
            let mut request = request.map(|body| turn.wrap_request(body));
            request.extensions_mut().insert(reached);
            let answer = router.call(request).await?;
            Ok::<_, Infallible>(answer.map(|body| turn.wrap_answer(body)))
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
