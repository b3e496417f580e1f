//! The listener, and what a client may take of it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::reload::InForce;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::recent::Recent;

use super::health::Health;
use super::routes;
use super::status::Sources;

/// Connections at once; more wait in the kernel.
const CONNECTIONS_MAX: usize = 64;
/// Of a request's line and headers.
const HEADER_BYTES_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;
/// How long they may take, and how long a connection may idle between requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may last. A live page connects again by itself.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(600);
/// After an accept that failed, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {address} (ops.listen): {source}; is another risksignal running there? Set ops.listen to another port, or to off"
)]
pub struct ListenError {
    address: SocketAddr,
    source: io::Error,
}

/// What the daemon tells of itself.
#[derive(Debug, Clone)]
pub struct Ops {
    /// The figures.
    pub metrics: Arc<Metrics>,
    /// The newest batches and dead letters.
    pub recent: Arc<Recent>,
    /// What works.
    pub health: Arc<Health>,
}

impl Ops {
    /// Answers on `ops.listen` from now on, for as long as the process lives.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub async fn listen(&self, in_force: &InForce) -> Result<(), ListenError> {
        let settings = Arc::clone(&in_force.borrow());
        let Some(address) = settings.ops.listen else {
            return Ok(());
        };
        let failed = |source| ListenError { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        info!(%address, "Serving metrics, health and the live page");
        if !address.ip().is_loopback() && settings.ops.token.is_empty() {
            warn!(
                %address,
                "Metrics and the live page are open to everyone who reaches this address: set ops.token, or listen on 127.0.0.1"
            );
        }
        let sources = Sources {
            settings: in_force.clone(),
            metrics: Arc::clone(&self.metrics),
            recent: Arc::clone(&self.recent),
            health: Arc::clone(&self.health),
            started: Instant::now(),
        };
        tokio::spawn(accept(listener, routes::router(sources)));
        Ok(())
    }
}

async fn accept(listener: TcpListener, router: Router) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // Never closed, so an error means nothing here.
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let router = router.clone();
                tokio::spawn(async move {
                    serve(stream, router).await;
                    drop(permit);
                });
            }
            Err(error) => {
                debug!(%error, "A connection was not accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, router: Router) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_header_size(HEADER_BYTES_MAX)
        .max_buf_size(HEADER_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Ok(Err(error)) = timeout(CONNECTION_TIMEOUT, connection).await {
        debug!(%error, "A request ended early");
    }
}
