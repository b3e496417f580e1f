//! A listener, with TLS where it is asked for, and what a client may take of it.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy, sink};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::error::Elapsed;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

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
    /// Connections at once; more wait in the kernel.
    pub connections: usize,
    /// How long a connection may last until it is closed after the request under way.
    pub lifetime: Duration,
    /// How long that request may take then, and at a stop.
    pub linger: Duration,
}

/// The TLS of a listener, if any; its certificate can be renewed.
#[derive(Clone, Default)]
pub(crate) struct Acceptor(Arc<RwLock<Option<TlsAcceptor>>>);

impl Acceptor {
    /// New connections are encrypted by this from now on.
    pub fn set(&self, config: ServerConfig) {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(acceptor);
    }

    fn get(&self) -> Option<TlsAcceptor> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// A bound address.
pub(crate) struct Listener {
    listener: TcpListener,
    address: SocketAddr,
    bounds: Bounds,
    connections: TaskTracker,
}

impl Listener {
    /// Takes an address; `key` is the setting that it comes from.
    pub async fn bind(
        key: &'static str,
        address: SocketAddr,
        bounds: Bounds,
    ) -> Result<Self, ListenError> {
        let failed = |source| ListenError {
            key,
            address,
            source,
        };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self {
            listener,
            address,
            bounds,
            connections: TaskTracker::new(),
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
        let room = Arc::new(Semaphore::new(self.bounds.connections));
        let accept = async || {
            // Never closed, so an error means nothing here.
            let permit = Arc::clone(&room).acquire_owned().await;
            (self.listener.accept().await, permit)
        };
        loop {
            let (accepted, permit) = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                accepted = accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let (router, tls, stop) = (router.clone(), tls.get(), stop.clone());
                    let bounds = self.bounds;
                    self.connections.spawn(async move {
                        connected(stream, tls, router, bounds, &stop).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    debug!(%error, "A connection was not accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.listener);
        self.connections.close();
        self.connections.wait().await;
    }
}

async fn connected(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    router: Router,
    bounds: Bounds,
    stop: &CancellationToken,
) {
    // An answer goes out at once, however small.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else {
        return converse(stream, router, bounds, stop).await;
    };
    match timeout(HEADER_TIMEOUT, tls.accept(stream)).await {
        Ok(Ok(stream)) => converse(stream, router, bounds, stop).await,
        Ok(Err(error)) => debug!(%error, "A TLS handshake failed"),
        Err(_) => debug!("A TLS handshake took too long"),
    }
}

async fn converse<S>(mut stream: S, router: Router, bounds: Bounds, stop: &CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let ended = answer(&mut stream, router, bounds, stop).await;
    if let Ok(Err(error)) = &ended {
        debug!(%error, "A request ended early");
    }
    if ended.is_ok() {
        // To close with something unread would take back the answer of who was refused early and
        // still sends.
        let close = async {
            stream.shutdown().await?;
            copy(&mut stream, &mut sink()).await
        };
        let _ = timeout(CLOSE_TIMEOUT, close).await;
    }
}

/// Answers the requests of a connection; an error when one took longer than it may at the end.
async fn answer<S>(
    stream: &mut S,
    router: Router,
    bounds: Bounds,
    stop: &CancellationToken,
) -> Result<hyper::Result<()>, Elapsed>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_header_size(HEADER_BYTES_MAX)
        .max_buf_size(HEADER_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let last = async {
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(bounds.lifetime) => {}
        }
    };
    tokio::select! {
        ended = connection.as_mut() => return Ok(ended),
        () = last => {}
    }
    connection.as_mut().graceful_shutdown();
    timeout(bounds.linger, connection).await
}
